// Sends the requests of the model test over both APIs, and compares the responses with the model.

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

export interface ModelResponse {
  readonly status: number;
  readonly text: string;
  readonly body: Json;
}

// oxlint-disable-next-line typescript/no-explicit-any -- what comes back is held against the model, member by member
type Json = any;

/** How each block was refreshed for one request: attempted, or why it was not sent. */
export type ExpectedOutcomes = ReadonlyMap<Block, 'ATTEMPTED' | KnownError>;

export const noOutcomes: ExpectedOutcomes = new Map();

export function toOutcomes({ blocks }: Reads): ExpectedOutcomes {
  return new Map(
    blocks
      .entries()
      .map(([block, read]) => [block, read.ok || read.sent ? 'ATTEMPTED' : read.error]),
  );
}

export async function send(
  { gateway }: GatewayProcess,
  key: string,
  path: string,
  query?: string,
): Promise<ModelResponse> {
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

export function requestGraphQL(
  process: GatewayProcess,
  key: string,
  { id }: KnownNumber,
  blocks: readonly Block[],
  refresh: boolean,
): Promise<ModelResponse> {
  const parts = blocks.map((block) => selections[block]).join(' ');
  const query = `{ number(id: "${id}", refresh: ${refresh}) {
    id name state isFullyConnected apiKeys { name keyPrefix keyLast4 } ${parts} } }`;
  return send(process, key, '/graphql', query);
}

export function requestRest(
  process: GatewayProcess,
  key: string,
  { id }: KnownNumber,
  refresh: boolean,
): Promise<ModelResponse> {
  return send(process, key, `/v1/numbers/${id}${refresh ? '?refresh=1' : ''}`);
}

/** A refusal contains nothing of the number, and does not tell whether it exists. */
export function expectRefusal({ status, body }: ModelResponse, code: string): void {
  expect(body.code ?? body.errors?.[0]?.extensions?.code).toBe(code);
  expect(body.data?.number ?? null).toBeNull();
  expect(status).toBeLessThan(500);
}

/** Nothing in the response belongs to another tenant. */
export function expectNothingForeign(
  model: Model,
  tenant: KnownTenant,
  { text }: ModelResponse,
): void {
  for (const other of model.tenants) {
    if (other !== tenant) expect(text).not.toContain(other.marker);
  }
  for (const number of model.numbers) {
    if (number.tenant !== tenant) expect(text).not.toContain(number.id);
  }
}

/** `now` is the time of the database at the request. */
export function expectGraphQL(
  model: Model,
  number: KnownNumber,
  { body }: ModelResponse,
  {
    blocks,
    outcomes = noOutcomes,
    now,
  }: { blocks: readonly Block[]; outcomes?: ExpectedOutcomes; now: number },
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
    const outcome = outcomes.get(block);
    const unsent = outcome === undefined || outcome === 'ATTEMPTED' ? null : outcome;
    // The connection state is stored from the beginning.
    const isKnown = known !== undefined || unsent !== null || block === 'connection';
    const expected = { known, outcome, unsent, observedAt: toObservedAt(number, block) };
    if (block === 'phone' || block === 'connection') {
      if (block === 'phone') {
        expect(shown.health.qualityRatingRaw).toBe(known?.value?.['quality'] ?? null);
        expect(shown.health.metaStatusRaw).toBe(known?.value?.['status'] ?? null);
      }
      if (isKnown) {
        expectFreshness(model, shown.health.freshness, expected, now);
        expectNotOlder(model, `${number.id} ${block}`, shown.health.freshness.observedAt);
      } else expect(shown.health.freshness).toBeNull();
    }
    if (block === 'connection') continue;
    if (!hasMeta) {
      expect(shown.meta).toBeNull();
    } else if (isKnown) {
      expectValue(block, shown.meta[block], known?.value ?? null);
      expectFreshness(model, shown.meta[block].freshness, expected, now);
      expectNotOlder(model, `${number.id} ${block}`, shown.meta[block].freshness.observedAt);
    } else {
      expect(shown.meta[block]).toBeNull();
    }
  }
}

function hasValue(number: KnownNumber, block: Block): boolean {
  return (findBlock(number, block)?.observedAt ?? null) !== null;
}

// Other software may have written the state of a number that is not Meta's since it was read.
function toObservedAt(number: KnownNumber, block: Block): Moment | null {
  return block === 'connection'
    ? number.stateObservedAt
    : (findBlock(number, block)?.observedAt ?? null);
}

/** The values to compare: Graph's name of each, by the name in the response. */
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
  readonly outcome: 'ATTEMPTED' | KnownError | undefined;
  readonly unsent: KnownError | null;
  readonly observedAt: Moment | null;
}

function expectFreshness(
  model: Model,
  shown: Json,
  { known, outcome, unsent, observedAt }: ExpectedFreshness,
  now: number,
): void {
  const error = unsent ?? known?.error ?? null;
  expect(shown.error).toEqual(error);
  expect(shown.source).toBe(outcome === 'ATTEMPTED' && error === null ? 'LIVE' : 'SNAPSHOT');
  expectMoment(model, shown.observedAt, observedAt);
  expectMoment(model, shown.attemptedAt, known?.attemptedAt ?? null);
  const age =
    shown.observedAt === null
      ? null
      : Math.max(0, Math.floor((now - Date.parse(shown.observedAt)) / 1_000));
  expect(shown.ageSeconds).toBe(age);
  expect(shown.stale).toBe(age === null || age > 3_600);
}

/** No response is older than an earlier one, whatever the model says. */
function expectNotOlder({ passed, shown }: Model, name: string, observedAt: string | null): void {
  const before = shown.get(name) ?? Number.NEGATIVE_INFINITY;
  const time = observedAt === null ? Number.NEGATIVE_INFINITY : Date.parse(observedAt) + passed;
  expect(time).toBeGreaterThanOrEqual(before);
  shown.set(name, time);
}

/** The first response sets the time of the moment, and later ones must have the same. */
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

/** The key hints of a number in the REST list and in GraphQL. */
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
  { status, body }: ModelResponse,
  outcomes: ExpectedOutcomes = noOutcomes,
): void {
  const failure = findFailure(number, outcomes);
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

/** Why a refresh over REST fails; null when at least one block was read. */
function findFailure(number: KnownNumber, outcomes: ExpectedOutcomes): KnownError | null {
  if (outcomes.size === 0) return null;
  const errors = listBlocks(number).map((block) => {
    const outcome = outcomes.get(block);
    if (outcome !== undefined && outcome !== 'ATTEMPTED') return outcome;
    return outcome === 'ATTEMPTED' ? (findBlock(number, block)?.error ?? null) : null;
  });
  return errors.includes(null) ? null : (errors[0] ?? null);
}
