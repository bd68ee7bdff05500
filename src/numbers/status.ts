// Derives the status of a number from what is stored of it: what a fleet is filtered, ordered and counted by.

import type { Timestamp } from './details.ts';
import { toStoredBlock } from './meta.ts';
import type { StoredBlock, StoredNumber } from './stored-number.ts';
import { rulesVersion } from './phone-reasons.ts';
import { findPortfolio } from './portfolio.ts';
import type { Verdict, Verdicts } from './reason.ts';
import { toSendability } from './sendable.ts';
import { toWord } from './vocabulary.ts';

/**
 * The version of the rules that made a stored status. A change of what `toNumberStatus` returns for the same number
 * increments it, also when it comes from sendable.ts or the words in vocabulary.ts: rows of an older version are derived
 * again.
 */
export const statusVersion = 100 * rulesVersion + 3;

export interface NumberStatus {
  readonly id: string;
  /** A word of the vocabulary, UNRECOGNIZED for another one, null for none. */
  readonly qualityRating: string | null;
  readonly metaStatus: string | null;
  readonly messagingLimitTier: string | null;
  /** Whether the last attempt to read the number found that it is blocked; that holds whatever its age. */
  readonly blocked: boolean;
  /** The verdicts while the evidence is fresh, the state is OPEN and the account is not restricted; null for UNKNOWN. */
  readonly verdict: Exclude<Verdict, 'UNKNOWN'> | null;
  readonly replyVerdict: Exclude<Verdict, 'UNKNOWN'> | null;
  /** Whether the last attempt to read a block of the number failed, or could not be made. */
  readonly failing: boolean;
  /** Whether its last attempt to read the account failed or could not be made, and no other number has read the account since. */
  readonly accountFailing: boolean;
  /** When the evidence for the verdicts was read; null when it never was. */
  readonly observedAt: Timestamp | null;
  /** Meta's id of the business that owns the account. */
  readonly portfolioId: string | null;
  /** What names are ordered by. */
  readonly nameKey: string;
  /** What is searched: the name, the verified name and the digits. None contains a line break. */
  readonly searchKey: string;
}

/** `stored` is what `statusSelection` selects. */
export function toNumberStatus(stored: StoredNumber): NumberStatus {
  const { id, provider, stateObservedAt, blocks, details } = stored;
  const isMeta = provider === 'META';
  const phone = isMeta ? (blocks.phone?.data ?? null) : null;
  const { verdict, replyVerdict } = judge(stored, true);
  const name = foldText(details?.name ?? '');
  const verifiedName = foldText(toText(phone?.['verifiedName']) ?? '');
  return {
    id,
    qualityRating: toWord('QualityRating', toText(phone?.['qualityRating'])),
    metaStatus: toWord('MetaStatus', toText(phone?.['status'])),
    messagingLimitTier: toWord('MessagingLimitTier', toText(phone?.['messagingLimitTier'])),
    blocked: judge(stored, false).verdict === 'NO',
    verdict: verdict === 'UNKNOWN' ? null : verdict,
    replyVerdict: replyVerdict === 'UNKNOWN' ? null : replyVerdict,
    failing: (isMeta ? [blocks.phone, blocks.profile] : [blocks.connection]).some(isFailing),
    accountFailing: isMeta && isFailing(blocks.waba),
    observedAt: isMeta ? (blocks.phone?.observedAt ?? null) : stateObservedAt,
    portfolioId: isMeta ? (findPortfolio(phone, blocks.waba?.data)?.id ?? null) : null,
    nameKey: cut(name, maxNameKey),
    searchKey: [cut(name, maxSearched), cut(verifiedName, maxSearched), details?.number].join('\n'),
  };
}

function isFailing(block: StoredBlock | undefined): boolean {
  return block !== undefined && (block.failure ?? block.obstacle) !== null;
}

/** An index has the key, so its length is limited. */
const maxNameKey = 200;
const maxSearched = 500;

/** In UTF-16 code units; half of a surrogate pair is replaced. */
function cut(text: string, max: number): string {
  return text.slice(0, max).toWellFormed();
}

/** The verdicts of a connected number, by fresh evidence or by what holds without any. */
function judge(stored: StoredNumber, isFresh: boolean): Verdicts {
  const { provider, blocks } = stored;
  const block = provider === 'META' ? blocks.phone : blocks.connection;
  const data = provider === 'META' && isFresh ? (block?.data ?? null) : null;
  return toSendability({
    provider,
    state: 'OPEN',
    isStateObserved: true,
    instanceExists: true,
    phone: data === null ? null : toStoredBlock('phone', data),
    stale: !isFresh,
    failure: block?.failure ?? null,
    obstacle: block?.obstacle ?? null,
    // SQL adds what follows from them; see status-queries.ts.
    restrictions: [],
    identity: stored.identity,
    lastVerdict: null,
    now: new Date(0),
  });
}

/**
 * Without the case of letters and their accents, and with single spaces, so that texts can be compared. Upper case comes
 * first because letters such as ß and ı have one that they share with others.
 */
export function foldText(text: string): string {
  const folded = text
    .normalize('NFKD')
    .toUpperCase()
    .toLowerCase()
    // Lower case has another sigma at the end of a word.
    .replaceAll('ς', 'σ')
    .normalize('NFKD')
    .replaceAll(/[\u0300-\u036F]/g, '');
  return folded.replaceAll(/[\s\0]+/g, ' ').trim();
}

function toText(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
