// The differential test of the two doors: whatever Meta says of whatever fleet, and through whichever door it was read
// live, REST and GraphQL tell the same about it.

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vocabularies, type VocabularyName } from '../src/numbers/vocabulary.ts';
import type { Fault } from '../src/simulator/simulator.ts';
import { openTestGateway, type TestGateway, type TestTenant } from './harness.ts';

type Json = Readonly<Record<string, unknown>>;

// The members of REST, in its order; where GraphQL has an enum, the word as it came.
const listItem = `id instanceName number name provider apiKeys { name keyPrefix keyLast4 }
  state isFullyConnected createdAt updatedAt`;
const detail = `id number name provider state isFullyConnected createdAt updatedAt
  health {
    qualityRating: qualityRatingRaw messagingLimitTier: messagingLimitTierRaw
    metaStatus: metaStatusRaw sendable
  }
  meta {
    fetchedAt
    phone {
      displayPhoneNumber verifiedName qualityRating: qualityRatingRaw
      messagingLimitTier: messagingLimitTierRaw isPinEnabled freshness { observedAt }
    }
    profile { about email websites vertical: verticalRaw freshness { observedAt } }
    waba {
      id name currency businessVerificationStatus: businessVerificationStatusRaw country
      freshness { observedAt }
    }
  }`;

interface Detail extends Json {
  readonly meta: (Json & Record<'phone' | 'profile' | 'waba', Block | null>) | null;
}

interface Block extends Json {
  readonly freshness: { readonly observedAt: string | null };
}

/** GraphQL shows a block that could never be read too, for its freshness. */
function toRestBlock(block: Block | null): Json | null {
  if (block === null || block.freshness.observedAt === null) return null;
  const { freshness: _, ...members } = block;
  return members;
}

function toRest({ meta, ...number }: Detail): Json {
  if (meta === null) return { ...number, meta };
  const { fetchedAt, phone, profile, waba } = meta;
  const blocks = {
    phone: toRestBlock(phone),
    profile: toRestBlock(profile),
    waba: toRestBlock(waba),
  };
  return { ...number, meta: { fetchedAt, ...blocks } };
}

/** Known words in any case, words of the future, nothing, and things that are no words at all. */
function wordOf(vocabulary: VocabularyName): fc.Arbitrary<unknown> {
  const known = fc.constantFrom(...Object.keys(vocabularies[vocabulary].words));
  return fc.oneof(
    known,
    known.map((word) => word.toLowerCase()),
    fc.constantFrom('NA', 'UNKNOWN', 'UNRECOGNIZED', 'TURQUOISE', '__proto__', 'toString', ''),
    text,
    fc.constantFrom(null, undefined, 7, true, [], {}),
  );
}

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const textOrNot = fc.oneof(text, fc.constantFrom(null, undefined, 5_511, false, ['x'], { a: 1 }));

const phone = fc.record({
  display_phone_number: textOrNot,
  verified_name: textOrNot,
  quality_rating: wordOf('QualityRating'),
  whatsapp_business_manager_messaging_limit: wordOf('MessagingLimitTier'),
  is_pin_enabled: fc.constantFrom(true, false, null, undefined, 'true', 1),
  status: wordOf('MetaStatus'),
  platform_type: fc.constantFrom('CLOUD_API', 'ON_PREMISE', null),
});
const profile = fc.record({
  about: textOrNot,
  email: textOrNot,
  websites: fc.oneof(
    fc.array(textOrNot, { maxLength: 3 }),
    fc.constantFrom(null, undefined, 'x', {}),
  ),
  vertical: wordOf('BusinessVertical'),
});
const waba = fc.record({
  name: textOrNot,
  currency: textOrNot,
  business_verification_status: wordOf('BusinessVerificationStatus'),
  country: textOrNot,
});
const fault = fc.oneof(
  { weight: 4, arbitrary: fc.constant(null) },
  fc.constantFrom<Fault>(
    { kind: 'nested-profile' },
    { kind: 'empty-data' },
    { kind: 'wrong-types' },
    { kind: 'error', code: 190, subcode: 463 },
    { kind: 'unknown-field', field: 'health_status' },
  ),
);
const number = fc.record({
  stored: fc.record({
    provider: fc.constantFrom('META', 'META', 'PILOT_STATUS'),
    state: fc.constantFrom('OPEN', 'CONNECTING', 'CLOSE'),
    name: text.filter((name) => name !== ''),
  }),
  wire: fc.record({ phone, profile: fc.option(profile), waba }),
  faults: fc.record({ phone: fault, waba: fault }),
  keys: fc.array(
    text.filter((name) => name !== ''),
    { maxLength: 2 },
  ),
  readThrough: fc.constantFrom('REST', 'GraphQL', 'GraphQL in part', 'nobody'),
});
type Sample = typeof number extends fc.Arbitrary<infer Value> ? Value : never;

async function addSample(
  { simulator }: TestGateway,
  tenant: TestTenant,
  { stored, wire, faults, keys }: Sample,
): Promise<string> {
  const { provider } = stored;
  const made = await tenant.addNumber({ ...stored, ...(provider === 'META' && wire) });
  simulator.setFault(made.phoneNumberId, faults.phone);
  simulator.setFault(made.wabaId, faults.waba);
  for (const name of keys) {
    // oxlint-disable-next-line no-await-in-loop -- in their order
    await tenant.addKey({ name, numberId: made.id });
  }
  return made.id;
}

async function read(tenant: TestTenant, id: string, through: Sample['readThrough']): Promise<void> {
  switch (through) {
    case 'REST':
      await tenant.rest(`/v1/numbers/${id}?refresh=1`);
      return;
    case 'GraphQL':
      await tenant.graphql(`{ number(id: "${id}", refresh: true) { ${detail} } }`);
      return;
    case 'GraphQL in part':
      await tenant.graphql(`{ number(id: "${id}", refresh: true) { meta { waba { name } } } }`);
      return;
    case 'nobody':
  }
}

interface Told {
  readonly rest: readonly string[];
  readonly graphql: readonly string[];
}

/** The list, and each number by itself and as one of all, as text, so that the order counts. */
async function askBoth(tenant: TestTenant, ids: readonly string[]): Promise<Told> {
  const ask = async <T>(query: string): Promise<T> => {
    const { text: answer, body } = await tenant.graphql<T>(query);
    if (!body.data || body.errors) throw new Error(`${query} is answered ${answer}`);
    return body.data;
  };
  const { numbers } = await ask<{ numbers: Json }>(`{ numbers { ${listItem} } }`);
  const rest = [(await tenant.rest('/v1/numbers')).text];
  const graphql = [JSON.stringify(numbers)];
  const all = await ask<{ numbers: readonly Detail[] }>(`{ numbers { ${detail} } }`);
  for (const [index, id] of ids.entries()) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { text: shown } = await tenant.rest(`/v1/numbers/${id}`);
    // oxlint-disable-next-line no-await-in-loop -- see above
    const one = await ask<{ number: Detail }>(`{ number(id: "${id}") { ${detail} } }`);
    rest.push(shown, shown);
    const same = [one.number, all.numbers[index]].map((it) => JSON.stringify(it && toRest(it)));
    graphql.push(...same);
  }
  return { rest, graphql };
}

describe.each([{ emitNulls: false }, { emitNulls: true }])('with Meta sending %o', (simulator) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ simulator });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('both doors tell the same of any fleet, whatever Meta says and whoever asked it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(number, { minLength: 1, maxLength: 4 }), async (samples) => {
        const tenant = await gateway.addTenant();
        const ids: string[] = [];
        for (const sample of samples) {
          // oxlint-disable-next-line no-await-in-loop -- in their order
          ids.push(await addSample(gateway, tenant, sample));
        }
        const reading = samples.map(({ readThrough }, at) =>
          read(tenant, ids[at] ?? '', readThrough),
        );
        await Promise.all(reading);
        const { rest, graphql } = await askBoth(tenant, ids);
        expect(graphql).toEqual(rest);
      }),
      { numRuns: 50 },
    );
  }, 60_000);
});

/** The points that its tenant has left after this answer. */
function toRemaining({ headers }: { readonly headers: Headers }): number {
  return Number(/;r=(\d+);/.exec(headers.get('ratelimit') ?? '')?.[1]);
}

describe('the doors', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('answer a live reading with the same values, state included', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber({ phone: { status: 'BANNED' } });
    const { body } = await tenant.graphql<{ number: Detail }>(
      `{ number(id: "${id}", refresh: true) { ${detail} } }`,
    );
    expect(await tenant.rest(`/v1/numbers/${id}`)).toMatchObject({
      text: JSON.stringify(body.data && toRest(body.data.number)),
      body: { state: 'CLOSE', health: { metaStatus: 'BANNED' } },
    });
    for (const node of [phoneNumberId, wabaId]) {
      gateway.simulator.setFault(node, { kind: 'error', code: 190 });
    }
    const failure = `code message metaCode metaSubcode fbtraceId transient retryAt`;
    const failed = await tenant.graphql<{ number: { health: { freshness: { error: Json } } } }>(
      `{ number(id: "${id}", refresh: true) { health { freshness { error { ${failure} } } } } }`,
    );
    const error = failed.body.data?.number.health.freshness.error ?? {};
    const refused = await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    expect(refused.body).toMatchObject({ code: error['code'], error: error['message'] });
    expect(Object.keys(refused.body['details'] as Json)).toEqual(failure.split(' ').slice(2));
  });

  const refused: Fault = { kind: 'error', code: 190, subcode: 463 };
  test.each<
    [
      what: string,
      path: string,
      live: boolean,
      fault: Fault | null,
      reads: readonly [number, number],
    ]
  >([
    ['a missing number', '', false, null, [0, 0]],
    ['a missing number, read live', '?refresh=1', true, null, [0, 0]],
    ['the status of a missing number', '/status', true, null, [0, 0]],
    ['a token that Meta refuses', '?refresh=1', true, refused, [1, 3]],
    ['a token that is known to be refused', '?refresh=1', true, refused, [0, 0]],
    ['a status whose token is known to be refused', '/status', true, refused, [0, 0]],
  ])('charge the same for %s', async (what, path, live, trouble, [least, most]) => {
    const takes: number[] = [];
    for (const door of ['REST', 'GraphQL']) {
      // A tenant for each, so that neither finds what the other has learnt.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const tenant = await gateway.addTenant();
      // oxlint-disable-next-line no-await-in-loop -- see above
      const made = await tenant.addNumber();
      gateway.simulator.setFault(made.phoneNumberId, trouble);
      gateway.simulator.setFault(made.wabaId, trouble);
      const id = trouble === null ? 'wa_missing' : made.id;
      const query = `{ number(id: "${id}", refresh: ${live}) { ${path === '/status' ? 'health { qualityRating }' : detail} } }`;
      const ask = () =>
        door === 'REST' ? tenant.rest(`/v1/numbers/${id}${path}`) : tenant.graphql(query);
      for (let refusals = 0; what.includes('known') && refusals < 3; refusals += 1) {
        // oxlint-disable-next-line no-await-in-loop -- see above
        await ask();
      }
      // oxlint-disable-next-line no-await-in-loop -- see above
      const before = toRemaining(await tenant.graphql('{ __typename }'));
      // oxlint-disable-next-line no-await-in-loop -- see above
      takes.push(before - toRemaining(await ask()));
    }
    const [rest = 0, graphql] = takes;
    expect(rest).toBe(graphql);
    expect(rest).toBeGreaterThanOrEqual(2 + 10 * least);
    expect(rest).toBeLessThanOrEqual(2 + 10 * most);
  });

  test('keep what was charged to a caller who leaves while it is read for him', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const hold = gateway.simulator.hold(phoneNumberId);
    const caller = new AbortController();
    const before = toRemaining(await tenant.graphql('{ __typename }'));
    const { signal } = caller;
    const answer = tenant.rest(`/v1/numbers/${id}?refresh=1`, { signal });
    await hold.arrived;
    caller.abort();
    expect(before - toRemaining(await answer)).toBe(32);
    hold.release();
  });

  test('refuse a missing number and a bad key in the same words', async () => {
    const tenant = await gateway.addTenant();
    const query = '{ number(id: "x") { id } }';
    for (const key of [tenant.key, 'ps_wrong']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body: rest } = await gateway.rest('/v1/numbers/x', { key });
      // oxlint-disable-next-line no-await-in-loop -- see above
      const { body: graphql } = await gateway.graphql(query, { key });
      expect(graphql.errors).toMatchObject([
        { message: rest['error'], extensions: { code: rest['code'] } },
      ]);
    }
  });
});
