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
import { createPartial, createPrototypes } from './partial.ts';
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
  readonly validUntil: Date | null;
}

/** What is going to be looked at. The rest is not read, and looking at it throws. */
export interface Projection {
  /** What the number has of its own beside `id`, `provider`, `state` and `isFullyConnected`. */
  readonly details: boolean;
  readonly apiKeys: boolean;
  /** `summary`: all but `sendability` and `freshness`. */
  readonly health: 'nothing' | 'summary' | 'everything';
  /** The blocks of `meta`; null when not even its `fetchedAt` is looked at. */
  readonly meta: readonly MetaBlock[] | null;
  /** Whether `ageSeconds` is selected anywhere: the result then changes every second, so it is never cached. */
  readonly ages?: boolean;
}

export const fullProjection: Projection = {
  details: true,
  apiKeys: true,
  health: 'everything',
  meta: ['phone', 'profile', 'waba'],
};

/** All that one of these shows. */
export function unionOf(projection: readonly Projection[]): Projection {
  const [first] = projection;
  if (first !== undefined && projection.every((other) => other === first)) return first;
  const healths = new Set(projection.map(({ health }) => health));
  const metas = projection.map(({ meta }) => meta).filter((meta) => meta !== null);
  return {
    details: projection.some(({ details }) => details),
    apiKeys: projection.some(({ apiKeys }) => apiKeys),
    health: (['everything', 'summary'] as const).find((health) => healths.has(health)) ?? 'nothing',
    meta: metas.length === 0 ? null : [...new Set(metas.flat())],
    ages: projection.some(({ ages }) => ages === true),
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

/** How a block was refreshed for this request: ATTEMPTED, and the result stored; or why nothing was attempted. */
export type Outcome = 'ATTEMPTED' | UpstreamFailure;
export type Outcomes = ReadonlyMap<Block, Outcome>;

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
  projection: Projection,
  circumstances: Circumstances,
): WhatsAppNumber {
  const { state, details } = stored;
  const nowMs = circumstances.now.getTime();
  const number = createPartial<WhatsAppNumber>(toNumberPrototype(projection));
  let validUntil = Infinity;
  number.id = stored.id;
  number.provider = stored.provider;
  number.state = state;
  number.isFullyConnected = isFullyConnected(state);
  if (details !== null) {
    number.instanceName = details.instanceName;
    number.number = details.number;
    number.name = details.name;
    number.createdAt = details.createdAt;
    number.updatedAt = details.updatedAt;
  }
  if (projection.apiKeys) {
    const keys = stored.apiKeys.filter((key) => isUsable(key, nowMs));
    number.apiKeys = keys.map(toHint);
    for (const { expiresAt } of keys) validUntil = toSooner(validUntil, expiresAt, nowMs);
  }
  if (projection.health !== 'nothing') {
    const health = toHealth(stored, projection.health, circumstances);
    number.health = health;
    if (projection.health === 'everything') {
      validUntil = toSooner(validUntil, toStaleAt(health.freshness), nowMs);
    }
  }
  if (projection.meta !== null) {
    const meta = toMeta(stored, projection.meta, circumstances);
    number.meta = meta;
    for (const block of projection.meta) {
      validUntil = toSooner(validUntil, toStaleAt(meta?.[block]?.freshness), nowMs);
    }
  }
  number.validUntil = validUntil === Infinity ? null : new Date(validUntil);
  return number;
}

/** The sooner one of two moments to come; null and what has passed are none. */
function toSooner(soonest: number, at: number | null, nowMs: number): number {
  return at !== null && at > nowMs && at < soonest ? at : soonest;
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

const findNumberPrototype = createPrototypes(
  ['instanceName', 'number', 'name', 'createdAt', 'updatedAt'],
  ['apiKeys'],
  ['health'],
  ['meta'],
);
const findHealthPrototype = createPrototypes(['sendability', 'freshness']);
const findMetaPrototype = createPrototypes(['phone'], ['profile'], ['waba']);

function toNumberPrototype({ details, apiKeys, health, meta }: Projection): object {
  return findNumberPrototype(
    (details ? 1 : 0) |
      (apiKeys ? 2 : 0) |
      (health === 'nothing' ? 0 : 4) |
      (meta === null ? 0 : 8),
  );
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
  projection: Exclude<Projection['health'], 'nothing'>,
  circumstances: Circumstances,
): Health {
  const { provider, state } = stored;
  const block = provider === 'META' ? 'phone' : 'connection';
  const freshness = toFreshness(stored, block, circumstances);
  const phone = circumstances.readable.includes('phone') ? stored.blocks.phone : undefined;
  const data = phone?.data ?? null;
  const verdict = phone?.verdict ?? null;
  // A verdict spares the evidence, which is not even read for a summary.
  const isEvidence = data !== null && (projection === 'everything' || verdict === null);
  const evidence = {
    provider,
    state,
    phone: isEvidence ? toStoredBlock('phone', data) : null,
    stale: freshness?.stale ?? false,
    failure: freshness?.error ?? null,
    lastVerdict: verdict,
  };
  const health = createPartial<Health>(findHealthPrototype(projection === 'everything' ? 1 : 0));
  health.qualityRating = toText(data, 'qualityRating');
  health.messagingLimitTier = toText(data, 'messagingLimitTier');
  health.metaStatus = toText(data, 'status');
  if (projection === 'summary') {
    health.sendable = isSendable(evidence);
    return health;
  }
  const { sendable, sendability } = toSendability(evidence);
  health.sendable = sendable;
  health.sendability = sendability;
  health.freshness = freshness;
  return health;
}

// The decoder has made these a text or null.
function toText(data: StoredBlock['data'], name: keyof MetaPhone): string | null {
  return (data?.[name] ?? null) as string | null;
}

function toMeta(
  stored: StoredNumber,
  projection: readonly MetaBlock[],
  circumstances: Circumstances,
): MetaDetails | null {
  let fetchedAt: Timestamp | null = null;
  for (const block of metaBlockNames) {
    if (!circumstances.readable.includes(block)) continue;
    fetchedAt = toOlder(fetchedAt, stored.blocks[block]?.observedAt ?? null);
  }
  if (fetchedAt === null) return null;
  const [phone, profile, waba] = metaBlockNames.map((block) => projection.includes(block));
  const parts = (phone ? 1 : 0) | (profile ? 2 : 0) | (waba ? 4 : 0);
  const meta = createPartial<MetaDetails>(findMetaPrototype(parts));
  meta.fetchedAt = fetchedAt;
  if (phone) meta.phone = toSnapshot(stored, 'phone', circumstances);
  if (profile) meta.profile = toSnapshot(stored, 'profile', circumstances);
  if (waba) meta.waba = toSnapshot(stored, 'waba', circumstances);
  return meta;
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

/** Null for a block that nobody has tried to read; a connection state that could be read was stored by somebody. */
function toFreshness(
  stored: StoredNumber,
  block: Block,
  { now, readable, outcomes }: Circumstances,
): Freshness | null {
  const found = readable.includes(block) ? stored.blocks[block] : undefined;
  const outcome = outcomes.get(block);
  const unattempted = outcome === undefined || outcome === 'ATTEMPTED' ? null : outcome;
  const isKnown = found !== undefined || (block === 'connection' && readable.includes(block));
  if (!isKnown && unattempted === null) return null;
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
    source: outcome === 'ATTEMPTED' && error === null ? 'LIVE' : 'SNAPSHOT',
    stale: ageSeconds === null || ageSeconds > staleAfterSeconds,
    error,
  };
}
