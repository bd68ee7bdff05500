// Totals and facets of a fleet, from the counts of its combinations of words, which SQL has counted.

import type { FeedCursor } from '../history/cursor.ts';
import {
  flagMembers,
  type FlagMember,
  type GroupMember,
  groupMembers,
  type NormalFilter,
  type WordFacet,
  type WordMember,
  wordMembers,
} from './filter.ts';

/**
 * How many numbers have these words and flags. `wabaIds`, `portfolioIds` and `labels`: whether they match that member of the
 * filter; true when it is not set. `isLeftOut`: whether they match the members of `not` that are neither words nor flags; true when
 * there are none.
 */
export interface Bucket {
  readonly provider: string;
  readonly state: string;
  readonly verdict: string;
  readonly replyVerdict: string;
  readonly qualityRating: string | null;
  readonly metaStatus: string | null;
  readonly messagingLimitTier: string | null;
  readonly stale: boolean;
  readonly failing: boolean;
  readonly restricted: boolean;
  readonly wabaIds: boolean;
  readonly portfolioIds: boolean;
  readonly labels: boolean;
  readonly isLeftOut: boolean;
  readonly count: number;
}

export interface AccountCount {
  readonly id: string;
  readonly name: string | null;
  readonly count: number;
}

export interface PortfolioCount extends AccountCount {
  /** The limit that the numbers of the portfolio share, as the last of them that was read shows it, whatever the filter. */
  readonly messagingLimitTier: string | null;
}

export interface Summary {
  /** ISO 8601: the observation that expires next; null when none does. */
  readonly nextObservedAt: string | null;
  readonly buckets?: readonly Bucket[] | null;
  readonly wabas?: readonly AccountCount[] | null;
  readonly portfolios?: readonly PortfolioCount[] | null;
  readonly labels?: readonly WordCount[] | null;
  /** The last change that the page shows. */
  readonly feedPosition?: FeedCursor;
}

export interface WordCount {
  readonly value: string;
  readonly count: number;
}

/** A word that no number has is left out; the most frequent come first. */
export type FleetFacets = Readonly<Record<WordFacet, readonly WordCount[]>> &
  Readonly<Record<FlagMember, number>>;

type CountedMember = WordMember | FlagMember | GroupMember;

const bucketMembers = [...(Object.keys(wordMembers) as WordMember[]), ...flagMembers] as const;
const countedMembers: readonly CountedMember[] = [...bucketMembers, ...groupMembers];

/** How many numbers match the filter. */
export function countTotal(buckets: readonly Bucket[], filter: NormalFilter): number {
  const matching = buckets.filter((bucket) => matches(bucket, filter, null));
  return matching.reduce((total, { count }) => total + count, 0);
}

/** A facet ignores its own member of the filter, so that it shows what each of its values would yield. */
export function countFacets(buckets: readonly Bucket[], filter: NormalFilter): FleetFacets {
  const words = Object.entries(wordMembers).map(([member, facet]) => {
    const matching = buckets.filter((bucket) => matches(bucket, filter, member as WordMember));
    return [facet, countWords(matching, facet)];
  });
  const flags = flagMembers.map((member) => {
    const matching = buckets.filter((bucket) => bucket[member] && matches(bucket, filter, member));
    return [member, matching.reduce((total, { count }) => total + count, 0)];
  });
  // One entry for each facet.
  return Object.fromEntries([...words, ...flags]) as FleetFacets;
}

function countWords(buckets: readonly Bucket[], facet: WordFacet): readonly WordCount[] {
  const counts = new Map<string, number>();
  for (const bucket of buckets) {
    const value = bucket[facet];
    if (value !== null) counts.set(value, (counts.get(value) ?? 0) + bucket.count);
  }
  return [...counts]
    .map(([value, count]) => ({ value, count }))
    .toSorted((one, other) => other.count - one.count || (one.value < other.value ? -1 : 1));
}

function matches(
  bucket: Bucket,
  { is, not }: NormalFilter,
  ignored: CountedMember | null,
): boolean {
  const isMatched = (member: CountedMember): boolean =>
    member === ignored || is[member] === undefined || matchesMember(bucket, member, is);
  if (!countedMembers.every(isMatched)) return false;
  if (Object.keys(not).length === 0) return true;
  return !isLeftOut(bucket, not);
}

function isLeftOut(bucket: Bucket, not: NormalFilter['not']): boolean {
  // SQL has compared the other members.
  if (!bucket.isLeftOut) return false;
  return bucketMembers.every(
    (member) => not[member] === undefined || matchesMember(bucket, member, not),
  );
}

function matchesMember(
  bucket: Bucket,
  member: CountedMember,
  conditions: NormalFilter['is'],
): boolean {
  if (isGroupMember(member)) return bucket[member];
  if (member === 'stale' || member === 'failing' || member === 'restricted') {
    return bucket[member] === conditions[member];
  }
  const value = bucket[wordMembers[member]];
  return value !== null && conditions[member]?.includes(value) === true;
}

function isGroupMember(member: CountedMember): member is GroupMember {
  return (groupMembers as readonly CountedMember[]).includes(member);
}
