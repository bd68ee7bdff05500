// The domain types of a number, and how what is stored of it is converted to them.

import type { KeyHint } from '../access/key.ts';
import type { SyncSettings } from '../config.ts';
import type { AccountNotices } from './account-notices.ts';
import { assignDetails, type NumberDetails, type Timestamp } from './details.ts';
import {
  type MetaBlock,
  type MetaBlocks,
  type MetaPhone,
  type MetaProfile,
  type MetaWaba,
  toStoredBlock,
} from './meta.ts';
import { findPortfolio, type Portfolio } from './portfolio.ts';
import {
  createPartial,
  findHealthPrototype,
  findMetaPrototype,
  findNumberPrototype,
  type Projection,
} from './projection.ts';
import type { Block, ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import type { Sendability } from './reason.ts';
import { isInForce, type Restriction } from './restriction.ts';
import { type Evidence, isSendable, toSendability } from './sendable.ts';
import type { StoredBlock, StoredKeyHint, StoredNumber } from './stored-number.ts';
import { findNextTokenChange } from './token-expiry.ts';

export type { Timestamp } from './details.ts';

/** The age of a block, and the result of the last attempt to refresh it. */
export interface Freshness {
  /** The time at which the last successful read was sent, so the value was true then. Null when none succeeded. */
  readonly observedAt: Timestamp | null;
  /** The time of the last attempt. Null when there was none. */
  readonly attemptedAt: Timestamp | null;
  /** Whole seconds since `observedAt`. */
  readonly ageSeconds: number | null;
  /** LIVE: read for this request. SNAPSHOT: stored by an earlier one. */
  readonly source: 'LIVE' | 'SNAPSHOT';
  /** Older than `staleAfterSeconds`, or never read. */
  readonly stale: boolean;
  /** Why the last attempt failed, or could not be made; null when it succeeded. */
  readonly error: UpstreamFailure | null;
  /**
   * When it is read next without being asked for; in the past while that is due. Null when nothing is planned, and where the
   * projection does not select it.
   */
  readonly nextSyncAt: Timestamp | null;
}

/** A block with its age. `value` is null when no read succeeded. */
export interface Snapshot<T> {
  readonly value: T | null;
  readonly freshness: Freshness;
}

/** An account, with what Meta has announced of it to webhooks alone. */
export interface AccountSnapshot extends Snapshot<MetaWaba> {
  /** Those in force. */
  readonly restrictions: readonly Restriction[];
  readonly notices: AccountNotices;
}

export interface Health {
  /** In Meta's spelling; null for a number that is not Meta's. */
  readonly qualityRating: string | null;
  readonly messagingLimitTier: string | null;
  readonly metaStatus: string | null;
  /** True while the last verdict that a read supported is YES, and nothing newer contradicts it. */
  readonly sendable: boolean;
  /** The current verdicts. Stale evidence supports none. */
  readonly sendability: Sendability;
  /** Of the block that health is based on; null when it was never requested, or nothing provides it. */
  readonly freshness: Freshness | null;
}

/** Exists once at least one block was read. A block is null until a read of it was attempted. */
export interface MetaDetails {
  readonly numberId: string;
  /** The oldest `observedAt` of the blocks. */
  readonly fetchedAt: Timestamp;
  readonly phone: Snapshot<MetaPhone> | null;
  readonly profile: Snapshot<MetaProfile> | null;
  readonly waba: AccountSnapshot | null;
}

export type BlockFreshness = { readonly [B in Block]?: Freshness | null };

export interface WhatsAppNumber extends NumberDetails {
  readonly id: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** Connected, and no action is needed. */
  readonly isFullyConnected: boolean;
  /** The usable keys that are bound to this number, oldest first. */
  readonly apiKeys: readonly KeyHint[];
  readonly health: Health;
  readonly meta: MetaDetails | null;
  /** Of each block that the provider may have, whether `meta` exists or not; null for one that was never requested. */
  readonly freshness: BlockFreshness;
  /** The business that owns the account; null for a number that is not Meta's, or when it is not known yet. */
  readonly portfolio: Portfolio | null;
  /** The first time at which a member other than an age changes without a write; null when none does. */
  readonly validUntil: Date | null;
}

/** What identifies a number upstream. */
export interface NumberAddress {
  readonly id: string;
  readonly provider: ProviderName;
  readonly instanceName: string | null;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
}

/** Meta changes health within hours, and one read an hour is far within its rate limits. */
export const staleAfterSeconds = 3_600;

/** How a block was refreshed for this request: ATTEMPTED, and the result stored; or why nothing was attempted. */
export type Outcome = 'ATTEMPTED' | UpstreamFailure;
export type Outcomes = ReadonlyMap<Block, Outcome>;

/** What the conversion of a number depends on besides what is stored. */
export interface ConversionContext {
  readonly now: Date;
  /** The blocks that the provider can read. What is stored of other blocks is out of date, and ignored. */
  readonly readable: readonly Block[];
  /** Of the blocks that were refreshed for this request. */
  readonly outcomes: Outcomes;
  /** What is read in the background. */
  readonly sync: SyncSettings;
}

export function toWhatsAppNumber(
  stored: StoredNumber,
  projection: Projection,
  context: ConversionContext,
): WhatsAppNumber {
  const { state, details } = stored;
  const nowMs = context.now.getTime();
  const number = createPartial<WhatsAppNumber>(findNumberPrototype(projection));
  const restrictions = showsRestrictions(projection) ? stored.restrictions : [];
  let validUntil = earliestExpiryOf(restrictions, nowMs);
  number.id = stored.id;
  number.provider = stored.provider;
  number.state = state;
  number.isFullyConnected = state === 'OPEN';
  if (details !== null) {
    validUntil = earlierOf(validUntil, assignDetails(number, details, nowMs), nowMs);
  }
  if (projection.apiKeys) {
    const keys = stored.apiKeys.filter((key) => isUsable(key, nowMs));
    number.apiKeys = keys.map(toHint);
    for (const { expiresAt } of keys) validUntil = earlierOf(validUntil, expiresAt, nowMs);
  }
  if (projection.health !== 'nothing') {
    const health = toHealth(stored, projection.health, context);
    number.health = health;
    if (projection.health === 'everything') {
      validUntil = earlierOf(validUntil, toStaleAt(health.freshness), nowMs);
      const tokenChange = findNextTokenChange(stored.token ?? null, context.now);
      validUntil = earlierOf(validUntil, tokenChange, nowMs);
    }
  }
  if (projection.meta !== null) {
    const meta = toMeta(stored, projection.meta, context);
    number.meta = meta;
    for (const block of projection.meta) {
      validUntil = earlierOf(validUntil, toStaleAt(meta?.[block]?.freshness), nowMs);
    }
  }
  if (projection.freshness === true) {
    const freshness = toBlockFreshness(stored, context);
    number.freshness = freshness;
    for (const block of Object.values(freshness)) {
      validUntil = earlierOf(validUntil, toStaleAt(block), nowMs);
    }
  }
  if (projection.portfolio === true) number.portfolio = toPortfolio(stored, context);
  number.validUntil = validUntil === Infinity ? null : new Date(validUntil);
  return number;
}

/** The earlier one of two times in the future. Null and a time in the past do not count. */
function earlierOf(earliest: number, at: number | null, nowMs: number): number {
  return at !== null && at > nowMs && at < earliest ? at : earliest;
}

function showsRestrictions({ health, meta }: Projection): boolean {
  return health !== 'nothing' || meta?.includes('waba') === true;
}

function earliestExpiryOf(restrictions: readonly Restriction[], nowMs: number): number {
  return restrictions.reduce(
    (at, { expiresAt }) => earlierOf(at, expiresAt === null ? null : Date.parse(expiresAt), nowMs),
    Infinity,
  );
}

/** Why a refresh read nothing; null when at least one block was read, or nothing provides any. */
export function findRefreshFailure({ freshness }: WhatsAppNumber): UpstreamFailure | null {
  const all = Object.values(freshness).filter((block) => block !== null);
  if (all.some(({ source }) => source === 'LIVE')) return null;
  return all.find(({ error }) => error !== null)?.error ?? null;
}

function isUsable({ expiresAt }: StoredKeyHint, nowMs: number): boolean {
  return expiresAt === null || expiresAt > nowMs;
}

function toHint({ name, keyPrefix, keyLast4 }: StoredKeyHint): KeyHint {
  return { name, keyPrefix, keyLast4 };
}

/** The time from which on a block is stale. */
function toStaleAt(freshness: Freshness | null | undefined): number | null {
  const observedAt = freshness?.observedAt ?? null;
  return observedAt === null ? null : Date.parse(observedAt) + (staleAfterSeconds + 1) * 1_000;
}

function toHealth(
  stored: StoredNumber,
  projection: Exclude<Projection['health'], 'nothing'>,
  context: ConversionContext,
): Health {
  const { blocks } = stored;
  const freshness = toFreshness(stored, healthBlockOf(stored.provider), context);
  const phone = context.readable.includes('phone') ? blocks.phone : undefined;
  const data = phone?.data ?? null;
  const health = createPartial<Health>(findHealthPrototype(projection));
  health.qualityRating = toText(data, 'qualityRating');
  health.messagingLimitTier = toText(data, 'messagingLimitTier');
  health.metaStatus = toText(data, 'status');
  const evidence = toEvidence(stored, context, freshness);
  health.sendable = isSendable(evidence);
  if (projection === 'everything') {
    health.sendability = toSendability(evidence);
    health.freshness = freshness;
  }
  return health;
}

function healthBlockOf(provider: ProviderName): 'phone' | 'connection' {
  return provider === 'META' ? 'phone' : 'connection';
}

function toEvidence(
  stored: StoredNumber,
  { now, readable }: ConversionContext,
  freshness: Freshness | null,
): Evidence {
  const { provider, state, stateObservedAt, blocks, restrictions, notices } = stored;
  const phone = readable.includes('phone') ? blocks.phone : undefined;
  const data = phone?.data ?? null;
  const block = healthBlockOf(provider);
  const found = readable.includes(block) ? blocks[block] : undefined;
  return {
    provider,
    state,
    isStateObserved: !readable.includes('connection') || stateObservedAt !== null,
    instanceExists: blocks.connection?.data?.['instanceExists'] !== false,
    phone: data !== null && phone?.isSummary === false ? toStoredBlock('phone', data) : null,
    stale: freshness?.stale ?? false,
    failure: found?.failure ?? null,
    obstacle: found?.obstacle ?? null,
    restrictions,
    ...(notices !== undefined && { notices }),
    identity: stored.identity,
    token: stored.token ?? null,
    lastVerdict: phone?.verdict ?? null,
    now,
  };
}

// The decoder has stored a string or null.
function toText(data: StoredBlock['data'], name: keyof MetaPhone): string | null {
  return (data?.[name] ?? null) as string | null;
}

function toPortfolio({ blocks }: StoredNumber, { readable }: ConversionContext): Portfolio | null {
  return readable.includes('waba') ? findPortfolio(blocks.phone?.data, blocks.waba?.data) : null;
}

function toMeta(
  stored: StoredNumber,
  projection: readonly MetaBlock[],
  context: ConversionContext,
): MetaDetails | null {
  let fetchedAt: Timestamp | null = null;
  for (const block of metaBlockNames) {
    if (!context.readable.includes(block)) continue;
    fetchedAt = olderOf(fetchedAt, stored.blocks[block]?.observedAt ?? null);
  }
  if (fetchedAt === null) return null;
  const meta = createPartial<MetaDetails>(findMetaPrototype(projection));
  meta.numberId = stored.id;
  meta.fetchedAt = fetchedAt;
  if (projection.includes('phone')) meta.phone = toSnapshot(stored, 'phone', context);
  if (projection.includes('profile')) meta.profile = toSnapshot(stored, 'profile', context);
  if (projection.includes('waba')) meta.waba = toAccountSnapshot(stored, context);
  return meta;
}

const metaBlockNames: readonly MetaBlock[] = ['phone', 'profile', 'waba'];

// Timestamps have one format, so they sort as strings.
function olderOf(one: Timestamp | null, other: Timestamp | null): Timestamp | null {
  if (one === null || other === null) return one ?? other;
  return one < other ? one : other;
}

function toSnapshot<B extends MetaBlock>(
  stored: StoredNumber,
  block: B,
  context: ConversionContext,
): Snapshot<MetaBlocks[B]> | null {
  const freshness = toFreshness(stored, block, context);
  if (freshness === null) return null;
  const data = stored.blocks[block]?.data ?? null;
  return { value: data === null ? null : toStoredBlock(block, data), freshness };
}

function toAccountSnapshot(
  stored: StoredNumber,
  context: ConversionContext,
): AccountSnapshot | null {
  const snapshot = toSnapshot(stored, 'waba', context);
  if (snapshot === null) return null;
  const { restrictions, notices = {} } = stored;
  return {
    ...snapshot,
    restrictions: restrictions.filter((it) => isInForce(it, context.now)),
    notices,
  };
}

function toBlockFreshness(stored: StoredNumber, context: ConversionContext): BlockFreshness {
  if (stored.provider !== 'META') return { connection: toFreshness(stored, 'connection', context) };
  return {
    phone: toFreshness(stored, 'phone', context),
    profile: toFreshness(stored, 'profile', context),
    waba: toFreshness(stored, 'waba', context),
  };
}

/** Null for a block that was never attempted. A connection state is stored from the beginning. */
function toFreshness(
  stored: StoredNumber,
  block: Block,
  { now, readable, outcomes, sync }: ConversionContext,
): Freshness | null {
  const found = readable.includes(block) ? stored.blocks[block] : undefined;
  const outcome = outcomes.get(block);
  const unattempted = outcome === undefined || outcome === 'ATTEMPTED' ? null : outcome;
  const isKnown = found !== undefined || (block === 'connection' && readable.includes(block));
  if (!isKnown && unattempted === null) return null;
  // Other software may have written the state after it was read.
  const observedAt = block === 'connection' ? stored.stateObservedAt : (found?.observedAt ?? null);
  const error = unattempted ?? found?.obstacle ?? found?.failure ?? null;
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
    nextSyncAt: findNextSync(stored, block, observedAt, sync),
  };
}

function findNextSync(
  { nextReads = null }: StoredNumber,
  block: Block,
  observedAt: Timestamp | null,
  { isOn, seconds }: SyncSettings,
): Timestamp | null {
  if (nextReads === null) return null;
  if (block === 'phone' || block === 'connection') {
    return olderOf(isOn ? nextReads.phone : null, nextReads.request);
  }
  const planned = isOn ? nextReads[block] : null;
  if (block === 'waba' || planned === null || observedAt === null) return planned;
  // Of the profiles of an account, those that are old enough are read.
  const isOldAt = new Date(Date.parse(observedAt) + seconds.PROFILE * 1_000).toISOString();
  return planned < isOldAt ? isOldAt : planned;
}
