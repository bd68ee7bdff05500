// The filter of a fleet in a JSON body: the members of the GraphQL type FleetFilter.

import {
  createInvalid,
  type FleetConditions,
  type FleetFilter,
  flagMembers,
  groupMembers,
  wordMembers,
} from '../fleet/filter.ts';
import { type JsonObject, toObject } from '../json.ts';
import { connectionStates, providers } from '../numbers/provider.ts';
import { verdicts } from '../numbers/reason.ts';
import { wordsOf } from './fleet-schemas.ts';
import { type Json, toTime } from './json-schema.ts';
import { isTime } from './time.ts';

const wordsOfMember: Readonly<Record<keyof typeof wordMembers, readonly string[]>> = {
  providers,
  states: connectionStates,
  verdicts,
  replyVerdicts: verdicts,
  qualityRatings: wordsOf('QualityRating'),
  metaStatuses: wordsOf('MetaStatus'),
  messagingLimitTiers: wordsOf('MessagingLimitTier'),
};

const lists: readonly string[] = ['ids', ...groupMembers];

/** Throws INVALID_REQUEST. */
export function readFilterJson(value: unknown): FleetFilter {
  const filter = toObject(value);
  if (filter === null) throw createInvalid('filter must be an object.');
  const { not = null, ...is } = filter;
  const excluded = toObject(not);
  if (not !== null && excluded === null) throw createInvalid('filter.not must be an object.');
  return {
    ...readConditions(is, 'filter'),
    ...(excluded !== null && { not: readConditions(excluded, 'filter.not') }),
  };
}

/** Members that are null do not filter. */
function readConditions(conditions: JsonObject, place: string): FleetConditions {
  for (const [member, value] of Object.entries(conditions)) {
    const expected = value === null ? null : findProblem(member, value);
    if (expected !== null) throw createInvalid(`${place}.${member} ${expected}.`);
  }
  return conditions;
}

/** Null for a value that the member may have. */
function findProblem(member: string, value: unknown): string | null {
  if (Object.hasOwn(wordsOfMember, member)) {
    const words = wordsOfMember[member as keyof typeof wordsOfMember];
    const isValid = isTexts(value) && value.every((word) => words.includes(word));
    return isValid ? null : `must be a list of ${words.join(', ')}`;
  }
  if (lists.includes(member)) return isTexts(value) ? null : 'must be a list of texts';
  if ((flagMembers as readonly string[]).includes(member)) {
    return typeof value === 'boolean' ? null : 'must be true or false';
  }
  if (member === 'search') return typeof value === 'string' ? null : 'must be a text';
  if (member !== 'changedSince') return 'is no member of a filter';
  const isValid = typeof value === 'string' && isTime(value);
  return isValid ? null : 'must be a time such as 2026-06-30T09:18:33Z';
}

export function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}

export function toFilterSchema(): Json {
  const texts = { type: ['array', 'null'], items: { type: 'string' } };
  const conditions: Json = {
    search: { type: ['string', 'null'], maxLength: 100 },
    ...Object.fromEntries(lists.map((member) => [member, texts])),
    ...Object.fromEntries(
      Object.entries(wordsOfMember).map(([member, words]) => [
        member,
        { type: ['array', 'null'], items: { enum: words } },
      ]),
    ),
    ...Object.fromEntries(flagMembers.map((member) => [member, { type: ['boolean', 'null'] }])),
    changedSince: {
      ...toTime('Numbers whose verdict has changed since.'),
      type: ['string', 'null'],
    },
  };
  return {
    type: 'object',
    description:
      'Selects numbers that match all of its members, as the GraphQL type FleetFilter does. A list matches any of its values.',
    properties: {
      ...conditions,
      not: { type: ['object', 'null'], properties: conditions, additionalProperties: false },
    },
    additionalProperties: false,
  };
}
