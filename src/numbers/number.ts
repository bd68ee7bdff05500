// Owns what a number is to everyone who asks: the domain types, and how rows of the database become them.

import type { KeyHint } from '../access/key.ts';
import {
  type MetaBlock,
  type MetaBlocks,
  type MetaPhone,
  type MetaProfile,
  type MetaWaba,
  toStoredBlock,
} from './meta.ts';
import type { Block, ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import { isSendable, type Sendability, toSendability, type Verdict } from './sendable.ts';
import { toWord } from './vocabulary.ts';

/** ISO 8601 in UTC with milliseconds, as the database writes it and answers show it. */
export type Timestamp = string;

/** How old a block is and how the last attempt to renew it went. */
export interface Freshness {
  /** When the value was true: the time at which the reading was sent. Null when none ever succeeded. */
  readonly observedAt: Timestamp | null;
  /** When a reading was last tried. Null when none ever was. */
  readonly attemptedAt: Timestamp | null;
  /** Whole seconds since `observedAt`. */
  readonly ageSeconds: number | null;
  /** LIVE: read for this very request. SNAPSHOT: stored by an earlier one. */
  readonly source: 'LIVE' | 'SNAPSHOT';
  /** Too old to rely on, or never read: see `staleAfterSeconds`. */
  readonly stale: boolean;
  /** Why the last attempt failed, or could not be made; null when it succeeded. */
  readonly error: UpstreamFailure | null;
}

/** A block with its age. `value` is null when no reading ever succeeded. */
export interface Snapshot<T> {
  readonly value: T | null;
  readonly freshness: Freshness;
}

export interface Health {
  /** Meta's words as they came; null for a number that is not Meta's. */
  readonly qualityRating: string | null;
  readonly messagingLimitTier: string | null;
  readonly metaStatus: string | null;
  /** The last verdict that evidence supported, whatever its age: true only for YES. */
  readonly sendable: boolean;
  /** The verdict of now: old evidence supports none. */
  readonly sendability: Sendability;
  /** Of the block that health rests on; null when no reading was ever asked for, or there is nothing to ask. */
  readonly freshness: Freshness | null;
}

/** Present once at least one block was read. A block is null until it was attempted. */
export interface MetaDetails {
  /** The oldest `observedAt` of the blocks. */
  readonly fetchedAt: Timestamp;
  readonly phone: Snapshot<MetaPhone> | null;
  readonly profile: Snapshot<MetaProfile> | null;
  readonly waba: Snapshot<MetaWaba> | null;
}

export interface WhatsAppNumber {
  readonly id: string;
  readonly instanceName: string | null;
  /** Digits only, with the country code. */
  readonly number: string;
  readonly name: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  readonly isFullyConnected: boolean;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
  /** Those that can be used and are bound to this number alone, oldest first. */
  readonly apiKeys: readonly KeyHint[];
  readonly health: Health;
  readonly meta: MetaDetails | null;
  /** The first moment at which a member other than an age changes although nothing is written; null when none does. */
  readonly changesAt: Date | null;
}

/** What is going to be looked at. The rest is not read, and looking at it throws. */
export interface Shown {
  /** What the number has of its own beside `id`, `provider`, `state` and `isFullyConnected`. */
  readonly details: boolean;
  readonly apiKeys: boolean;
  /** `summary`: all but `sendability` and `freshness`. */
  readonly health: 'nothing' | 'summary' | 'everything';
  /** The blocks of `meta`; null when not even its `fetchedAt` is looked at. */
  readonly meta: readonly MetaBlock[] | null;
}

export const everything: Shown = {
  details: true,
  apiKeys: true,
  health: 'everything',
  meta: ['phone', 'profile', 'waba'],
};

/** All that one of these shows. */
export function toUnion(shown: readonly Shown[]): Shown {
  const healths = new Set(shown.map(({ health }) => health));
  const metas = shown.map(({ meta }) => meta).filter((meta) => meta !== null);
  return {
    details: shown.some(({ details }) => details),
    apiKeys: shown.some(({ apiKeys }) => apiKeys),
    health: (['everything', 'summary'] as const).find((health) => healths.has(health)) ?? 'nothing',
    meta: metas.length === 0 ? null : [...new Set(metas.flat())],
  };
}

/** A block as it is stored, as much of it as is shown. */
export interface StoredBlock {
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly observedAt: Timestamp | null;
  readonly attemptedAt: Timestamp | null;
  readonly failure: UpstreamFailure | null;
  /** Of the phone: the last verdict that a reading supported. */
  readonly verdict: Verdict | null;
}

/** A hint on a key, and until when it can be used on the clock of this process, in milliseconds. */
export interface StoredKeyHint extends KeyHint {
  readonly expiresAt: number | null;
}

/** A number as it is stored, with its blocks and those of its account, as much of it as is shown. */
export interface StoredNumber {
  readonly id: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** When the state was last read or changed, by whomever. */
  readonly stateObservedAt: Timestamp | null;
  readonly details: Pick<
    WhatsAppNumber,
    'instanceName' | 'number' | 'name' | 'createdAt' | 'updatedAt'
  > | null;
  readonly apiKeys: readonly StoredKeyHint[];
  readonly blocks: { readonly [B in Block]?: StoredBlock | undefined };
}

/** Where a number is found upstream. */
export interface NumberAddress {
  readonly id: string;
  readonly provider: ProviderName;
  readonly instanceName: string | null;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
}

/** Meta changes health within hours, and a reading an hour is far within its budget. */
export const staleAfterSeconds = 3_600;

/** How the reading of a block went for this very request: LIVE, or why it was not even attempted. */
export type Outcomes = ReadonlyMap<Block, 'LIVE' | UpstreamFailure>;

/** What a number comes to depends on, beside what is stored of it. */
export interface Circumstances {
  readonly now: Date;
  /** The blocks that its provider can be asked for; what is stored of others says nothing any more. */
  readonly readable: readonly Block[];
  /** Of the blocks that were read for this very request. */
  readonly outcomes: Outcomes;
}

export function toWhatsAppNumber(
  stored: StoredNumber,
  shown: Shown,
  circumstances: Circumstances,
): WhatsAppNumber {
  const nowMs = circumstances.now.getTime();
  const keys = shown.apiKeys ? stored.apiKeys.filter((key) => isUsable(key, nowMs)) : [];
  const health = shown.health === 'nothing' ? null : toHealth(stored, shown.health, circumstances);
  const meta = shown.meta === null ? null : toMeta(stored, shown.meta, circumstances);
  let changesAt = Infinity;
  const noteChange = (at: number | null): void => {
    if (at !== null && at > nowMs && at < changesAt) changesAt = at;
  };
  for (const { expiresAt } of keys) noteChange(expiresAt);
  if (shown.health === 'everything') noteChange(toStaleAt(health?.freshness));
  for (const block of shown.meta ?? []) noteChange(toStaleAt(meta?.[block]?.freshness));
  return hideUnread({
    id: stored.id,
    provider: stored.provider,
    state: stored.state,
    isFullyConnected: isFullyConnected(stored.state),
    changesAt: changesAt === Infinity ? null : new Date(changesAt),
    ...stored.details,
    ...(shown.apiKeys && { apiKeys: keys.map(toHint) }),
    ...(health !== null && { health }),
    ...(shown.meta !== null && { meta }),
  });
}

/** Why a live reading gave nothing at all; null when at least one block was read, or there was nothing to ask. */
export function findRefreshFailure({ health, meta }: WhatsAppNumber): UpstreamFailure | null {
  const all = [health.freshness, meta?.phone, meta?.profile, meta?.waba]
    .map((part) => (part && 'freshness' in part ? part.freshness : part))
    .filter((freshness) => freshness !== null && freshness !== undefined);
  if (all.some((freshness) => freshness.source === 'LIVE')) return null;
  return all.find((freshness) => freshness.error !== null)?.error ?? null;
}

/** Meta's status as a connection state; null when it says nothing about that. */
export function toConnectionState(status: string | null): ConnectionState | null {
  switch (toWord('MetaStatus', status)) {
    case 'CONNECTED':
    case 'FLAGGED':
    case 'RESTRICTED':
    case 'RATE_LIMITED':
      return 'OPEN';
    case 'PENDING':
      return 'CONNECTING';
    case 'DISCONNECTED':
    case 'BANNED':
    case 'DELETED':
    case 'MIGRATED':
    case 'UNVERIFIED':
      return 'CLOSE';
    default:
      return null;
  }
}

/** The flat flag of the product: connected, with nothing left to do. */
export function isFullyConnected(state: ConnectionState): boolean {
  return state === 'OPEN';
}

/** Of what was not read nothing is known, and nobody shall take it for what is not there. */
function hideUnread<T>(read: Partial<T>): T {
  // What is missing throws.
  return { __proto__: unread, ...read } as unknown as T;
}

const unread: object = Object.defineProperties(
  {},
  Object.fromEntries(
    'instanceName number name createdAt updatedAt apiKeys health meta sendability freshness phone profile waba'
      .split(' ')
      .map((name) => [name, { get: () => throwUnread(name) }]),
  ),
);

function throwUnread(name: string): never {
  throw new Error(`${name} is looked at and was not read.`);
}

function isUsable({ expiresAt }: StoredKeyHint, nowMs: number): boolean {
  return expiresAt === null || expiresAt > nowMs;
}

function toHint({ name, keyPrefix, keyLast4 }: StoredKeyHint): KeyHint {
  return { name, keyPrefix, keyLast4 };
}

/** The moment from which on a block counts as stale. */
function toStaleAt(freshness: Freshness | null | undefined): number | null {
  const observedAt = freshness?.observedAt ?? null;
  return observedAt === null ? null : Date.parse(observedAt) + (staleAfterSeconds + 1) * 1_000;
}

function toHealth(
  stored: StoredNumber,
  shown: Exclude<Shown['health'], 'nothing'>,
  circumstances: Circumstances,
): Health {
  const { provider, state } = stored;
  const block = provider === 'META' ? 'phone' : 'connection';
  const freshness = toFreshness(stored, block, circumstances);
  const phone = circumstances.readable.includes('phone') ? stored.blocks.phone : undefined;
  const { data = null, verdict = null } = phone ?? {};
  // A verdict spares the evidence, which is not even read for a summary.
  const isEvidence = data !== null && (shown === 'everything' || verdict === null);
  const evidence = {
    provider,
    state,
    phone: isEvidence ? toStoredBlock('phone', data) : null,
    stale: freshness?.stale ?? false,
    failure: freshness?.error ?? null,
    lastVerdict: verdict,
  };
  return hideUnread<Health>({
    qualityRating: toText(data, 'qualityRating'),
    messagingLimitTier: toText(data, 'messagingLimitTier'),
    metaStatus: toText(data, 'status'),
    ...(shown === 'everything'
      ? { ...toSendability(evidence), freshness }
      : { sendable: isSendable(evidence) }),
  });
}

// The decoder has made these a text or null.
function toText(data: StoredBlock['data'], name: keyof MetaPhone): string | null {
  return (data?.[name] ?? null) as string | null;
}

function toMeta(
  stored: StoredNumber,
  shown: readonly MetaBlock[],
  circumstances: Circumstances,
): MetaDetails | null {
  const fetchedAt = metaBlockNames
    .filter((block) => circumstances.readable.includes(block))
    .map((block) => stored.blocks[block]?.observedAt ?? null)
    .reduce(toOlder, null);
  if (fetchedAt === null) return null;
  const entries = shown.map((block) => [block, toSnapshot(stored, block, circumstances)]);
  return hideUnread<MetaDetails>({ fetchedAt, ...Object.fromEntries(entries) });
}

const metaBlockNames: readonly MetaBlock[] = ['phone', 'profile', 'waba'];

// In one format the order of texts is that of times.
function toOlder(one: Timestamp | null, other: Timestamp | null): Timestamp | null {
  if (one === null || other === null) return one ?? other;
  return one < other ? one : other;
}

function toSnapshot<B extends MetaBlock>(
  stored: StoredNumber,
  block: B,
  circumstances: Circumstances,
): Snapshot<MetaBlocks[B]> | null {
  const freshness = toFreshness(stored, block, circumstances);
  if (freshness === null) return null;
  const data = stored.blocks[block]?.data ?? null;
  return { value: data === null ? null : toStoredBlock(block, data), freshness };
}

/** Null for a block that nobody has tried to read. */
function toFreshness(
  stored: StoredNumber,
  block: Block,
  { now, readable, outcomes }: Circumstances,
): Freshness | null {
  const found = readable.includes(block) ? stored.blocks[block] : undefined;
  const outcome = outcomes.get(block);
  const unattempted = outcome === undefined || outcome === 'LIVE' ? null : outcome;
  if (found === undefined && unattempted === null) return null;
  // Other software may have written the state after we read it.
  const observedAt = block === 'connection' ? stored.stateObservedAt : (found?.observedAt ?? null);
  const error = unattempted ?? found?.failure ?? null;
  const ageSeconds =
    observedAt === null
      ? null
      : Math.max(0, Math.floor((now.getTime() - Date.parse(observedAt)) / 1_000));
  return {
    observedAt,
    attemptedAt: found?.attemptedAt ?? null,
    ageSeconds,
    source: outcome === 'LIVE' && error === null ? 'LIVE' : 'SNAPSHOT',
    stale: ageSeconds === null || ageSeconds > staleAfterSeconds,
    error,
  };
}
