// What the model test knows without having asked: which keys must work, and what every number must show. Times are those
// of a clock that was never moved: what the database says, and the time that was made to pass since.

import type { Block, ConnectionState } from '../../src/numbers/provider.ts';
import type { Answer } from './answers.ts';

/** When something happened: known to lie in this span, and exactly once an answer has told. */
export interface Moment {
  /** Moments are in this order, whatever is known of their time. */
  readonly order: number;
  from: number;
  to: number;
}

export interface KnownError {
  readonly code: string;
  readonly metaCode: number | null;
}

/** A block that was tried at least once. */
export interface KnownBlock {
  value: Value | null;
  observedAt: Moment | null;
  attemptedAt: Moment;
  error: KnownError | null;
}

export type Value = Readonly<Record<string, string>>;

export interface KnownTenant {
  readonly id: string;
  /** Stands in everything that is this tenant's, and must never be seen by another. */
  readonly marker: string;
  /** Works always, so that there is somebody who can look. */
  readonly rootKey: string;
  /** By account: a reading of an account is the tenant's, though other tenants may have the same account. */
  readonly wabas: Map<string, KnownBlock>;
  /** Until when an account is not to be read. */
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
  stateObservedAt: Moment;
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

/** What the upstreams answer at this moment. */
export interface KnownUpstream {
  /** By id of a phone or an account, or by name of an instance. */
  readonly values: Map<string, Value>;
  /** By the same; what has none is healthy. */
  readonly faults: Map<string, Trouble>;
}

/** DENIED and THROTTLED: Meta says no. BROKEN: half an answer, each time. PASSING: one error, then all is well. */
export type Trouble = 'DENIED' | 'THROTTLED' | 'BROKEN' | 'PASSING';

/** A reading that was sent, and whose answer is still on its way. */
export interface SlowRead {
  readonly process: number;
  readonly number: KnownNumber;
  readonly blocks: readonly Block[];
  readonly moment: Moment;
  readonly reads: Reads;
  /** Delivers the upstream's answers. */
  deliver(): void;
  readonly answer: Promise<Answer>;
}

export interface Model {
  readonly tenants: readonly KnownTenant[];
  readonly numbers: readonly KnownNumber[];
  /** But for the root keys. */
  readonly keys: KnownKey[];
  readonly upstream: KnownUpstream;
  /** Milliseconds that were made to pass. */
  passed: number;
  moments: number;
  /** Makes each new value differ from all before. */
  values: number;
  /** The time of the last value that was shown, by number and block. */
  readonly shown: Map<string, number>;
  /** Commands that were carried out. */
  steps: number;
  slow: SlowRead | null;
}

/** One block as an upstream answered it; `sent` is false when it was not even asked. */
export type BlockRead =
  | { readonly ok: true; readonly value: Value; readonly state: ConnectionState | null }
  | { readonly ok: false; readonly sent: boolean; readonly error: KnownError };

export interface Reads {
  readonly blocks: ReadonlyMap<Block, BlockRead>;
  /** Operations that reach an upstream, second tries included. */
  readonly operations: number;
  /** Accounts that say that they want to be left alone. */
  readonly throttled: ReadonlySet<string>;
}

const throttleMs = 15 * 60_000;

export function isUsable(key: KnownKey, now: number): boolean {
  return !key.isRevoked && (key.expiresAt === null || key.expiresAt > now);
}

/** `now` is the database's. */
export function toModelTime(model: Model, now: number): number {
  return now + model.passed;
}

export function createMoment(model: Model, from: number, to = from): Moment {
  model.moments += 1;
  return { order: model.moments, from: toModelTime(model, from), to: toModelTime(model, to) };
}

/** What a reading brings that is sent now; a passing trouble passes with it. */
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
      const error = trouble === undefined ? null : errors.session;
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

/** The id that a fault of this block lies on. */
export function toUpstreamId(number: KnownNumber, block: Block): string {
  if (block === 'connection') return number.instanceName;
  return block === 'waba' ? number.wabaId : number.phoneNumberId;
}

/** Stores now what was read then: nothing older over anything newer, and no failure over a good value. */
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

/** The blocks that there are to read of it. */
export function listBlocks({ provider }: KnownNumber): readonly Block[] {
  return provider === 'META' ? ['phone', 'profile', 'waba'] : ['connection'];
}
