// What callers are told of a refusal of Meta's: why it refused and what to do, each in its own words.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openCommandLine } from '../../admin/command-line.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../../harness.ts';
import {
  type IndependentGraph,
  openIndependentGraph,
  recorded,
  recordedWaba,
  toRecordedPhone,
} from './independent-graph.ts';

const wabaId = '102290129340398';
const phoneNumberId = '106540352242922';

const appDashboard =
  "Open the app in Meta's App Dashboard and complete what is required there, or store a token of another app.";
const blocked =
  'Meta has blocked the app of the access token, or its owner. A new token of the app does not help.';
const checkVersion = "Ask the gateway's operator to check META_GRAPH_VERSION and META_GRAPH_URL.";

/** The failure's code, Meta's code, and the whole text. */
const cases = [
  ['blocked', 'META_ACCESS_DENIED', 200, `${blocked} ${appDashboard}`],
  ['deactivated', 'META_ACCESS_DENIED', 200, `${blocked} ${appDashboard}`],
  [
    'permissionDenied',
    'META_ACCESS_DENIED',
    200,
    'The access token lacks a permission. Grant it whatsapp_business_management for this account, or store a token that has it.',
  ],
  [
    'expired',
    'META_ACCESS_DENIED',
    190,
    'The access token has expired. Store a new one, preferably of a system user, which need not expire.',
  ],
  [
    'passwordChanged',
    'META_ACCESS_DENIED',
    190,
    'The owner of the access token has changed their password. Store a new token.',
  ],
  [
    'loggedOut',
    'META_ACCESS_DENIED',
    190,
    'The access token was invalidated: its owner logged out, or it was revoked. Store a new one, preferably of a system user, which never logs out.',
  ],
  [
    'unknownVersion',
    'META_UNAVAILABLE',
    2500,
    `Meta does not have the Graph API version or the path that the gateway requests. ${checkVersion}`,
  ],
  [
    'retiredVersion',
    'META_UNAVAILABLE',
    2635,
    `Meta has retired the Graph API version that the gateway requests. ${checkVersion}`,
  ],
  [
    'notRegistered',
    'META_ACCESS_DENIED',
    133_010,
    'The number is not registered on the Cloud API. Register it with its PIN; a number that still is in the WhatsApp app has to be deleted or connected there first.',
  ],
  ['minusOne', 'META_UNAVAILABLE', -1, 'Meta reported a temporary error. Try again later.'],
] as const;

const made = new AsyncDisposableStack();
let graph: IndependentGraph;
let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  graph = made.use(await openIndependentGraph());
  gateway = made.use(
    await openTestGateway({ fetch: globalThis.fetch, environment: { META_GRAPH_URL: graph.url } }),
  );
});
beforeEach(async () => {
  tenant = await gateway.addTenant();
  setNodes(graph);
});
afterAll(() => made.disposeAsync());

function setNodes({ nodes }: IndependentGraph, name?: keyof typeof recorded): void {
  const error = name === undefined ? {} : { error: recorded[name] };
  nodes.set(wabaId, { ...recordedWaba, ...error });
  nodes.set(phoneNumberId, { ...toRecordedPhone(phoneNumberId, wabaId), ...error });
}

const query = `query ($id: ID!, $refresh: Boolean!) { number(id: $id, refresh: $refresh) {
  health { freshness { error { code metaCode message transient } } } } }`;

describe.each(cases)('%s', (name, code, metaCode, message) => {
  const error = { code, metaCode, message, transient: name === 'minusOne' };

  test('is explained over GraphQL, at once and from what is stored', async () => {
    setNodes(graph, name);
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    for (const refresh of [true, false]) {
      // oxlint-disable-next-line no-await-in-loop -- the second answer is what the first has stored
      const { body } = await tenant.graphql(query, { variables: { id, refresh } });
      expect(body.data).toEqual({ number: { health: { freshness: { error } } } });
    }
  });

  test('is explained over REST', async () => {
    setNodes(graph, name);
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    const { status, body } = await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    expect({ status, body }).toMatchObject({ status: 502, body: { error: message, code } });
  });
});

test('a failure that an earlier release has stored is shown with its message alone', async () => {
  setNodes(graph, 'expired');
  const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
  await tenant.graphql(query, { variables: { id, refresh: true } });
  await gateway.database.query(
    `update number_snapshot set failure = failure - 'solution' || '{"message":"It has expired; store a new one."}'
     where number_id = $1`,
    [id],
  );
  const { body } = await tenant.graphql(query, { variables: { id, refresh: false } });
  const error = { message: 'It has expired; store a new one.' };
  expect(body.data).toMatchObject({ number: { health: { freshness: { error } } } });
});

test('the command line explains that the app is blocked', async () => {
  await using line = await openCommandLine();
  const environment = { META_GRAPH_URL: graph.url };
  const added = await line.run<{ id: string }>(
    `number add --tenant ${await line.addTenant()} --name Shop --number 16315555555 --provider META --phone-number-id ${phoneNumberId} --waba-id ${wabaId} --credentials - --no-check`,
    { stdin: JSON.stringify({ accessToken: 'EAAblocked' }), environment },
  );
  setNodes(graph, 'blocked');
  const { code, stderr } = await line.run(`number refresh ${added.json.id}`, { environment });
  expect(code).toBe(1);
  expect(stderr).toContain(`${blocked} ${appDashboard}`);
});

test('ids that come as numbers keep their digits, and empty web addresses are left out', async () => {
  const large = '17841400008460056123';
  const phone = toRecordedPhone(phoneNumberId, wabaId);
  graph.nodes.set(large, { ...recordedWaba, fields: { ...recordedWaba.fields, id: large } });
  graph.nodes.set(phoneNumberId, {
    ...phone,
    profile: { ...phone.profile, websites: '["","https:\\/\\/example.org\\/"]' },
  });
  const { id } = await tenant.addNumber({ phoneNumberId, wabaId: large });
  const websites = ['https://example.org/'];
  const { body } = await tenant.graphql(
    `{ number(id: "${id}", refresh: true) { meta { profile { websites } waba { id } } } }`,
  );
  expect(body.data).toEqual({ number: { meta: { profile: { websites }, waba: { id: large } } } });
  const rest = await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  expect(rest.body).toMatchObject({ meta: { profile: { websites }, waba: { id: large } } });
});
