// Tests that REST and GraphQL return the same values for generated fleets, whatever Meta returns and whichever API read it.

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vocabularies, type VocabularyName } from '../src/numbers/vocabulary.ts';
import type { Fault } from './simulator/simulator.ts';
import { openTestGateway, type TestGateway, type TestTenant } from './harness.ts';

type Json = Readonly<Record<string, unknown>>;

// The members of REST in its order, with raw values where GraphQL has an enum.
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

const freshness = `freshness {
  observedAt attemptedAt ageSeconds source stale
  error { code message transient retryAt metaCode metaSubcode fbtraceId }
  nextSyncAt
}`;
// The members that REST has with `include`.
const included = `provider
  health {
    sendability { verdict replyVerdict reasons { entity entityId field value code text solution effect scope blocks } }
    ${freshness}
  }
  meta { phone { ${freshness} } profile { ${freshness} } waba { ${freshness} } }`;

interface Included {
  readonly provider: string;
  readonly health: { readonly sendability: Json; readonly freshness: Json | null };
  readonly meta: Readonly<
    Record<'phone' | 'profile' | 'waba', { readonly freshness: Json } | null>
  > | null;
}

interface RestIncluded {
  readonly sendability: Json;
  readonly freshness: Readonly<Record<string, Json | null>>;
}

/** What the APIs have in common: without `meta`, GraphQL has no freshness of the profile and the account. */
function toCommon({ provider, health, meta }: Included): RestIncluded {
  const { sendability, freshness: ofHealth } = health;
  if (provider !== 'META') return { sendability, freshness: { state: ofHealth } };
  if (meta === null) return { sendability, freshness: { phone: ofHealth, health: ofHealth } };
  const { phone: ofPhone, profile: ofProfile, waba: ofWaba } = meta;
  return {
    sendability,
    freshness: {
      phone: ofPhone?.freshness ?? null,
      health: ofHealth,
      profile: ofProfile?.freshness ?? null,
      waba: ofWaba?.freshness ?? null,
    },
  };
}

/** As text, with the freshness of some parts and without ages, which differ between requests. */
function toIncludedText(
  { sendability, freshness: all }: RestIncluded,
  parts: readonly string[],
): string {
  const chosen = Object.fromEntries(parts.map((part) => [part, all[part]]));
  return JSON.stringify({ sendability, freshness: chosen }, (name, value: unknown) =>
    name === 'ageSeconds' ? undefined : value,
  );
}

interface Detail extends Json {
  readonly meta: (Json & Record<'phone' | 'profile' | 'waba', Block | null>) | null;
}

interface Block extends Json {
  readonly freshness: { readonly observedAt: string | null };
}

/** Null for a block without a successful read, of which GraphQL shows the freshness. */
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

/** Known and unknown words, missing ones, and values of other types. */
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
  readBy: fc.constantFrom('REST', 'GraphQL', 'GraphQL in part', 'none'),
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

async function read(tenant: TestTenant, id: string, through: Sample['readBy']): Promise<void> {
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
    case 'none':
  }
}

interface Responses {
  readonly rest: readonly string[];
  readonly graphql: readonly string[];
}

/** The list, and each number alone and in the list, as text, because the order of members matters. */
async function readBoth(tenant: TestTenant, ids: readonly string[]): Promise<Responses> {
  const query = async <T>(document: string): Promise<T> => {
    const { text: reply, body } = await tenant.graphql<T>(document);
    if (!body.data || body.errors) throw new Error(`${document} is answered with ${reply}`);
    return body.data;
  };
  const { numbers } = await query<{ numbers: Json }>(`{ numbers { ${listItem} } }`);
  const rest = [(await tenant.rest('/v1/numbers')).text];
  const graphql = [JSON.stringify(numbers)];
  const all = await query<{ numbers: readonly Detail[] }>(`{ numbers { ${detail} } }`);
  for (const [index, id] of ids.entries()) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { text: detailText } = await tenant.rest(`/v1/numbers/${id}`);
    // oxlint-disable-next-line no-await-in-loop -- see above
    const one = await query<{ number: Detail }>(`{ number(id: "${id}") { ${detail} } }`);
    rest.push(detailText, detailText);
    const same = [one.number, all.numbers[index]].map((it) => JSON.stringify(it && toRest(it)));
    graphql.push(...same);
  }
  const { numbers: graphqlIncluded } = await query<{ numbers: readonly Included[] }>(
    `{ numbers { ${included} } }`,
  );
  const { body: restIncluded } = await tenant.rest<readonly RestIncluded[]>(
    '/v1/numbers?include=sendability,freshness',
  );
  for (const [index, ofGraphql] of graphqlIncluded.entries()) {
    const common = toCommon(ofGraphql);
    const parts = Object.keys(common.freshness);
    graphql.push(toIncludedText(common, parts));
    rest.push(toIncludedText(restIncluded[index]!, parts));
  }
  return { rest, graphql };
}

describe.each([{ emitNulls: false }, { emitNulls: true }])(
  'with the simulator set to %o',
  (simulator) => {
    let gateway: TestGateway;
    beforeAll(async () => {
      gateway = await openTestGateway({ simulator });
    });
    afterAll(() => gateway[Symbol.asyncDispose]());

    test('both APIs return the same values for any fleet', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(number, { minLength: 1, maxLength: 4 }), async (samples) => {
          const tenant = await gateway.addTenant();
          const ids: string[] = [];
          for (const sample of samples) {
            // oxlint-disable-next-line no-await-in-loop -- in their order
            ids.push(await addSample(gateway, tenant, sample));
          }
          const reading = samples.map(({ readBy }, at) => read(tenant, ids[at] ?? '', readBy));
          await Promise.all(reading);
          const { rest, graphql } = await readBoth(tenant, ids);
          expect(graphql).toEqual(rest);
        }),
        { numRuns: 20 },
      );
    }, 60_000);
  },
);

/** The points that the tenant has left after this response. */
function toRemaining({ headers }: { readonly headers: Headers }): number {
  return Number(/;r=(\d+);/.exec(headers.get('ratelimit') ?? '')?.[1]);
}

describe('both APIs', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('return the same values of a live read, with the state', async () => {
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
    ['a live read of a missing number', '?refresh=1', true, null, [0, 0]],
    ['the status of a missing number', '/status', true, null, [0, 0]],
    ['a token that Meta refuses', '?refresh=1', true, refused, [1, 3]],
    ['a token that is quarantined', '?refresh=1', true, refused, [0, 0]],
    ['the status for a token that is quarantined', '/status', true, refused, [0, 0]],
  ])('charge the same for %s', async (what, path, live, metaFault, [min, max]) => {
    const charged: number[] = [];
    for (const api of ['REST', 'GraphQL']) {
      // One tenant for each, so that neither finds what the other has stored.
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const tenant = await gateway.addTenant();
      // oxlint-disable-next-line no-await-in-loop -- see above
      const made = await tenant.addNumber();
      gateway.simulator.setFault(made.phoneNumberId, metaFault);
      gateway.simulator.setFault(made.wabaId, metaFault);
      const id = metaFault === null ? 'wa_missing' : made.id;
      const query = `{ number(id: "${id}", refresh: ${live}) { ${path === '/status' ? 'health { qualityRating }' : detail} } }`;
      const send = () =>
        api === 'REST' ? tenant.rest(`/v1/numbers/${id}${path}`) : tenant.graphql(query);
      for (let failures = 0; what.includes('quarantined') && failures < 3; failures += 1) {
        // oxlint-disable-next-line no-await-in-loop -- see above
        await send();
      }
      // oxlint-disable-next-line no-await-in-loop -- see above
      const before = toRemaining(await tenant.graphql('{ __typename }'));
      // oxlint-disable-next-line no-await-in-loop -- see above
      charged.push(before - toRemaining(await send()));
    }
    const [rest = 0, graphql] = charged;
    expect(rest).toBe(graphql);
    expect(rest).toBeGreaterThanOrEqual(2 + 10 * min);
    expect(rest).toBeLessThanOrEqual(2 + 10 * max);
  });

  test('charge the full price to a caller who disconnects during a live read', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    const hold = gateway.simulator.hold(phoneNumberId);
    const caller = new AbortController();
    const before = toRemaining(await tenant.graphql('{ __typename }'));
    const { signal } = caller;
    const reply = tenant.rest(`/v1/numbers/${id}?refresh=1`, { signal });
    await hold.arrived;
    caller.abort();
    expect(before - toRemaining(await reply)).toBe(32);
    hold.release();
  });

  test('have the same message for a missing number and for a wrong key', async () => {
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
