// How the model test asks about a number over both doors, and how it holds the answers against what the model knows.

import { expect } from 'vitest';
import type { Block } from '../../src/numbers/provider.ts';
import type { GatewayProcess } from './stage.ts';
import {
  findBlock,
  isUsable,
  type KnownBlock,
  type KnownError,
  type KnownKey,
  type KnownNumber,
  type KnownTenant,
  listBlocks,
  type Model,
  type Moment,
  type Reads,
  toModelTime,
} from './state.ts';

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: Json;
}

// oxlint-disable-next-line typescript/no-explicit-any -- what comes back is held against the model, member by member
type Json = any;

/** How the reading of a block went for one request: as the model says, or not even sent. */
export type Told = ReadonlyMap<Block, 'LIVE' | KnownError>;

export const nothingTold: Told = new Map();

export function toTold({ blocks }: Reads): Told {
  return new Map(
    blocks.entries().map(([block, read]) => [block, read.ok || read.sent ? 'LIVE' : read.error]),
  );
}

export async function ask(
  { gateway }: GatewayProcess,
  key: string,
  path: string,
  query?: string,
): Promise<Answer> {
  const request = new Request(`http://gateway.test${path}`, {
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    ...(query !== undefined && { method: 'POST', body: JSON.stringify({ query }) }),
  });
  const response = await gateway.fetch(request);
  const text = await response.text();
  return { status: response.status, text, body: JSON.parse(text) };
}

const freshness =
  'freshness { observedAt attemptedAt ageSeconds source stale error { code metaCode } }';

const selections: Readonly<Record<Block, string>> = {
  phone: `health { qualityRatingRaw metaStatusRaw ${freshness} } meta { phone { verifiedName qualityRatingRaw ${freshness} } }`,
  profile: `meta { profile { about ${freshness} } }`,
  waba: `meta { waba { name ${freshness} } }`,
  connection: `health { ${freshness} }`,
};

export function askGraphQL(
  process: GatewayProcess,
  key: string,
  { id }: KnownNumber,
  blocks: readonly Block[],
  refresh: boolean,
): Promise<Answer> {
  const parts = blocks.map((block) => selections[block]).join(' ');
  const query = `{ number(id: "${id}", refresh: ${refresh}) {
    id name state isFullyConnected apiKeys { name keyPrefix keyLast4 } ${parts} } }`;
  return ask(process, key, '/graphql', query);
}

export function askRest(
  process: GatewayProcess,
  key: string,
  { id }: KnownNumber,
  refresh: boolean,
): Promise<Answer> {
  return ask(process, key, `/v1/numbers/${id}${refresh ? '?refresh=1' : ''}`);
}

/** What a caller sees who may not: neither a byte of the number, nor whether there is one. */
export function expectRefusal({ status, body }: Answer, code: string): void {
  const told = body.code ?? body.errors?.[0]?.extensions?.code;
  expect(told).toBe(code);
  expect(body.data?.number ?? null).toBeNull();
  expect(status).toBeLessThan(500);
}

/** That nothing in the answer is another tenant's. */
export function expectNothingForeign(model: Model, tenant: KnownTenant, { text }: Answer): void {
  for (const other of model.tenants) {
    if (other !== tenant) expect(text).not.toContain(other.marker);
  }
  for (const number of model.numbers) {
    if (number.tenant !== tenant) expect(text).not.toContain(number.id);
  }
}

/** `now` is the time of the database at which was asked. */
export function expectGraphQL(
  model: Model,
  number: KnownNumber,
  { body }: Answer,
  { blocks, told = nothingTold, now }: { blocks: readonly Block[]; told?: Told; now: number },
): void {
  expect(body.errors).toBeUndefined();
  const shown = body.data.number;
  expect(shown).toMatchObject({
    id: number.id,
    name: number.name,
    state: number.state,
    isFullyConnected: number.state === 'OPEN',
    apiKeys: toHints(model, number, now),
  });
  const hasMeta =
    listBlocks(number).some((block) => hasValue(number, block)) && number.provider === 'META';
  for (const block of blocks) {
    const known = findBlock(number, block);
    const outcome = told.get(block);
    const unsent = outcome === undefined || outcome === 'LIVE' ? null : outcome;
    // The state of a connection is known from the beginning.
    const isKnown = known !== undefined || unsent !== null || block === 'connection';
    const expected = { known, told: outcome, unsent, observedAt: toObservedAt(number, block) };
    if (block === 'phone' || block === 'connection') {
      if (block === 'phone') {
        expect(shown.health.qualityRatingRaw).toBe(known?.value?.['quality'] ?? null);
        expect(shown.health.metaStatusRaw).toBe(known?.value?.['status'] ?? null);
      }
      if (isKnown) {
        expectFreshness(model, shown.health.freshness, expected, now);
        expectNoReturn(model, `${number.id} ${block}`, shown.health.freshness.observedAt);
      } else expect(shown.health.freshness).toBeNull();
    }
    if (block === 'connection') continue;
    if (!hasMeta) {
      expect(shown.meta).toBeNull();
    } else if (isKnown) {
      expectValue(block, shown.meta[block], known?.value ?? null);
      expectFreshness(model, shown.meta[block].freshness, expected, now);
      expectNoReturn(model, `${number.id} ${block}`, shown.meta[block].freshness.observedAt);
    } else {
      expect(shown.meta[block]).toBeNull();
    }
  }
}

function hasValue(number: KnownNumber, block: Block): boolean {
  return (findBlock(number, block)?.observedAt ?? null) !== null;
}

// The state of a number without Meta may have been written by others since it was read.
function toObservedAt(number: KnownNumber, block: Block): Moment | null {
  return block === 'connection'
    ? number.stateObservedAt
    : (findBlock(number, block)?.observedAt ?? null);
}

/** Graph's name of each value that is compared, by our name in the answer. */
const members: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  phone: { verifiedName: 'verifiedName', qualityRatingRaw: 'quality' },
  profile: { about: 'about' },
  waba: { name: 'name' },
};

function expectValue(block: Block, shown: Json, value: KnownBlock['value']): void {
  for (const [member, name] of Object.entries(members[block] ?? {})) {
    expect(shown[member]).toBe(value?.[name] ?? null);
  }
}

interface ExpectedFreshness {
  readonly known: KnownBlock | undefined;
  readonly told: 'LIVE' | KnownError | undefined;
  readonly unsent: KnownError | null;
  readonly observedAt: Moment | null;
}

function expectFreshness(
  model: Model,
  shown: Json,
  { known, told, unsent, observedAt }: ExpectedFreshness,
  now: number,
): void {
  const error = unsent ?? known?.error ?? null;
  expect(shown.error).toEqual(error);
  expect(shown.source).toBe(told === 'LIVE' && error === null ? 'LIVE' : 'SNAPSHOT');
  expectMoment(model, shown.observedAt, observedAt);
  expectMoment(model, shown.attemptedAt, known?.attemptedAt ?? null);
  const age =
    shown.observedAt === null
      ? null
      : Math.max(0, Math.floor((now - Date.parse(shown.observedAt)) / 1_000));
  expect(shown.ageSeconds).toBe(age);
  expect(shown.stale).toBe(age === null || age > 3_600);
}

/** That no answer is older than one before it, whatever the model says of either. */
function expectNoReturn({ passed, shown }: Model, name: string, observedAt: string | null): void {
  const before = shown.get(name) ?? Number.NEGATIVE_INFINITY;
  const time = observedAt === null ? Number.NEGATIVE_INFINITY : Date.parse(observedAt) + passed;
  expect(time).toBeGreaterThanOrEqual(before);
  shown.set(name, time);
}

/** Learns the time when it is told first, and wants to hear the same from then on. */
function expectMoment(model: Model, shown: string | null, moment: Moment | null): void {
  if (shown === null || moment === null) {
    expect(shown).toBe(moment === null ? null : 'a time');
    return;
  }
  const time = toModelTime(model, Date.parse(shown));
  expect(time).toBeGreaterThanOrEqual(moment.from);
  expect(time).toBeLessThanOrEqual(moment.to);
  moment.from = moment.to = time;
}

/** What the REST list and GraphQL show of the keys of a number. */
export function toHints(model: Model, number: KnownNumber, now: number): readonly Json[] {
  return model.keys
    .filter((key) => key.number === number && isUsable(key, toModelTime(model, now)))
    .map(toHint);
}

function toHint({ name, key }: KnownKey): Json {
  return { name, keyPrefix: key.slice(0, 7), keyLast4: key.slice(-4) };
}

export function expectRest(
  number: KnownNumber,
  { status, body }: Answer,
  told: Told = nothingTold,
): void {
  const failure = findFailure(number, told);
  if (failure !== null) {
    expect(body.code).toBe(failure.code);
    return;
  }
  expect({ status, body }).toMatchObject({ status: 200 });
  const { value = null } = findBlock(number, 'phone') ?? {};
  expect(body).toMatchObject({
    id: number.id,
    name: number.name,
    state: number.state,
    isFullyConnected: number.state === 'OPEN',
    health: { qualityRating: value?.['quality'] ?? null, metaStatus: value?.['status'] ?? null },
  });
  const blocks = listBlocks(number).filter((block) => block !== 'connection');
  if (!blocks.some((block) => hasValue(number, block))) {
    expect(body.meta).toBeNull();
    return;
  }
  for (const block of blocks) {
    const known = findBlock(number, block)?.value ?? null;
    if (known === null) expect(body.meta[block]).toBeNull();
    else expect(body.meta[block]).toMatchObject(toRestValue(block, known));
  }
}

function toRestValue(block: Block, value: NonNullable<KnownBlock['value']>): Json {
  if (block === 'phone') return { verifiedName: value['verifiedName'] };
  return block === 'profile' ? { about: value['about'] } : { name: value['name'] };
}

/** Why REST has nothing to show after a live reading; null when one block at least was read. */
function findFailure(number: KnownNumber, told: Told): KnownError | null {
  if (told.size === 0) return null;
  const errors = listBlocks(number).map((block) => {
    const outcome = told.get(block);
    if (outcome !== undefined && outcome !== 'LIVE') return outcome;
    return outcome === 'LIVE' ? (findBlock(number, block)?.error ?? null) : null;
  });
  return errors.includes(null) ? null : (errors[0] ?? null);
}
