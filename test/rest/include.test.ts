// What REST says about trouble: the members that `include` adds, and the headers x-refresh and x-ignored-parameters.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const hour = 3_600_000;

let gateway: TestGateway;
let tenant: TestTenant;
const start = Date.now();
/** The gateway's clock stands at this time after the start. The database, whose clock does not stand, dates the reads. */
let aheadMs = 0;

beforeAll(async () => {
  gateway = await openTestGateway({ now: () => new Date(start + aheadMs), deadlineMs: 1_000 });
});
afterAll(() => gateway[Symbol.asyncDispose]());

const denied = { kind: 'error', code: 190, subcode: 463, status: 401 } as const;

type Json = Readonly<Record<string, any>>;

async function read(path: string): Promise<Json> {
  const { status, body, text } = await tenant.rest<Json>(path);
  if (status !== 200) throw new Error(`${path} is answered with ${text}`);
  return body;
}

const freshnessFields =
  '{ observedAt attemptedAt ageSeconds source stale error { code message transient retryAt metaCode metaSubcode fbtraceId } nextSyncAt }';
const healthFields = `health {
  sendability { verdict replyVerdict reasons { entity entityId field value code text solution effect scope blocks } }
  freshness ${freshnessFields}
}`;
const fields = `${healthFields}
  meta { phone { freshness ${freshnessFields} } profile { freshness ${freshnessFields} } waba { freshness ${freshnessFields} } }`;

/** The included members of a number as GraphQL returns them. */
async function readGraphQL(id: string): Promise<Json> {
  const { body } = await tenant.graphql<Json>(`{ number(id: "${id}") { provider ${fields} } }`);
  const { provider, health, meta } = body.data!['number'];
  const { sendability, freshness } = health;
  if (provider !== 'META') return { sendability, freshness: { state: freshness } };
  return {
    sendability,
    freshness: {
      phone: meta.phone.freshness,
      health: freshness,
      profile: meta.profile.freshness,
      waba: meta.waba.freshness,
    },
  };
}

describe('include', () => {
  beforeAll(async () => {
    tenant = await gateway.addTenant();
  });

  test('adds what GraphQL returns after the documented members, on all three routes', async () => {
    const { id, phoneNumberId } = await tenant.addNumber({ phone: { status: 'FLAGGED' } });
    const { id: engineId } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    await read(`/v1/numbers/${id}?refresh=1`);
    await read(`/v1/numbers/${engineId}/status`);
    gateway.simulator.setFault(phoneNumberId, denied);
    await read(`/v1/numbers/${id}?refresh=1`);
    gateway.simulator.setFault(phoneNumberId, null);
    const bare = await read('/v1/numbers');
    const listed = await read('/v1/numbers?include=sendability,freshness');
    for (const [index, one] of [id, engineId].entries()) {
      // oxlint-disable no-await-in-loop -- one after the other
      const expected = await readGraphQL(one);
      const detail = await read(`/v1/numbers/${one}`);
      const withIncluded = await read(`/v1/numbers/${one}?include=freshness,sendability`);
      // The text, because the order of members matters.
      expect(JSON.stringify(listed[index])).toBe(JSON.stringify({ ...bare[index], ...expected }));
      expect(JSON.stringify(withIncluded)).toBe(JSON.stringify({ ...detail, ...expected }));
      // As openapi-fetch sends a list.
      const path = `/v1/numbers/${one}/status?include=sendability&include=freshness`;
      const status = await read(path);
      expect(Object.keys(status)).toEqual([
        'id',
        'state',
        'isFullyConnected',
        'sendability',
        'freshness',
      ]);
      expect(status['sendability']).toEqual((await readGraphQL(one))['sendability']);
      expect(Object.keys(status['freshness'])).toEqual(Object.keys(expected['freshness']));
      expect(Object.values<Json>(status['freshness'])[0]).toMatchObject({ source: 'LIVE' });
      // oxlint-enable no-await-in-loop
    }
  });

  test('adds one of the two, and to a number that was never read', async () => {
    const { id } = await tenant.addNumber();
    const only = async (name: string) => {
      const { sendability, freshness } = await read(`/v1/numbers/${id}?include=${name}`);
      return { sendability, freshness };
    };
    expect(await only('freshness')).toEqual({
      freshness: { phone: null, health: null, profile: null, waba: null },
    });
    expect(await only('sendability')).toMatchObject({ sendability: { verdict: 'UNKNOWN' } });
  });

  test.each(['include=', 'include=health', 'include=sendability,', 'include=Sendability'])(
    '?%s is rejected, with what is possible',
    async (query) => {
      const { id } = await tenant.addNumber();
      for (const path of ['/v1/numbers', `/v1/numbers/${id}`, `/v1/numbers/${id}/status`]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(await tenant.rest(`${path}?${query}`)).toMatchObject({
          status: 400,
          body: {
            code: 'INVALID_REQUEST',
            error:
              'Send the query parameter include as a list of sendability and freshness and operations, separated by commas, or omit it.',
          },
        });
      }
    },
  );

  test('costs nothing', async () => {
    const { id } = await tenant.addNumber();
    const measure = async (path: string) => {
      const before = await tenant.rest('/v1/nothing');
      const remaining = ({ headers }: typeof before) =>
        Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);
      const first = remaining(await tenant.rest('/v1/numbers'));
      return first - remaining(await tenant.rest(path));
    };
    for (const path of ['/v1/numbers', `/v1/numbers/${id}`, `/v1/numbers/${id}/status`]) {
      // oxlint-disable no-await-in-loop -- one after the other, because points are counted
      const bare = await measure(path);
      expect(bare).toBeGreaterThan(0);
      // The first one is not in the response cache, which costs the same.
      expect(await measure(`${path}?include=sendability,freshness`)).toBe(bare);
      // oxlint-enable no-await-in-loop
    }
  });
});

describe('trouble', () => {
  beforeAll(async () => {
    tenant = await gateway.addTenant();
  });

  test('a token that has been dead for three days is visible in the list and the detail', async () => {
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    await read(`/v1/numbers/${id}?refresh=1`);
    for (const node of [phoneNumberId, wabaId]) gateway.simulator.setFault(node, denied);
    aheadMs = 73 * hour;
    const refused = await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    expect(refused).toMatchObject({ status: 502, body: { code: 'META_ACCESS_DENIED' } });
    expect(refused.headers.get('x-refresh')).toBe(
      'phone=META_ACCESS_DENIED, profile=META_ACCESS_DENIED, waba=META_ACCESS_DENIED',
    );
    const failing = {
      source: 'SNAPSHOT',
      stale: true,
      error: { code: 'META_ACCESS_DENIED', metaCode: 190, metaSubcode: 463 },
    };
    const detail = await read(`/v1/numbers/${id}?include=sendability,freshness`);
    expect(detail['health']).toMatchObject({ metaStatus: 'CONNECTED', sendable: false });
    const [item] = (await read('/v1/numbers?include=sendability,freshness')) as unknown as Json[];
    for (const number of [detail, item]) {
      expect(number).toMatchObject({
        sendability: {
          verdict: 'UNKNOWN',
          replyVerdict: 'UNKNOWN',
          reasons: expect.arrayContaining([expect.objectContaining({ code: 190 })]),
        },
        freshness: { phone: failing, health: failing, profile: failing, waba: failing },
      });
      expect(number?.['freshness'].phone.ageSeconds).toBeGreaterThanOrEqual(3 * 86_400);
    }
    aheadMs = 0;
  });

  test('a read in which the number was refused and its account read is visible', async () => {
    const { id, phoneNumberId } = await tenant.addNumber();
    await read(`/v1/numbers/${id}?refresh=1`);
    gateway.simulator.setFault(phoneNumberId, denied);
    const reply = await tenant.rest<Json>(`/v1/numbers/${id}?refresh=1`);
    expect(reply.status).toBe(200);
    expect(reply.headers.get('x-refresh')).toBe(
      'phone=META_ACCESS_DENIED, profile=META_ACCESS_DENIED, waba=LIVE',
    );
    expect(reply.body).not.toHaveProperty('freshness');
    const path = `/v1/numbers/${id}?refresh=true&include=freshness,sendability`;
    expect(await read(path)).toMatchObject({
      sendability: { verdict: 'UNKNOWN' },
      freshness: {
        phone: { source: 'SNAPSHOT', error: { code: 'META_ACCESS_DENIED' } },
        health: { source: 'SNAPSHOT', error: { code: 'META_ACCESS_DENIED' } },
        profile: { source: 'SNAPSHOT', error: { code: 'META_ACCESS_DENIED' } },
        waba: { source: 'LIVE', error: null },
      },
    });
  });

  test('a number that was refused at its first read has its errors, although it has no meta', async () => {
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    for (const node of [phoneNumberId, wabaId]) gateway.simulator.setFault(node, denied);
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    const error = { code: 'META_ACCESS_DENIED' };
    const part = { observedAt: null, stale: true, error };
    expect(await read(`/v1/numbers/${id}?include=freshness`)).toMatchObject({
      meta: null,
      freshness: { phone: part, health: part, profile: part, waba: part },
    });
  });
});

const refresh = async (id: string) =>
  (await tenant.rest(`/v1/numbers/${id}?refresh=1`)).headers.get('x-refresh');

describe('x-refresh', () => {
  beforeAll(async () => {
    tenant = await gateway.addTenant();
  });

  test('has each part of a Meta number, and only with refresh', async () => {
    const { id, wabaId } = await tenant.addNumber();
    expect(await refresh(id)).toBe('phone=LIVE, profile=LIVE, waba=LIVE');
    gateway.simulator.setFault(wabaId, { kind: 'hang' });
    expect(await refresh(id)).toBe('phone=LIVE, profile=LIVE, waba=META_TIMEOUT');
    for (const path of ['', '?include=freshness', '/status']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { headers } = await tenant.rest(`/v1/numbers/${id}${path}`);
      expect(headers.get('x-refresh')).toBeNull();
    }
  });

  test('has the state of a number of the session engine, also when that fails', async () => {
    const { id, instanceName } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    expect(await refresh(id)).toBe('state=LIVE');
    gateway.simulator.setFault(instanceName, { kind: 'reset' });
    expect(await refresh(id)).toBe('state=UNAVAILABLE');
  });

  test('is absent without a session engine, because nothing is read', async () => {
    const environment = { SESSION_ENGINE_URL: '', SESSION_ENGINE_KEY: '' };
    await using bare = await openTestGateway({ environment });
    const other = await bare.addTenant();
    const { id } = await other.addNumber({ provider: 'PILOT_STATUS' });
    const { status, headers } = await other.rest(`/v1/numbers/${id}?refresh=1`);
    expect([status, headers.get('x-refresh')]).toEqual([200, null]);
  });
});

const readIgnored = async (path: string) =>
  (await tenant.rest(path)).headers.get('x-ignored-parameters');

describe('x-ignored-parameters', () => {
  let id: string;
  beforeAll(async () => {
    tenant = await gateway.addTenant();
    ({ id } = await tenant.addNumber());
  });

  test('names the query parameters that the route does not have', async () => {
    expect(await readIgnored('/v1/numbers?refresh=1&include=sendability&x')).toBe('refresh, x');
    expect(await readIgnored(`/v1/numbers/${id}?Refresh=1&refesh=1&refesh=2`)).toBe(
      'Refresh, refesh',
    );
    expect(await readIgnored(`/v1/numbers/${id}/status?refresh=1`)).toBe('refresh');
    expect(await readIgnored('/v1/numbers/wa_missing?refesh=1')).toBe('refesh');
    expect(await readIgnored(`/v1/numbers/${id}?include=x&refesh=1`)).toBe('refesh');
  });

  test('is of this request, although the response is cached', async () => {
    await gateway.database.changes.catchUp();
    expect(await readIgnored('/v1/numbers?one=1')).toBe('one');
    expect(await readIgnored('/v1/numbers')).toBeNull();
    expect(await readIgnored('/v1/numbers?two=1')).toBe('two');
    const [ignoring, plain] = [
      await tenant.rest('/v1/numbers?two=1'),
      await tenant.rest('/v1/numbers'),
    ];
    expect(ignoring.headers.get('etag')).toBe(plain.headers.get('etag'));
  });

  test('contains no value, no secret, and nothing that may not be in a header', async () => {
    const query = `${tenant.key}=1&a%20b=secret&c%2Cd=1&%0d%0ax-evil=1&%F0%9F%98%80=1`;
    const ignored = await readIgnored(`/v1/numbers?${query}`);
    expect(ignored).toMatch(/^[^,]+, a\?b, c\?d, \?\?x-evil, \?+$/);
    expect(ignored).not.toContain(tenant.key);
  });

  test('is bounded', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `p${index}${'x'.repeat(100)}`);
    const search = new URLSearchParams(names.slice(0, 60).map((name) => [name, '']));
    const ignored = await readIgnored(`/v1/numbers?${search}`);
    expect(ignored).toMatch(/^p0x+, p1x+, .*, p19x+, \.\.\.$/);
    expect(ignored?.length).toBeLessThan(1_500);
  });
});

describe('the response cache', () => {
  beforeAll(async () => {
    tenant = await gateway.addTenant();
  });

  test('keeps responses with different members apart, whatever the order of the names', async () => {
    const { id } = await tenant.addNumber();
    const paths = [
      '',
      '?include=sendability',
      '?include=freshness',
      '?include=sendability,freshness',
    ];
    const keysOf = async (query: string) =>
      Object.keys(await read(`/v1/numbers/${id}${query}`)).slice(10);
    const expected = [[], ['sendability'], ['freshness'], ['sendability', 'freshness']];
    await gateway.database.changes.catchUp();
    for (const _ of ['first', 'again']) {
      for (const [index, query] of paths.entries()) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(await keysOf(query)).toEqual(expected[index]);
      }
    }
    expect(await tenant.rest(`/v1/numbers/sendability%20${id}`)).toMatchObject({ status: 404 });
    expect(await tenant.rest(`/v1/numbers/${id}%20sendability`)).toMatchObject({ status: 404 });
  });

  test.skipIf(process.env['ANSWER_CACHE_MB'] === '0')(
    'keeps sendability until its evidence is stale, and never an age',
    async () => {
      const { id } = await tenant.addNumber();
      await read(`/v1/numbers/${id}?refresh=1`);
      await gateway.database.changes.catchUp();
      const countStatements = async (name: string) => {
        gateway.clearStatements();
        await read(`/v1/numbers/${id}?include=${name}`);
        return gateway.statements.filter((it) => it.includes('from whatsapp_number')).length;
      };
      expect(await countStatements('sendability')).toBe(1);
      expect(await countStatements('sendability')).toBe(0);
      expect(await countStatements('freshness')).toBe(1);
      expect(await countStatements('freshness')).toBe(1);
      aheadMs = 2 * hour;
      expect((await read(`/v1/numbers/${id}?include=sendability`))['sendability']).toMatchObject({
        verdict: 'UNKNOWN',
      });
      const { freshness } = await read(`/v1/numbers/${id}?include=freshness`);
      expect(freshness.phone).toMatchObject({ stale: true });
      expect(freshness.phone.ageSeconds).toBeGreaterThan(hour / 1_000);
      aheadMs = 0;
    },
  );
});
