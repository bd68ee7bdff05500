// Numbers as the command line prints them: JSON that extends REST's with what GraphQL has beside it, and its table.

import type { Health, WhatsAppNumber } from '../numbers/number.ts';
import { toSendabilityJson } from '../rest/included.ts';
import { toDetail, toListItem } from '../rest/numbers.ts';
import { type Column, formatAge, type Tone } from './table.ts';

/** A list item of REST, and the health as in GraphQL. */
export function toListJson(number: WhatsAppNumber) {
  return { ...toListItem(number), health: toHealthJson(toDetail(number).health, number.health) };
}

/** The detail of REST, and the health and Meta's fields as in GraphQL, with the freshness of each block. */
export function toDetailJson(number: WhatsAppNumber) {
  const { health, meta, ...members } = toDetail(number);
  const { instanceName, apiKeys } = toListItem(number);
  return {
    ...members,
    health: toHealthJson(health, number.health),
    meta: meta && {
      fetchedAt: meta.fetchedAt,
      phone: meta.phone && { ...meta.phone, ...number.meta?.phone?.value },
      profile: meta.profile && { ...meta.profile, ...number.meta?.profile?.value },
      waba: meta.waba && { ...meta.waba, ...number.meta?.waba?.value },
    },
    freshness: number.freshness,
    instanceName,
    apiKeys,
  };
}

export type DetailJson = ReturnType<typeof toDetailJson>;

function toHealthJson(
  shown: ReturnType<typeof toDetail>['health'],
  { sendability, freshness }: Health,
) {
  return { ...shown, sendability: toSendabilityJson(sendability), freshness };
}

type NumberRow = Pick<
  ReturnType<typeof toListJson>,
  'id' | 'name' | 'number' | 'provider' | 'state' | 'health'
>;

export const numberColumns: readonly Column<NumberRow>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name, minWidth: 8 },
  { title: 'number', cell: ({ number }) => number, omitOrder: 5 },
  { title: 'provider', cell: ({ provider }) => provider, omitOrder: 7 },
  { title: 'state', cell: ({ state }) => state, tone: ({ state }) => toTone(state), omitOrder: 6 },
  {
    title: 'verdict',
    cell: ({ health }) => health.sendability.verdict,
    tone: ({ health }) => toTone(health.sendability.verdict),
  },
  {
    title: 'replies',
    cell: ({ health }) => health.sendability.replyVerdict,
    tone: ({ health }) => toTone(health.sendability.replyVerdict),
    omitOrder: 3,
  },
  {
    title: 'quality',
    cell: ({ health }) => health.qualityRating,
    tone: ({ health }) => toTone(health.qualityRating),
    omitOrder: 4,
  },
  {
    title: 'age',
    cell: ({ health }) => formatAge(health.freshness?.ageSeconds ?? null),
    omitOrder: 2,
  },
  {
    title: 'last error',
    cell: ({ health }) => health.freshness?.error?.code ?? null,
    tone: () => 'bad',
    omitOrder: 1,
  },
];

const words: Readonly<Record<Tone, readonly string[]>> = {
  good: ['YES', 'GREEN', 'OPEN'],
  doubtful: ['UNKNOWN', 'YELLOW', 'CONNECTING'],
  bad: ['NO', 'RED', 'CLOSE'],
};
const tones = new Map(
  Object.entries(words).flatMap(([tone, ofTone]) => ofTone.map((word) => [word, tone as Tone])),
);

/** Null for a word that is neither good nor bad, or that is not known. */
export function toTone(word: string | null): Tone | null {
  return (word === null ? undefined : tones.get(word)) ?? null;
}
