// The filter of a fleet: its members, their limits, and its hash for cursors.

import { hash } from 'node:crypto';
import { toTimeText } from '../database/statement.ts';
import { GatewayError } from '../errors.ts';
import { foldText } from '../numbers/status.ts';

type Words = readonly string[] | null | undefined;

/** Members that are null or missing do not filter. A list matches any of its values; an empty one matches none. */
export interface FleetConditions {
  readonly search?: string | null | undefined;
  readonly ids?: Words;
  readonly providers?: Words;
  readonly states?: Words;
  readonly verdicts?: Words;
  readonly replyVerdicts?: Words;
  readonly qualityRatings?: Words;
  readonly metaStatuses?: Words;
  readonly messagingLimitTiers?: Words;
  readonly wabaIds?: Words;
  readonly portfolioIds?: Words;
  /** `key=value`. */
  readonly labels?: Words;
  readonly stale?: boolean | null | undefined;
  readonly failing?: boolean | null | undefined;
  readonly restricted?: boolean | null | undefined;
  /** ISO 8601. */
  readonly changedSince?: string | null | undefined;
}

export interface FleetFilter extends FleetConditions {
  /** Leaves out the numbers that match all of these. */
  readonly not?: FleetConditions | null | undefined;
}

/** The facet that each member with words filters by. */
export const wordMembers = {
  providers: 'provider',
  states: 'state',
  verdicts: 'verdict',
  replyVerdicts: 'replyVerdict',
  qualityRatings: 'qualityRating',
  metaStatuses: 'metaStatus',
  messagingLimitTiers: 'messagingLimitTier',
} as const;

export type WordMember = keyof typeof wordMembers;
export type WordFacet = (typeof wordMembers)[WordMember];

export const flagMembers = ['stale', 'failing', 'restricted'] as const;
export type FlagMember = (typeof flagMembers)[number];

/** Members whose facets have as many values as the caller asks for. */
export const groupMembers = ['wabaIds', 'portfolioIds', 'labels'] as const;
export type GroupMember = (typeof groupMembers)[number];

/** Members that are not counted by: each has too many values. */
export const rowMembers = ['search', 'ids', 'changedSince'] as const;
export type RowMember = (typeof rowMembers)[number];

export type Member = WordMember | FlagMember | GroupMember | RowMember;

/** The members that are set, in their final form. Lists are sorted. `search` has one or two texts, any of which is found. */
export type NormalConditions = Readonly<
  Partial<Record<WordMember | GroupMember | 'ids' | 'search', readonly string[]>>
> &
  Readonly<Partial<Record<FlagMember, boolean>>> &
  Readonly<Partial<Record<'changedSince', string>>>;

export interface NormalFilter {
  readonly is: NormalConditions;
  /** Empty when nothing is left out. */
  readonly not: NormalConditions;
}

const maxSearchLength = 100;
const maxListLength = 1_000;

/** Throws INVALID_REQUEST for what exceeds a limit. */
export function normalizeFilter({ not, ...is }: FleetFilter): NormalFilter {
  return { is: normalizeConditions(is), not: normalizeConditions(not ?? {}) };
}

function normalizeConditions({
  search,
  changedSince,
  ...others
}: FleetConditions): NormalConditions {
  const entries = Object.entries(others).flatMap(([member, value]) => {
    if (value === null || value === undefined) return [];
    return [[member, typeof value === 'boolean' ? value : normalizeList(member, value)]];
  });
  return {
    ...Object.fromEntries(entries),
    ...normalizeSearch(search),
    ...(typeof changedSince === 'string' && { changedSince: toTimeText(Date.parse(changedSince)) }),
  };
}

function normalizeList(member: string, values: readonly string[]): readonly string[] {
  if (values.length > maxListLength) {
    throw createInvalid(
      `${member} has ${values.length} values, and the limit is ${maxListLength}.`,
    );
  }
  // No stored text has a NUL, and PostgreSQL rejects one in a parameter.
  return [...new Set(values)].filter((value) => !value.includes('\0')).toSorted();
}

/** Of a text that may be a phone number, the digits are searched too, however they are grouped. */
function normalizeSearch(search: string | null | undefined): Pick<NormalConditions, 'search'> {
  if (search === null || search === undefined) return {};
  const { length } = [...search];
  if (length > maxSearchLength) {
    throw createInvalid(`search has ${length} characters, and the limit is ${maxSearchLength}.`);
  }
  const isNumber = /^[\d\s+()./-]*\d[\d\s+()./-]*$/.test(search);
  const texts = [
    foldText(search.toWellFormed()),
    ...(isNumber ? [search.replaceAll(/\D/g, '')] : []),
  ].filter((text) => text !== '');
  return texts.length === 0 ? {} : { search: [...new Set(texts)] };
}

/** Equal for filters with the same members and values, in whatever order. */
export function hashFilter({ is, not }: NormalFilter): string {
  const members = [is, not].map((conditions) => Object.entries(conditions).toSorted(byName));
  return hash('sha256', JSON.stringify(members), 'base64url').slice(0, 16);
}

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}

export function createInvalid(message: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', message);
}
