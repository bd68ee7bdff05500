// Delivers what is due, again and again until it is accepted or too old. Every process takes part.

import type { StartTimer } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { type Attempt, isAccepted, toOutcome } from './attempt.ts';
import type { SendResult } from './sender.ts';
import * as store from './delivery-store.ts';
import type { DeliveryName, DeliveryRow } from './delivery-store.ts';
import type { OffReason } from './endpoint-store.ts';

/** dropped: no further attempt follows. */
export type DeliveryOutcome = 'delivered' | 'failed' | 'dropped';

export interface DeliveryOptions {
  readonly database: Database;
  readonly attempt: Attempt;
  /** The content of a message that has none yet; null when what it reports does not exist any more. */
  readonly write: (tenantId: string, delivery: DeliveryRow) => Promise<string | null>;
  readonly now: () => Date;
  readonly startTimer: StartTimer;
  /** From 0 to below 1. */
  readonly random?: () => number;
  readonly onAttempted: (outcome: DeliveryOutcome) => void;
  readonly onSwitchedOff: (tenantId: string, endpointId: string, reason: OffReason) => void;
  /** Called when the database begins to fail, and again only after it has answered in between. */
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
  /** How long a process that stops waits for the responses to what it sends. */
  readonly graceMs?: number;
}

export interface Deliveries extends AsyncDisposable {
  /** Sends what is due, and resolves when nothing is due or being sent by this process. */
  deliverDue(): Promise<void>;
}

const defaultIntervalMs = 5_000;
/** Receivers are asked to answer within seconds. An attempt that takes longer is repeated by another process. */
const defaultGraceMs = 5_000;
const maxInFlight = 32;
const maxInFlightPerEndpoint = 4;
/** Twice as long as an attempt takes at most. */
const claimMs = 30_000;

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
/** From each attempt to the next; after the last one there is none. */
const steps = [
  5 * second,
  5 * minute,
  30 * minute,
  2 * hour,
  5 * hour,
  10 * hour,
  10 * hour,
] as const;
/** An old alert is noise. */
const maxAgeMs = 3 * day;
const maxFailingMs = 5 * day;
/** The longest delay, which a receiver has asked for. */
const maxDelayMs = 2 * Math.max(...steps);

/** Milliseconds until the next attempt; null when there is none. `random` is from 0 to below 1. */
export function toDelay(
  failedAttempts: number,
  retryAfterSeconds: number | null,
  random: number,
): number | null {
  const step = steps[failedAttempts];
  if (step === undefined) return null;
  if (retryAfterSeconds === null) return step * (0.8 + 0.4 * random);
  return Math.min(Math.max(retryAfterSeconds * second, step), 2 * step);
}

/**
 * Begins at once. Disposal begins nothing more, waits for the responses to what is being sent until the grace is over, then
 * ends the rest, and never rejects.
 */
export function startDeliveries(options: DeliveryOptions): Deliveries {
  const { startTimer, intervalMs = defaultIntervalMs } = options;
  const pool = createPool(options);
  const tick = async (): Promise<void> => {
    await pool.wake();
    if (!pool.isStopping()) timer = startTimer(intervalMs, tick);
  };
  let timer = startTimer(0, tick);
  return {
    async deliverDue() {
      await pool.wake();
      await pool.settle();
    },
    async [Symbol.asyncDispose]() {
      timer[Symbol.dispose]();
      await pool.stop();
    },
  };
}

/** What is being sent. `wake` claims what is due while there is room, and so does the end of each delivery. */
function createPool(options: DeliveryOptions) {
  const inFlight = new Map<DeliveryName, Promise<void>>();
  const end = new AbortController();
  let isStopping = false;
  const note = createFailureNote(options.onFailure, end.signal);
  const begin = (name: DeliveryName): void => {
    const leave = (): void => {
      inFlight.delete(name);
      void wake();
    };
    inFlight.set(name, deliver(options, name, end.signal).catch(note.failure).then(leave));
  };
  const wake = createCoalesced(async () => {
    const maxDeliveries = maxInFlight - inFlight.size;
    if (maxDeliveries <= 0 || isStopping) return;
    const now = options.now();
    const until = new Date(now.getTime() + claimMs);
    const request = { now, until, maxDeliveries, maxPerEndpoint: maxInFlightPerEndpoint };
    try {
      const claimed = await store.claimDeliveriesAcrossTenants(options.database, request);
      for (const name of claimed) begin(name);
      note.success();
    } catch (error) {
      note.failure(error);
    }
  });
  const settle = async (): Promise<void> => {
    while (inFlight.size > 0) {
      // oxlint-disable-next-line no-await-in-loop -- each end may begin others
      await Promise.all(inFlight.values());
      // oxlint-disable-next-line no-await-in-loop -- as above
      await wake();
    }
  };
  const stop = async (): Promise<void> => {
    isStopping = true;
    await wake();
    let ended: readonly DeliveryName[] = [];
    const grace = options.startTimer(options.graceMs ?? defaultGraceMs, async () => {
      ended = [...inFlight.keys()];
      end.abort(new Error('The process is stopping.'));
    });
    await settle();
    grace[Symbol.dispose]();
    await release(options.database, ended);
  };
  return { wake, settle, stop, isStopping: () => isStopping };
}

async function release(database: Database, names: readonly DeliveryName[]): Promise<void> {
  const byTenant = Map.groupBy(names, ({ tenantId }) => tenantId);
  await Promise.allSettled(
    [...byTenant].map(([tenantId, ofTenant]) => store.releaseClaims(database, tenantId, ofTenant)),
  );
}

/** One call at a time. A call that comes during another one is made when that has ended, together with all others. */
function createCoalesced(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let isWanted = false;
  const run = async (): Promise<void> => {
    while (isWanted) {
      isWanted = false;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await work();
    }
    running = null;
  };
  return () => {
    isWanted = true;
    running ??= run();
    return running;
  };
}

function createFailureNote(onFailure: (error: unknown) => void, signal: AbortSignal) {
  let isFailing = false;
  return {
    success: () => void (isFailing = false),
    failure(error: unknown) {
      if (!isFailing && !signal.aborted) onFailure(error);
      isFailing = true;
    },
  };
}

async function deliver(
  options: DeliveryOptions,
  name: DeliveryName,
  signal: AbortSignal,
): Promise<void> {
  const { database, now, onAttempted } = options;
  const delivery = await store.readDelivery(database, name);
  if (delivery === undefined) {
    await store.dropDelivery(database, name);
    return;
  }
  const isTooOld = now().getTime() - delivery.createdAt.getTime() > maxAgeMs;
  const content = isTooOld ? null : await readContent(options, name, delivery);
  if (content === null) {
    await store.dropDelivery(database, name);
    onAttempted('dropped');
    return;
  }
  const result = await options.attempt({ ...name, ...delivery }, { id: name.id, content }, signal);
  const tried = { outcome: toOutcome(result), at: now() };
  if (isAccepted(result)) {
    await store.recordDelivered(database, name, tried);
    onAttempted('delivered');
    return;
  }
  await recordFailure(options, name, { delivery, result, ...tried });
}

async function readContent(
  { database, write }: DeliveryOptions,
  name: DeliveryName,
  delivery: DeliveryRow,
): Promise<string | null> {
  if (delivery.content !== null) return delivery.content;
  const content = await write(name.tenantId, delivery);
  if (content !== null) await store.storeContent(database, name, content);
  return content;
}

async function recordFailure(
  { database, random = Math.random, onAttempted, onSwitchedOff }: DeliveryOptions,
  name: DeliveryName,
  failed: store.AttemptResult & { readonly delivery: DeliveryRow; readonly result: SendResult },
): Promise<void> {
  const { delivery, result, outcome, at } = failed;
  const retryAfter = result.outcome === 'ANSWERED' ? result.retryAfterSeconds : null;
  const delay = toDelay(delivery.attempts, retryAfter, random());
  const nextAt = delay === null ? null : new Date(at.getTime() + delay);
  const reason = await store.recordFailed(database, name, {
    outcome,
    at,
    nextAt,
    failingSinceLimit: new Date(at.getTime() - maxFailingMs),
    lastAttemptLimit: new Date(at.getTime() - maxDelayMs - hour),
    isGone: result.outcome === 'ANSWERED' && result.status === 410,
  });
  onAttempted(nextAt === null || reason !== null ? 'dropped' : 'failed');
  if (reason !== null) onSwitchedOff(name.tenantId, name.endpointId, reason);
}
