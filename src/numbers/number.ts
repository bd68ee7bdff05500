// Owns what a number is to everyone who asks: the domain types, and how rows of the database become them.

import { type MetaPhone, type MetaProfile, type MetaWaba, toStoredBlock } from './meta.ts';
import type { Block, Blocks, ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import { type Sendability, toSendability, type Verdict } from './sendable.ts';
import { toWord } from './vocabulary.ts';

/** How old a block is and how the last attempt to renew it went. */
export interface Freshness {
  /** When the value was true: the time at which the reading was sent. Null when none ever succeeded. */
  readonly observedAt: Date | null;
  /** When a reading was last tried. Null when none ever was. */
  readonly attemptedAt: Date | null;
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
  readonly fetchedAt: Date;
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
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly health: Health;
  readonly meta: MetaDetails | null;
}

/** A block as it is stored. */
export interface StoredBlock {
  readonly block: Block;
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly observedAt: Date | null;
  readonly attemptedAt: Date;
  readonly failure: UpstreamFailure | null;
  /** Of the phone: the last verdict that a reading supported. */
  readonly verdict: Verdict | null;
}

/** A number as it is stored, with its blocks and those of its account. */
export interface StoredNumber {
  readonly id: string;
  readonly instanceName: string | null;
  readonly number: string;
  readonly name: string;
  readonly provider: ProviderName;
  readonly state: ConnectionState;
  /** When the state was last read or changed, by whomever. */
  readonly stateObservedAt: Date;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
  readonly blocks: readonly StoredBlock[];
}

/** Meta changes health within hours, and a reading an hour is far within its budget. */
export const staleAfterSeconds = 3_600;

/** How the reading of a block went for this very request: LIVE, or why it was not even attempted. */
export type Outcomes = ReadonlyMap<Block, 'LIVE' | UpstreamFailure>;

/** `outcomes` has the blocks that were read for this very request. */
export function toWhatsAppNumber(
  stored: StoredNumber,
  now: Date,
  outcomes: Outcomes = new Map(),
): WhatsAppNumber {
  const snapshot = <B extends Block>(block: B) => toSnapshot(stored, block, now, outcomes);
  const phone = snapshot('phone');
  const profile = snapshot('profile');
  const waba = snapshot('waba');
  const evidence = stored.provider === 'META' ? phone : snapshot('connection');
  const fetchedAt = toOldest([phone, profile, waba]);
  return {
    id: stored.id,
    instanceName: stored.instanceName,
    number: stored.number,
    name: stored.name,
    provider: stored.provider,
    state: stored.state,
    isFullyConnected: isFullyConnected(stored.state),
    createdAt: stored.createdAt,
    updatedAt: stored.updatedAt,
    health: {
      qualityRating: phone?.value?.qualityRating ?? null,
      messagingLimitTier: phone?.value?.messagingLimitTier ?? null,
      metaStatus: phone?.value?.status ?? null,
      ...toSendability({
        provider: stored.provider,
        state: stored.state,
        phone: phone?.value ?? null,
        stale: evidence?.freshness.stale ?? false,
        failure: evidence?.freshness.error ?? null,
        lastVerdict: stored.blocks.find(({ block }) => block === 'phone')?.verdict ?? null,
      }),
      freshness: evidence?.freshness ?? null,
    },
    meta: fetchedAt === null ? null : { fetchedAt, phone, profile, waba },
  };
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

function toSnapshot<B extends Block>(
  stored: StoredNumber,
  block: B,
  now: Date,
  outcomes: Outcomes,
): Snapshot<Blocks[B]> | null {
  const found = stored.blocks.find((candidate) => candidate.block === block);
  const outcome = outcomes.get(block);
  const unattempted = outcome === undefined || outcome === 'LIVE' ? null : outcome;
  if (found === undefined && unattempted === null) return null;
  const { data = null, attemptedAt = null } = found ?? {};
  // Other software may have written the state after we read it.
  const observedAt = block === 'connection' ? stored.stateObservedAt : (found?.observedAt ?? null);
  const error = unattempted ?? found?.failure ?? null;
  const ageSeconds =
    observedAt === null
      ? null
      : Math.max(0, Math.floor((now.getTime() - observedAt.getTime()) / 1_000));
  return {
    value: data === null ? null : (toValue(block, data) as Blocks[B]),
    freshness: {
      observedAt,
      attemptedAt,
      ageSeconds,
      source: outcome === 'LIVE' && error === null ? 'LIVE' : 'SNAPSHOT',
      stale: ageSeconds === null || ageSeconds > staleAfterSeconds,
      error,
    },
  };
}

function toValue(block: Block, data: Readonly<Record<string, unknown>>): unknown {
  return block === 'connection' ? data : toStoredBlock(block, data);
}

function toOldest(snapshots: readonly (Snapshot<unknown> | null)[]): Date | null {
  const times = snapshots
    .map((snapshot) => snapshot?.freshness.observedAt ?? null)
    .filter((time) => time !== null)
    .map((time) => time.getTime());
  return times.length === 0 ? null : new Date(Math.min(...times));
}
