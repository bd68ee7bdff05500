// Which members of a number are needed, and objects that have no others.

import type { MetaBlock } from './meta.ts';

/** The members that are needed. The others are not read, and access to one throws. */
export interface Projection {
  /** The scalar members but for `id`, `provider`, `state` and `isFullyConnected`, which are always read. */
  readonly details: boolean;
  readonly apiKeys: boolean;
  /** `summary`: without `sendability` and `freshness`. */
  readonly health: 'nothing' | 'summary' | 'everything';
  /** The blocks of `meta`; null when not even its `fetchedAt` is needed. */
  readonly meta: readonly MetaBlock[] | null;
  /** Whether the `freshness` of all blocks is needed; false if absent. */
  readonly freshness?: boolean;
  /** Whether the `portfolio` is needed; false if absent. */
  readonly portfolio?: boolean;
  /** Whether `ageSeconds` or a verdict about webhooks is selected anywhere: the result then changes with time, so it is never cached. */
  readonly ages?: boolean;
  /**
   * Whether `freshness` has the time of the next read in the background; it is null if absent. Like ages, it is never
   * cached: reads that find nothing new change it, and announce nothing.
   */
  readonly nextReads?: boolean;
}

export const fullProjection: Projection = {
  details: true,
  apiKeys: true,
  health: 'everything',
  meta: ['phone', 'profile', 'waba'],
  freshness: true,
};

/** Whether and when each block was read, and nothing of what was read. */
export const freshnessAlone = {
  details: false,
  apiKeys: false,
  health: 'nothing',
  meta: null,
  freshness: true,
} as const satisfies Projection;

/** Everything that one of the projections needs. */
export function unionOf(projections: readonly Projection[]): Projection {
  const [first] = projections;
  if (first !== undefined && projections.every((other) => other === first)) return first;
  const healths = new Set(projections.map(({ health }) => health));
  const metas = projections.map(({ meta }) => meta).filter((meta) => meta !== null);
  return {
    details: projections.some(({ details }) => details),
    apiKeys: projections.some(({ apiKeys }) => apiKeys),
    health: (['everything', 'summary'] as const).find((health) => healths.has(health)) ?? 'nothing',
    meta: metas.length === 0 ? null : [...new Set(metas.flat())],
    freshness: projections.some(({ freshness }) => freshness === true),
    portfolio: projections.some(({ portfolio }) => portfolio === true),
    ages: projections.some(({ ages }) => ages === true),
    nextReads: projections.some(({ nextReads }) => nextReads === true),
  };
}

/** Members are assigned one by one: objects are created for every number of every list. */
export type Partially<T> = { -readonly [Member in keyof T]: T[Member] };

export function createPartial<T>(prototype: object): Partially<T> {
  return Object.create(prototype) as Partially<T>;
}

/**
 * Prototypes for partial objects: reading a member that was not selected throws instead of returning undefined. Each group
 * of members is a bit of the index, the first one 1, the next one 2; the groups of the other bits throw.
 */
function createPrototypes(...groups: readonly (readonly string[])[]): readonly object[] {
  return Array.from({ length: 2 ** groups.length }, (_, selected) => {
    const missing = groups.filter((_names, index) => (selected & (1 << index)) === 0).flat();
    const getters = missing.map((name) => [name, { get: () => throwNotSelected(name) }]);
    return Object.defineProperties({}, Object.fromEntries(getters)) as object;
  });
}

function throwNotSelected(name: string): never {
  throw new Error(`${name} was read, and the projection does not select it.`);
}

const numberPrototypes = createPrototypes(
  ['instanceName', 'number', 'name', 'createdAt', 'updatedAt', 'labels', 'mutedUntil', 'muteNote'],
  ['apiKeys'],
  ['health'],
  ['meta'],
  ['freshness'],
  ['portfolio'],
);
const healthPrototypes = createPrototypes(['sendability', 'freshness']);
const metaPrototypes = createPrototypes(['phone'], ['profile'], ['waba']);

// There is a prototype for every combination of bits.
export function findNumberPrototype(projection: Projection): object {
  const { details, apiKeys, health, meta, freshness, portfolio } = projection;
  const ofHealth = (details ? 1 : 0) | (apiKeys ? 2 : 0) | (health === 'nothing' ? 0 : 4);
  const ofParts = (freshness === true ? 16 : 0) | (portfolio === true ? 32 : 0);
  return numberPrototypes[ofHealth | (meta === null ? 0 : 8) | ofParts]!;
}

export function findHealthPrototype(health: Exclude<Projection['health'], 'nothing'>): object {
  return healthPrototypes[health === 'everything' ? 1 : 0]!;
}

export function findMetaPrototype(blocks: readonly MetaBlock[]): object {
  const [phone, profile, waba] = [
    blocks.includes('phone') ? 1 : 0,
    blocks.includes('profile') ? 2 : 0,
    blocks.includes('waba') ? 4 : 0,
  ];
  return metaPrototypes[phone | profile | waba]!;
}
