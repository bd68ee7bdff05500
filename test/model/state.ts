// The state of the model: which keys must work, and what each number must return. Its times are the database's plus the time
// that has been made to pass.

import type { Block, ConnectionState } from '../../src/numbers/provider.ts';
import type { ModelResponse } from './responses.ts';

/** A time that is known to lie in a span, and exactly once a response has contained it. */
export interface Moment {
  /** Moments are in this order, even where their spans overlap. */
  readonly order: number;
  from: number;
  to: number;
}

export interface KnownError {
  readonly code: string;
  readonly metaCode: number | null;
}

/** A block that was attempted at least once. */
export interface KnownBlock {
  value: Value | null;
  observedAt: Moment | null;
  attemptedAt: Moment;
  error: KnownError | null;
}

export type Value = Readonly<Record<string, string>>;

export interface KnownTenant {
  readonly id: string;
  /** Part of all texts of this tenant, and of no response to another one. */
  readonly marker: string;
  /** Always valid, so that the model can be compared. */
  readonly rootKey: string;
  /** By account. Each tenant has its own snapshot of an account that several tenants share. */
  readonly wabas: Map<string, KnownBlock>;
  /** Until when an account is paused. */
  readonly pauses: Map<string, number>;
  /** `action subject` of each change of a key or a credential, in their order. */
  readonly audit: string[];
}

export interface KnownNumber {
  readonly tenant: KnownTenant;
  readonly id: string;
  readonly name: string;
  readonly provider: 'META' | 'PILOT_STATUS';
  readonly phoneNumberId: string;
  readonly wabaId: string;
  readonly instanceName: string;
  readonly blocks: Map<Block, KnownBlock>;
  state: ConnectionState;
  /** Null while the state is the one that was given when the number was added. */
  stateObservedAt: Moment | null;
}

export interface KnownKey {
  readonly tenant: KnownTenant;
  readonly id: string;
  readonly key: string;
  readonly name: string;
  readonly number: KnownNumber | null;
  expiresAt: number | null;
  isRevoked: boolean;
  isRotated: boolean;
}

/** The present content of the upstreams. */
export interface KnownUpstream {
  /** By the id of a phone or an account, or the name of an instance. */
  readonly values: Map<string, Value>;
  /** By the same key; without an entry it is healthy. */
  readonly faults: Map<string, Trouble>;
}

/** DENIED and THROTTLED: an error of Meta's. BROKEN: each response is truncated. PASSING: one error, then success. */
export type Trouble = 'DENIED' | 'THROTTLED' | 'BROKEN' | 'PASSING';

/** A read that was sent, and whose response is held. */
export interface SlowRead {
  readonly process: number;
  readonly number: KnownNumber;
  readonly blocks: readonly Block[];
  readonly moment: Moment;
  readonly reads: Reads;
  /** Delivers the held responses. */
  deliver(): void;
  readonly response: Promise<ModelResponse>;
}

export interface Model {
  readonly tenants: readonly KnownTenant[];
  readonly numbers: readonly KnownNumber[];
  /** Without the root keys. */
  readonly keys: KnownKey[];
  readonly upstream: KnownUpstream;
  /** Milliseconds that have been made to pass. */
  passed: number;
  moments: number;
  /** A counter that makes each value unique. */
  values: number;
  /** The time of the last value in a response, by number and block. */
  readonly shown: Map<string, number>;
  /** Commands that were run. */
  steps: number;
  slow: SlowRead | null;
}

/** The result of one block; `sent` is false when the upstream was not called. */
export type BlockRead =
  | { readonly ok: true; readonly value: Value; readonly state: ConnectionState | null }
  | { readonly ok: false; readonly sent: boolean; readonly error: KnownError };

export interface Reads {
  readonly blocks: ReadonlyMap<Block, BlockRead>;
  /** Operations that reach an upstream, including retries. */
  readonly operations: number;
  /** Accounts that report that their rate limit is used up. */
  readonly throttled: ReadonlySet<string>;
}

const throttleMs = 15 * 60_000;

export function isUsable(key: KnownKey, now: number): boolean {
  return !key.isRevoked && (key.expiresAt === null || key.expiresAt > now);
}

/** `now` is the database's time. */
export function toModelTime(model: Model, now: number): number {
  return now + model.passed;
}

export function createMoment(model: Model, from: number, to = from): Moment {
  model.moments += 1;
  return { order: model.moments, from: toModelTime(model, from), to: toModelTime(model, to) };
}

/** The result of a read that is sent now. It ends a PASSING trouble. */
export function readUpstream(
  model: Model,
  number: KnownNumber,
  blocks: readonly Block[],
  now: number,
): Reads {
  const { faults } = model.upstream;
  const read = new Map<Block, BlockRead>();
  const throttled = new Set<string>();
  let operations = 0;
  for (const block of blocks) {
    const id = toUpstreamId(number, block);
    const trouble = faults.get(id);
    const pausedUntil = number.tenant.pauses.get(number.wabaId) ?? 0;
    if (block !== 'connection' && pausedUntil > toModelTime(model, now)) {
      read.set(block, { ok: false, sent: false, error: errors.paused });
      continue;
    }
    operations += 1;
    if (trouble === 'PASSING') faults.delete(id);
    if (block === 'connection') {
      const error =
        trouble === undefined
          ? null
          : trouble === 'BROKEN'
            ? errors.invalidSession
            : errors.session;
      read.set(block, toBlockRead(model, number, block, error));
      continue;
    }
    if (trouble === 'PASSING') operations += 1;
    if (trouble === 'BROKEN') operations += 2;
    if (trouble === 'THROTTLED') throttled.add(number.wabaId);
    const error = trouble === undefined || trouble === 'PASSING' ? null : errors[trouble];
    read.set(block, toBlockRead(model, number, block, error));
  }
  return { blocks: read, operations, throttled };
}

const errors = {
  DENIED: { code: 'META_ACCESS_DENIED', metaCode: 368 },
  THROTTLED: { code: 'META_RATE_LIMITED', metaCode: 80_008 },
  BROKEN: { code: 'META_UNAVAILABLE', metaCode: null },
  paused: { code: 'META_RATE_LIMITED', metaCode: null },
  session: { code: 'UNAVAILABLE', metaCode: null },
  invalidSession: { code: 'ENGINE_INVALID_RESPONSE', metaCode: null },
} as const;

const statesOfMeta: Readonly<Record<string, ConnectionState>> = {
  CONNECTED: 'OPEN',
  PENDING: 'CONNECTING',
  BANNED: 'CLOSE',
};

function toBlockRead(
  { upstream }: Model,
  number: KnownNumber,
  block: Block,
  error: KnownError | null,
): BlockRead {
  if (error !== null) return { ok: false, sent: true, error };
  const value = upstream.values.get(toUpstreamId(number, block)) ?? {};
  const state =
    block === 'connection'
      ? ((value['state']?.toUpperCase() ?? null) as ConnectionState | null)
      : block === 'phone'
        ? (statesOfMeta[value['status'] ?? ''] ?? null)
        : null;
  return { ok: true, value, state };
}

/** The id at the upstream that a fault of this block is set on. */
export function toUpstreamId(number: KnownNumber, block: Block): string {
  if (block === 'connection') return number.instanceName;
  return block === 'waba' ? number.wabaId : number.phoneNumberId;
}

/** Stores a result: no older value replaces a newer one, and no failure replaces a good value. */
export function recordReads(
  model: Model,
  number: KnownNumber,
  { blocks, throttled }: Reads,
  moment: Moment,
  now: number,
): void {
  for (const [block, read] of blocks) {
    if (!read.ok && !read.sent) continue;
    const isOfAccount = block === 'waba' && read.ok;
    const store: Map<string, KnownBlock> = isOfAccount ? number.tenant.wabas : number.blocks;
    const key = isOfAccount ? number.wabaId : block;
    const known = store.get(key) ?? {
      value: null,
      observedAt: null,
      attemptedAt: moment,
      error: null,
    };
    store.set(key, known);
    if (read.ok && isNotOlder(moment, known.observedAt)) {
      known.value = read.value;
      known.observedAt = moment;
    }
    if (isNotOlder(moment, known.attemptedAt)) {
      known.attemptedAt = moment;
      known.error = read.ok ? null : read.error;
    }
    if (read.ok && read.state !== null && isNotOlder(moment, number.stateObservedAt)) {
      number.state = read.state;
      number.stateObservedAt = moment;
    }
  }
  for (const account of throttled) {
    number.tenant.pauses.set(account, toModelTime(model, now) + throttleMs);
  }
}

function isNotOlder(moment: Moment, other: Moment | null): boolean {
  return other === null || moment.order >= other.order;
}

/** An account's data are shared by its numbers; a failure is the number's, until the account has been read again. */
export function findBlock(number: KnownNumber, block: Block): KnownBlock | undefined {
  const own = number.blocks.get(block);
  const account = block === 'waba' ? number.tenant.wabas.get(number.wabaId) : undefined;
  if (own === undefined || account === undefined) return own ?? account;
  const isLater = own.attemptedAt.order > account.attemptedAt.order;
  return isLater ? { ...account, attemptedAt: own.attemptedAt, error: own.error } : account;
}

/** The blocks that the number's provider can read. */
export function listBlocks({ provider }: KnownNumber): readonly Block[] {
  return provider === 'META' ? ['phone', 'profile', 'waba'] : ['connection'];
}
