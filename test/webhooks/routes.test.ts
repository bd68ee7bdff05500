// Whether Meta's webhooks about an account arrive: the verdict, what callers see of it, and the changes that follow from it.

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  judgeRoute,
  maskEndpoint,
  type RouteEvidence,
  toStoredUrl,
} from '../../src/numbers/webhook-route.ts';
import { toCauseLimits } from '../../src/alerts/causes.ts';
import { evaluateTenants } from '../../src/alerts/evaluator.ts';
import { followRoutes } from '../../src/webhooks/routes.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

describe('the verdict', () => {
  const now = new Date('2026-06-30T12:00:00.000Z');
  const before = (ms: number) => new Date(now.getTime() - ms);
  const segment = 'AAAAAAAAAAAAAAAAAAAAAA';
  const ours = `https://gateway.example/v1/webhooks/meta/${segment}`;
  const endpoint = { url: ours, segment, createdAt: before(30 * day), lastReceivedAt: null };
  const quiet: RouteEvidence = {
    endpoints: [endpoint],
    configuredUrl: toStoredUrl(ours),
    subscribedApps: 1,
    lastEventAt: null,
    announcedAt: null,
  };
  const relay = 'https://relay.example/in';
  const receivedAt = (at: Date | null, createdAt = endpoint.createdAt) => [
    { ...endpoint, createdAt, lastReceivedAt: at },
  ];

  const cases: readonly [string, Partial<RouteEvidence>, string][] = [
    ['of a tenant without an endpoint', { endpoints: [], lastEventAt: before(hour) }, 'UNKNOWN'],
    ['of a quiet account that is configured as it should be', {}, 'UNKNOWN'],
    ['of a URL that is not known', { configuredUrl: null }, 'UNKNOWN'],
    ['after an event of the last 7 days', { lastEventAt: before(7 * day) }, 'RECEIVING'],
    ['after an older event', { lastEventAt: before(7 * day + 1) }, 'UNKNOWN'],
    [
      'when the endpoint that Meta sends to has received anything in 7 days',
      { endpoints: receivedAt(before(7 * day)) },
      'RECEIVING',
    ],
    [
      'when it has received nothing for longer',
      { endpoints: receivedAt(before(7 * day + 1)) },
      'UNKNOWN',
    ],
    [
      'after an event through a relay',
      { configuredUrl: relay, lastEventAt: before(hour) },
      'RECEIVING',
    ],
    ['when Meta sends elsewhere, and nothing ever came', { configuredUrl: relay }, 'MISROUTED'],
    [
      'of another URL on the first day of the endpoint',
      { configuredUrl: relay, endpoints: receivedAt(null, before(day)) },
      'UNKNOWN',
    ],
    [
      'of another URL, from which something was relayed long ago',
      { configuredUrl: relay, endpoints: receivedAt(before(29 * day)) },
      'UNKNOWN',
    ],
    ['when no app is subscribed', { subscribedApps: 0 }, 'SILENT'],
    [
      'when the last app has left since an event of the last day',
      { subscribedApps: 0, lastEventAt: before(day) },
      'RECEIVING',
    ],
    [
      'when it has left since an older event',
      { subscribedApps: 0, lastEventAt: before(day + 1) },
      'SILENT',
    ],
    ['when subscriptions were not read', { subscribedApps: null }, 'UNKNOWN'],
    ['when an announced change has no event', { announcedAt: before(2 * day) }, 'SILENT'],
    [
      'when an announced change has no event, and Meta sends elsewhere',
      {
        announcedAt: before(2 * day),
        configuredUrl: relay,
        endpoints: receivedAt(before(20 * day)),
      },
      'MISROUTED',
    ],
    [
      'when the event had come in the day before its change was read',
      { announcedAt: before(8 * day), lastEventAt: before(9 * day) },
      'UNKNOWN',
    ],
    [
      'when the last event had come earlier',
      { announcedAt: before(8 * day), lastEventAt: before(9 * day + 1) },
      'SILENT',
    ],
    [
      'when the event came late',
      { announcedAt: before(20 * day), lastEventAt: before(15 * day) },
      'UNKNOWN',
    ],
  ];
  test.each(cases)('%s', (_, evidence, verdict) => {
    expect(judgeRoute({ ...quiet, ...evidence }, now).verdict).toBe(verdict);
  });

  test('an endpoint is recognised by its segment, whatever the host that Meta knows', () => {
    const configured = `https://hooks.example/proxy/v1/webhooks/meta/${segment}?token=secret`;
    expect(judgeRoute({ ...quiet, configuredUrl: toStoredUrl(configured) }, now)).toMatchObject({
      expectedUrl: ours,
      actualUrl: `https://hooks.example/proxy/v1/webhooks/meta/${segment}`,
    });
  });

  test('of several endpoints, that which Meta sends to is expected, and otherwise the newest', () => {
    const other = { ...endpoint, url: `${ours}2`, segment: `${segment}2` };
    const both = { ...quiet, endpoints: [endpoint, other] };
    expect(judgeRoute(both, now).expectedUrl).toBe(ours);
    expect(judgeRoute({ ...both, configuredUrl: relay }, now).expectedUrl).toBe(`${ours}2`);
  });
});

test.each([
  [
    'https://user:secret@relay.example:8443/in?token=secret#secret',
    'https://relay.example:8443/in',
  ],
  ['https://relay.example', 'https://relay.example/'],
  [
    'https://gateway.example/v1/webhooks/meta/AAAAAAAAAAAAAAAAAAAAAA',
    'https://gateway.example/v1/webhooks/meta/sha256-ilvbTMFRZBJsbvJmjendJA0pnOY5ekLJWpQRuT0IDtg',
  ],
  ['javascript:alert(1)', null],
  ['no URL', null],
  [`https://relay.example/${'a'.repeat(2_000)}`, null],
  [{ url: 'https://relay.example' }, null],
])('of the URL %o, %o is stored', (given, stored) => {
  expect(toStoredUrl(given)).toBe(stored);
});

test('the segment that names an endpoint is masked, and nothing else', () => {
  expect(maskEndpoint('https://g.example/v1/webhooks/meta/abc')).toBe(
    'https://g.example/v1/webhooks/meta/…',
  );
  expect(maskEndpoint('https://relay.example/in/abc')).toBe('https://relay.example/in/abc');
});

const see = async (tenant: TestTenant, id: string, key = tenant.key) => {
  const { body } = await tenant.graphql<Record<string, any>>(
    `{ number(id: "${id}") { meta { webhook {
      expectedUrl actualUrl lastEventAt lastEventField verdict } } } }`,
    { key },
  );
  expect(body.errors).toBeUndefined();
  return body.data!['number'].meta.webhook;
};
const refresh = (tenant: TestTenant, id: string) => tenant.rest(`/v1/numbers/${id}?refresh=1`);
const denied = (field: string) => ({ kind: 'denied-field', field }) as const;

describe('through the gateway', () => {
  const appSecret = 'a-secret-of-the-app-0123456789';
  let gateway: TestGateway;
  let time = new Date();
  const now = () => time;
  beforeAll(async () => {
    const environment = { PUBLIC_URL: 'https://gateway.example/numbers' };
    gateway = await openTestGateway({ now, environment });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const addEndpoint = async ({ id }: TestTenant) =>
    await gateway.gateway.webhooks.add({
      tenantId: id,
      proof: 'SIGNED',
      appSecrets: [appSecret],
    });

  const deliver = async (path: string, wabaId: string, field = 'account_update') => {
    const value = { event: 'ACCOUNT_VIOLATION', violation_info: { violation_type: 'ADULT' } };
    const entry = [
      { id: wabaId, time: Math.floor(time.getTime() / 1_000), changes: [{ field, value }] },
    ];
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
    const signature = createHmac('sha256', appSecret).update(body).digest('hex');
    const headers = { 'x-hub-signature-256': `sha256=${signature}` };
    expect((await gateway.rest(path, { method: 'POST', body, headers })).status).toBe(200);
  };

  const follow = () =>
    followRoutes({ database: gateway.database, routes: gateway.gateway.webhookRoutes });
  const listVerdicts = async (tenant: TestTenant) =>
    await gateway.database.query(
      `select waba_id, previous_value, new_value, source from number_change
       where tenant_id = $1 and field = 'ACCOUNT_WEBHOOK' order by id`,
      [tenant.id],
    );

  async function openAccount(callbackUrl: string | null = null) {
    time = new Date();
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber();
    const { path } = await addEndpoint(tenant);
    const setWaba = (url: string, subscribedApps?: readonly string[]) =>
      gateway.simulator.setWaba({
        id: number.wabaId,
        fields: { name: 'Lucky Shrub' },
        callbackUrl: url,
        ...(subscribedApps && { subscribedApps }),
      });
    setWaba(callbackUrl ?? `https://gateway.example/numbers${path}?token=secret`);
    await refresh(tenant, number.id);
    return { tenant, number, path, setWaba };
  }

  test('a key that may configure endpoints sees them, and one that reads sees them masked', async () => {
    const { tenant, number, path } = await openAccount();
    const operating = await tenant.addKey({ scopes: ['operate'] });
    const url = `https://gateway.example/numbers${path}`;
    expect(await see(tenant, number.id, operating.key)).toMatchObject({
      expectedUrl: url,
      actualUrl: url,
      lastEventAt: null,
      lastEventField: null,
      verdict: 'UNKNOWN',
    });
    const masked = 'https://gateway.example/numbers/v1/webhooks/meta/…';
    expect(await see(tenant, number.id)).toMatchObject({ expectedUrl: masked, actualUrl: masked });
  });

  test('the endpoint is stored sealed, not in what was read from Meta', async () => {
    const { tenant, path } = await openAccount();
    const rows = await gateway.database.query<{ url: string }>(
      `select data ->> 'webhookUrl' as url from number_snapshot where tenant_id = $1 and block = 'phone'`,
      [tenant.id],
    );
    expect(rows[0]!.url).toMatch(
      /^https:\/\/gateway\.example\/numbers\/v1\/webhooks\/meta\/sha256-/,
    );
    expect(rows[0]!.url).not.toContain(path.slice(-22));
  });

  test('an event is seen at once, with its field, by all numbers of its account and no other', async () => {
    const { tenant, number, path } = await openAccount('https://relay.example/in?token=secret');
    const sibling = await tenant.addNumber({ wabaId: number.wabaId });
    const other = await tenant.addNumber();
    await Promise.all([refresh(tenant, sibling.id), refresh(tenant, other.id)]);
    expect(await see(tenant, number.id)).toMatchObject({ verdict: 'UNKNOWN', lastEventAt: null });
    await deliver(path, number.wabaId, 'security');
    const seen = {
      actualUrl: 'https://relay.example/in',
      lastEventField: 'security',
      verdict: 'RECEIVING',
    };
    expect(await see(tenant, number.id)).toMatchObject(seen);
    expect(await see(tenant, sibling.id)).toMatchObject(seen);
    expect(await see(tenant, other.id)).toMatchObject({ lastEventAt: null, verdict: 'UNKNOWN' });
    time = new Date(time.getTime() + 8 * day);
    expect(await see(tenant, number.id)).toMatchObject({ verdict: 'UNKNOWN' });
  });

  test('a message proves the way to the endpoint, and is stored nowhere', async () => {
    const { tenant, number, path } = await openAccount();
    await deliver(path, number.wabaId, 'messages');
    expect(await see(tenant, number.id)).toMatchObject({ lastEventAt: null, verdict: 'RECEIVING' });
  });

  test('an account without a subscribed app is SILENT, until a read finds one', async () => {
    const { tenant, number, setWaba } = await openAccount();
    setWaba('https://relay.example/in', []);
    await refresh(tenant, number.id);
    expect(await see(tenant, number.id)).toMatchObject({ verdict: 'SILENT' });
    setWaba('https://relay.example/in', ['1', '2']);
    await refresh(tenant, number.id);
    expect(await see(tenant, number.id)).toMatchObject({ verdict: 'UNKNOWN' });
  });

  test('a review that is read without its event makes the account SILENT a day later, and no other change does', async () => {
    const { tenant, number } = await openAccount();
    const setPhone = (fields: object) => {
      const { phoneNumberId: id, wabaId } = number;
      gateway.simulator.setPhone({
        id,
        wabaId,
        fields: { status: 'CONNECTED', ...fields },
        profile: null,
      });
    };
    const isAfterADay = async () => {
      time = new Date(Date.now() + day + minute);
      const { verdict } = await see(tenant, number.id);
      time = new Date();
      return verdict;
    };
    setPhone({ name_status: 'PENDING_REVIEW', quality_rating: 'GREEN' });
    await refresh(tenant, number.id);
    setPhone({ name_status: 'PENDING_REVIEW', quality_rating: 'RED' });
    await refresh(tenant, number.id);
    expect(await isAfterADay()).toBe('UNKNOWN');
    setPhone({ name_status: 'APPROVED', quality_rating: 'RED' });
    await refresh(tenant, number.id);
    expect(await see(tenant, number.id)).toMatchObject({ verdict: 'UNKNOWN' });
    expect(await isAfterADay()).toBe('SILENT');
  });

  test('verdicts that change are changes of the account, once each, and an event ends SILENT at once', async () => {
    const { tenant, number, path, setWaba } = await openAccount();
    await follow();
    expect(await listVerdicts(tenant)).toEqual([]);
    setWaba('https://relay.example/in', []);
    await refresh(tenant, number.id);
    await follow();
    await follow();
    const silent = {
      waba_id: number.wabaId,
      previous_value: 'UNKNOWN',
      new_value: 'SILENT',
      source: 'CLOCK',
    };
    expect(await listVerdicts(tenant)).toEqual([silent]);
    await deliver(path, number.wabaId);
    const receiving = {
      ...silent,
      previous_value: 'SILENT',
      new_value: 'RECEIVING',
      source: 'WEBHOOK',
    };
    expect(await listVerdicts(tenant)).toEqual([silent, receiving]);
    const [endpoint] = await gateway.gateway.webhooks.list(tenant.id);
    await gateway.gateway.webhooks.remove(tenant.id, endpoint!.id);
    await follow();
    const none = { ...silent, previous_value: 'RECEIVING', new_value: null };
    expect(await listVerdicts(tenant)).toEqual([silent, receiving, none]);
  });

  test('webhooks that do not arrive are an incident of the account, which the next event closes', async () => {
    const { tenant, number, path, setWaba } = await openAccount();
    const { database } = gateway;
    const evaluateIn = async (seconds: number) => {
      const at = new Date(Date.now() + seconds * 1_000);
      await evaluateTenants({
        database,
        now: () => at,
        onOpened: () => undefined,
        limits: toCauseLimits(null),
      });
      // The response cache learns of incidents by notifications.
      await database.changes.catchUp();
      const { body } = await tenant.graphql<Record<string, any>>(
        '{ incidents { nodes { rule state scope subject text previousValue newValue } } }',
      );
      return body.data!['incidents'].nodes;
    };
    await evaluateIn(0);
    setWaba('https://relay.example/in', []);
    await refresh(tenant, number.id);
    await follow();
    expect(await evaluateIn(50)).toEqual([]);
    const incident = {
      rule: 'WEBHOOK_SILENT',
      state: 'OPEN',
      scope: 'ACCOUNT',
      subject: number.wabaId,
      text: "Meta's webhooks about the account do not arrive.",
      previousValue: null,
      newValue: 'SILENT',
    };
    expect(await evaluateIn(70)).toEqual([incident]);
    await deliver(path, number.wabaId);
    expect(await evaluateIn(80)).toEqual([{ ...incident, state: 'CLOSED' }]);
  });

  test('Meta may refuse both fields without harm to the others', async () => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber();
    await addEndpoint(tenant);
    gateway.simulator.setFault(number.phoneNumberId, denied('webhook_configuration'));
    gateway.simulator.setFault(number.wabaId, denied('subscribed_apps'));
    const { body } = await refresh(tenant, number.id);
    expect(body).toMatchObject({
      meta: {
        phone: { verifiedName: 'Lucky Shrub' },
        waba: { name: 'Lucky Shrub' },
      },
    });
    expect(await see(tenant, number.id)).toMatchObject({ actualUrl: null, verdict: 'UNKNOWN' });
  });
});

test('without PUBLIC_URL nothing is judged, and what Meta says is shown', async () => {
  await using gateway = await openTestGateway({ database: 'PGlite' });
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber();
  await gateway.gateway.webhooks.add({ tenantId: tenant.id, proof: 'KEY', appSecrets: [] });
  gateway.simulator.setWaba({
    id: number.wabaId,
    fields: {},
    callbackUrl: 'https://relay.example/in',
    subscribedApps: [],
  });
  await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
  const { body } = await tenant.graphql<Record<string, any>>(
    `{ number(id: "${number.id}") { meta { webhook { expectedUrl actualUrl verdict } } } }`,
  );
  expect(body.data!['number'].meta.webhook).toEqual({
    expectedUrl: null,
    actualUrl: 'https://relay.example/in',
    verdict: 'UNKNOWN',
  });
  await followRoutes({ database: gateway.database, routes: gateway.gateway.webhookRoutes });
  expect(
    await gateway.database.query('select webhook_verdict as verdict from account_notice'),
  ).toEqual([]);
});
