// Owns the live reading: who joins whose, how long it may take, and what of it is kept. How an upstream is asked is the
// providers', how a reading is merged is the store's.

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Access } from '../access/access.ts';
import type { RequestMeter } from '../http/request-context.ts';
import type { Database } from '../database/database.ts';
import type { Vault } from '../secrets.ts';
import type { Telemetry } from '../telemetry.ts';
import type { MetaPhone } from './meta.ts';
import { type NumberAddress, type Outcomes, toConnectionState } from './number.ts';
import {
  type Block,
  type Blocks,
  type Credentials,
  type Observation,
  type Pause,
  type Provider,
  type ProviderName,
  type Read,
  type Target,
  toPlainFailure,
  type UpstreamFailure,
} from './provider.ts';
import * as leases from './lease-store.ts';
import { toSupportedVerdict } from './sendable.ts';
import * as store from './store.ts';

/** A number to read, and which of its blocks; those that its provider does not have are passed over. */
export interface RefreshRequest {
  readonly number: NumberAddress;
  readonly blocks: readonly Block[];
}

export interface Refresher {
  /**
   * Reads and stores what is wished. What somebody is reading already, here or in another process, is not read again.
   * Answers by number id how it went. Trouble upstream is an answer; it rejects with the reason of `signal` once that is
   * aborted, and the reading itself ends when nobody waits for it any more. UNAVAILABLE when the database is.
   */
  observe(
    access: Access,
    wishes: readonly RefreshRequest[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Outcomes>>;
}

export interface RefresherOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly providers: Readonly<Record<ProviderName, Provider>>;
  readonly telemetry: Telemetry;
  /** Milliseconds that a whole reading may take. */
  readonly deadlineMs?: number;
}

/** LIVE: stored, well or badly. A failure: nothing was attempted. */
type Outcome = 'LIVE' | UpstreamFailure;

/** Readings that were started together and end together. */
interface InFlightRefresh {
  readonly outcomes: Promise<ReadonlyMap<string, Outcome>>;
  readonly controller: AbortController;
  waiters: number;
}

interface Group {
  /** Names this refresher among all that share the database. */
  readonly reader: string;
  readonly tenantId: string;
  readonly receivedAt: number;
  readonly meter: RequestMeter;
  readonly provider: Provider;
  readonly wishes: readonly RefreshRequest[];
  readonly subjects: readonly leases.Subject[];
}

const defaultDeadlineMs = 8_000;
const pollMs = 50;
/** A lease outlives the deadline a little: a process that died with one in hand blocks nobody for long. */
const leaseSlackMs = 2_000;

export function createRefresher(options: RefresherOptions): Refresher {
  const { providers } = options;
  const inFlight = new Map<string, InFlightRefresh>();
  const reader = randomUUID();

  const start = (group: Group): InFlightRefresh => {
    const controller = new AbortController();
    const keys = group.subjects.map((subject) => inFlightKey(group.tenantId, subject));
    const refresh: InFlightRefresh = {
      controller,
      waiters: 0,
      outcomes: fly(options, group, controller.signal).finally(() => {
        for (const key of keys) if (inFlight.get(key) === refresh) inFlight.delete(key);
      }),
    };
    for (const key of keys) inFlight.set(key, refresh);
    return refresh;
  };

  return {
    async observe(access, wishes, signal) {
      signal.throwIfAborted();
      const wished = wishes.map((wish) => ({
        ...wish,
        blocks: toBlocks(wish, providers[wish.number.provider]),
      }));
      const joined = new Set<InFlightRefresh>();
      for (const [name, ofProvider] of Map.groupBy(wished, (wish) => wish.number.provider)) {
        const subjects = toSubjects(ofProvider);
        const missing = subjects.filter((subject) => {
          const refresh = inFlight.get(inFlightKey(access.tenantId, subject));
          if (refresh !== undefined) joined.add(refresh);
          return refresh === undefined;
        });
        if (missing.length === 0) continue;
        const group = {
          ...access,
          reader,
          provider: providers[name],
          wishes: ofProvider,
          subjects: missing,
        };
        joined.add(start(group));
      }
      const landed = await Promise.all(
        [...joined].map((refresh) => ride(refresh, inFlight, signal)),
      );
      const outcomes = new Map(landed.flatMap((outcome) => outcome.entries().toArray()));
      return new Map(wished.map((wish) => [wish.number.id, toOutcomes(wish, outcomes)]));
    },
  };
}

/** Waits for a flight as one of its passengers; the last one to leave early ends it. */
async function ride(
  refresh: InFlightRefresh,
  inFlight: Map<string, InFlightRefresh>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Outcome>> {
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  refresh.waiters += 1;
  try {
    return await Promise.race([refresh.outcomes, left.promise]);
  } finally {
    signal.removeEventListener('abort', leave);
    refresh.waiters -= 1;
    if (refresh.waiters === 0 && signal.aborted) {
      // Nobody may board a flight that is being called off.
      for (const [key, candidate] of inFlight) if (candidate === refresh) inFlight.delete(key);
      refresh.outcomes.catch(() => undefined);
      refresh.controller.abort(signal.reason);
    }
  }
}

async function fly(
  options: RefresherOptions,
  group: Group,
  called: AbortSignal,
): Promise<ReadonlyMap<string, Outcome>> {
  const { deadlineMs = defaultDeadlineMs } = options;
  const deadlineAt = performance.now() + deadlineMs;
  const holder = `${group.reader}/${randomUUID()}`;
  const outcomes = new Map<string, Outcome>();
  let waiting = group.subjects;
  while (waiting.length > 0) {
    // oxlint-disable-next-line no-await-in-loop -- each round asks again for what another process was reading
    const lease = await leases.acquireLease(options.database, {
      tenantId: group.tenantId,
      holder,
      subjects: waiting,
      askedMsAgo: performance.now() - group.receivedAt,
      leaseMs: deadlineMs + leaseSlackMs,
      numberIds: group.wishes.map((wish) => wish.number.id),
    });
    for (const subject of lease.satisfied) outcomes.set(leases.toSubjectKey(subject), 'LIVE');
    if (lease.granted.length > 0) {
      // oxlint-disable-next-line no-await-in-loop -- see above
      const read = await readLeased(options, group, { lease, holder, called, deadlineAt });
      for (const [key, outcome] of read) outcomes.set(key, outcome);
    }
    waiting = lease.held;
    if (waiting.length === 0) break;
    if (performance.now() >= deadlineAt) {
      for (const subject of waiting)
        outcomes.set(leases.toSubjectKey(subject), toHeld(subject.block, deadlineMs));
      break;
    }
    // oxlint-disable-next-line no-await-in-loop -- see above
    await delay(pollMs, undefined, { signal: called });
  }
  return outcomes;
}

interface Leased {
  readonly lease: leases.Lease;
  readonly holder: string;
  readonly called: AbortSignal;
  readonly deadlineAt: number;
}

async function readLeased(
  options: RefresherOptions,
  group: Group,
  { lease, holder, called, deadlineAt }: Leased,
): Promise<ReadonlyMap<string, Outcome>> {
  const { tenantId } = group;
  const granted = new Set(lease.granted.map(leases.toSubjectKey));
  const targets = group.wishes
    .map((wish) => toTarget(options, tenantId, wish, lease, granted))
    .filter((target) => target.blocks.length > 0);
  const pauses = new Map(lease.pauses);
  const record = (readings: readonly store.Reading[]) =>
    store.recordReadings(options.database, {
      tenantId,
      holder,
      observedAt: lease.observedAt,
      readings,
      leased: lease.granted,
      pauses: toLearned(pauses, lease.pauses),
    });
  try {
    const reading = {
      tenantId,
      signal: called,
      deadlineAt,
      pauses,
      // Whoever joins later does not cause the call.
      onUpstreamCall: (operations: number) => void (group.meter.upstreamCalls += operations),
    };
    const reads = toReads(targets, await group.provider.read(targets, reading));
    const recorded = await record(
      [...reads.values()]
        .filter(({ read }) => read.ok || read.attempted)
        .map(({ subject, read }) => toReading(subject, read)),
    );
    return new Map(
      reads.entries().map(([key, { read }]) => {
        if (!read.ok && !read.attempted) return [key, read.failure];
        return [key, recorded.has(key) ? 'LIVE' : deleted];
      }),
    );
  } catch (error) {
    // Called off, or a defect, or the database is down: the next one need not wait for the lease to end if it can be
    // given back, and what went wrong first is what is told.
    await record([]).catch(() => undefined);
    throw error;
  }
}

const deleted = toPlainFailure(
  'UNAVAILABLE',
  false,
  'The number was deleted while it was read, so nothing was stored.',
);

/** Without what was known before. */
function toLearned(
  pauses: ReadonlyMap<string, Pause>,
  known: ReadonlyMap<string, Pause>,
): ReadonlyMap<string, Pause> {
  return new Map(pauses.entries().filter(([account, pause]) => known.get(account) !== pause));
}

interface SubjectRead {
  readonly subject: leases.Subject;
  readonly read: Read<Blocks[Block]>;
}

// Numbers that share an account bring the same reading of it; one of them is kept.
function toReads(
  targets: readonly Target[],
  observations: readonly Observation[],
): ReadonlyMap<string, SubjectRead> {
  const reads = new Map<string, SubjectRead>();
  targets.forEach((target, index) => {
    for (const block of target.blocks) {
      const read = observations[index]?.reads[block];
      if (read === undefined) continue;
      const subject = toSubject(block, target.numberId, target.wabaId);
      reads.set(leases.toSubjectKey(subject), { subject, read });
    }
  });
  return reads;
}

function toReading(subject: leases.Subject, read: Read<Blocks[Block]>): store.Reading {
  if (!read.ok) return { ...subject, data: null, failure: read.failure, state: null };
  const { value } = read;
  return {
    ...subject,
    data: value,
    failure: null,
    state: toState(subject.block, value),
    verdict: subject.block === 'phone' ? toSupportedVerdict(value as MetaPhone) : null,
  };
}

function toState(block: Block, value: Blocks[Block]): store.Reading['state'] {
  if (block === 'connection') return (value as Blocks['connection']).state;
  return block === 'phone' ? toConnectionState((value as MetaPhone).status) : null;
}

function toTarget(
  { vault, telemetry }: RefresherOptions,
  tenantId: string,
  { number, blocks }: RefreshRequest,
  lease: leases.Lease,
  granted: ReadonlySet<string>,
): Target {
  const sealed = lease.credentials.get(number.id);
  let credentials: Credentials | null = null;
  if (sealed !== undefined) {
    try {
      const text = vault.open(sealed, toCredentialPlace(tenantId, number.id));
      credentials = parseCredentials(text);
    } catch (error) {
      const cause = String(error);
      telemetry.warn('credentials cannot be opened', { numberId: number.id, cause });
    }
  }
  return {
    numberId: number.id,
    phoneNumberId: number.phoneNumberId,
    wabaId: number.wabaId,
    instanceName: number.instanceName,
    credentials,
    blocks: blocks.filter((block) =>
      granted.has(leases.toSubjectKey(toSubject(block, number.id, number.wabaId))),
    ),
  };
}

// The parser's own message would quote the text.
function parseCredentials(text: string): Credentials {
  try {
    return JSON.parse(text) as Credentials;
  } catch {
    throw new Error('What was sealed is not JSON.');
  }
}

/** Where the credentials of a number are sealed. */
export function toCredentialPlace(tenantId: string, numberId: string) {
  return { table: 'number_credential', column: 'sealed', tenantId, rowId: numberId };
}

function toBlocks({ number, blocks }: RefreshRequest, provider: Provider): readonly Block[] {
  return provider.blocks.filter(
    (block) => blocks.includes(block) && (block !== 'waba' || number.wabaId !== null),
  );
}

function toSubjects(wishes: readonly RefreshRequest[]): readonly leases.Subject[] {
  const subjects = wishes.flatMap(({ number, blocks }) =>
    blocks.map((block) => toSubject(block, number.id, number.wabaId)),
  );
  return [...new Map(subjects.map((subject) => [leases.toSubjectKey(subject), subject])).values()];
}

function toSubject(block: Block, numberId: string, wabaId: string | null): leases.Subject {
  return { block, id: block === 'waba' && wabaId !== null ? wabaId : numberId };
}

function inFlightKey(tenantId: string, subject: leases.Subject): string {
  return `${tenantId} ${leases.toSubjectKey(subject)}`;
}

function toOutcomes(
  { number, blocks }: RefreshRequest,
  outcomes: ReadonlyMap<string, Outcome>,
): Outcomes {
  const entries = blocks.map((block) => {
    const key = leases.toSubjectKey(toSubject(block, number.id, number.wabaId));
    return [block, outcomes.get(key)] as const;
  });
  return new Map(
    entries.flatMap(([block, outcome]) => (outcome === undefined ? [] : [[block, outcome]])),
  );
}

function toHeld(block: Block, deadlineMs: number): UpstreamFailure {
  const message = `Another process was reading this and was not done after ${deadlineMs / 1_000} seconds; try again.`;
  return toPlainFailure(block === 'connection' ? 'UNAVAILABLE' : 'META_TIMEOUT', true, message);
}
