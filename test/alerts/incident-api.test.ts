// Incidents as callers see them, over GraphQL and REST: lists, the worst one of a number, and acknowledging.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toCauseLimits } from '../../src/alerts/causes.ts';
import { evaluateTenants } from '../../src/alerts/evaluator.ts';
import { incidentRetention } from '../../src/alerts/incident-store.ts';
import { deleteOld } from '../../src/database/retention.ts';
import { type InsertedIncident, insertIncident } from './insert-incident.ts';
import {
  openTestGateway,
  type Reply,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway({ database: 'PostgreSQL' });
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** Evaluates everything, as if so many seconds had passed since. */
async function evaluateAfter(seconds: number): Promise<void> {
  await evaluateTenants({
    database: gateway.database,
    now: () => new Date(Date.now() + seconds * 1_000),
    onOpened: () => undefined,
    limits: toCauseLimits(null),
  });
}

const setState = (state: string, ...ids: readonly string[]) =>
  gateway.database.query('update whatsapp_number set state = $1 where id = any($2)', [state, ids]);

/** Closes the numbers' connections, and opens the incident of it. Leaves no others. */
async function disconnect(tenant: TestTenant, ...ids: readonly string[]): Promise<string> {
  await setState('CLOSE', ...ids);
  await evaluateAfter(61);
  const rows = await gateway.database.query<{ id: string }>(
    `select id from incident where tenant_id = $1 and rule = 'DISCONNECTED' order by opened_at desc limit 1`,
    [tenant.id],
  );
  await gateway.database.query(`delete from incident where tenant_id = $1 and id <> $2`, [
    tenant.id,
    rows[0]!.id,
  ]);
  return rows[0]!.id;
}

interface Incident {
  readonly id: string;
  readonly text: string;
  readonly [member: string]: unknown;
}

interface Page {
  readonly totalCount: number;
  readonly nodes: readonly Incident[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

const members = `id rule covers severity state scope subject subjectName numberCount numbers { id name number } text
  previousValue newValue openedAt closedAt acknowledgedAt acknowledgedBy { type key { name } } note`;

/** `isCached`: it may be an earlier answer. The notifications of what a test writes into the database take a moment. */
async function listIncidents(tenant: TestTenant, args = '', isCached = false): Promise<Page> {
  const { body } = await tenant.graphql<{ incidents: Page }>(
    `{ incidents${args} { totalCount nodes { ${members} } pageInfo { hasNextPage endCursor } } }`,
    isCached ? {} : { headers: { 'x-include-cost': '1' } },
  );
  expect(body.errors).toBeUndefined();
  return body.data!.incidents;
}

const acknowledgeDocument = `mutation ($input: AcknowledgeIncidentInput!) {
  acknowledgeIncident(input: $input) { incident { ${members} } }
}`;

async function acknowledge(key: string, input: object) {
  const reply = await gateway.graphql<{ acknowledgeIncident: { incident: Incident } | null }>(
    acknowledgeDocument,
    { key, variables: { input } },
  );
  return {
    ...reply,
    incident: reply.body.data?.acknowledgeIncident?.incident,
    code: reply.body.errors?.[0]?.extensions?.['code'],
  };
}

const post = (key: string, id: string, body: object) =>
  gateway.rest<Incident>(`/v1/incidents/${id}/acknowledge`, {
    method: 'POST',
    key,
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });

const insert = (tenant: TestTenant, incident: InsertedIncident) =>
  insertIncident(gateway.database, tenant.id, incident);

/** The changes of incidents, oldest first. */
async function listChanges(tenant: TestTenant) {
  const start = await tenant.graphql<{ changes: { cursor: string } }>('{ changes { cursor } }');
  const after = start.body.data!.changes.cursor.replace(/\d+$/, '0');
  const { body } = await tenant.graphql<{
    changes: { changes: Readonly<Record<'numberId' | 'source' | 'newValue', string>>[] };
  }>(
    `{ changes(after: "${after}", filter: {kinds: [INCIDENT]}) { changes {
      numberId source newValue actor { type key { name } } } } }`,
  );
  return body.data!.changes.changes.map(({ newValue, ...change }) => {
    const { state, acknowledgedAt, note } = JSON.parse(newValue) as Record<string, unknown>;
    return Object.assign(change, { state, isAcknowledged: acknowledgedAt !== null, note });
  });
}

const toLink = (cursor: string | null) =>
  cursor && `</v1/incidents?limit=3&cursor=${cursor}>; rel="next"`;

/** A response without what differs between requests. */
const toComparable = ({ text, headers }: Pick<Reply<unknown>, 'text' | 'headers'>) =>
  text.replaceAll(headers.get('x-request-id')!, 'ID');

describe('the list', () => {
  test('has an incident of an account with how many numbers it covers, the first ones, and a sentence', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '8888888801';
    const numbers: TestNumber[] = [];
    for (let at = 0; at < 12; at += 1) {
      const waba = { name: 'Acme Shops' };
      // oxlint-disable-next-line no-await-in-loop -- not more at once than there are connections
      numbers.push(await tenant.addNumber({ name: `Shop ${at}`, wabaId, waba }));
    }
    await tenant.rest(`/v1/numbers/${numbers[0]!.id}?refresh=1`);
    const ids = numbers.map(({ id }) => id).toSorted();
    const id = await disconnect(tenant, ...ids);
    const page = await listIncidents(tenant);
    expect(page).toMatchObject({ totalCount: 1, pageInfo: { hasNextPage: false } });
    const [incident] = page.nodes;
    expect(incident).toEqual({
      id,
      rule: 'DISCONNECTED',
      covers: ['SENDABLE_LOST'],
      severity: 'CRITICAL',
      state: 'OPEN',
      scope: 'ACCOUNT',
      subject: wabaId,
      subjectName: 'Acme Shops',
      numberCount: 12,
      numbers: ids.slice(0, 10).map((numberId) => {
        const at = numbers.findIndex((it) => it.id === numberId);
        return { id: numberId, name: `Shop ${at}`, number: numbers[at]!.number };
      }),
      text: '12 numbers have lost their connection. Conversations cannot be started any more.',
      previousValue: 'OPEN',
      newValue: 'CLOSE',
      openedAt: expect.stringMatching(/^20\d\d-.*Z$/),
      closedAt: null,
      acknowledgedAt: null,
      acknowledgedBy: null,
      note: null,
    });
    const rest = await tenant.rest('/v1/incidents');
    expect(rest.body).toEqual({ data: [incident], total: 1, next: null });
    // All have left it, and two are removed.
    await gateway.database.query('delete from whatsapp_number where id = any($1)', [
      ids.slice(0, 2),
    ]);
    await setState('OPEN', ...ids);
    await evaluateAfter(120);
    const { nodes } = await listIncidents(tenant, '(state: CLOSED)');
    const closed = nodes.find(({ rule }) => rule === 'DISCONNECTED');
    expect(closed).toMatchObject({ id, state: 'CLOSED', numberCount: 12, text: incident!.text });
    expect(closed!['numbers']).toHaveLength(10);
    expect(closed!['numbers']).toContainEqual({ id: ids[0], name: null, number: null });
  });

  test('counts an account that is restricted with all its numbers', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '8888888802';
    const ids = await Promise.all(
      Array.from({ length: 4 }, async () => (await tenant.addNumber({ wabaId, waba: {} })).id),
    );
    const id = await insert(tenant, {
      at: Date.now(),
      rule: 'RESTRICTED',
      scope: 'ACCOUNT',
      subject: wabaId,
      members: ['RESTRICTED_BIZ_INITIATED_MESSAGING', 'RESTRICTED_ADD_PHONE_NUMBER_ACTION'],
    });
    const { nodes } = await listIncidents(tenant);
    expect(nodes).toMatchObject([
      {
        id,
        scope: 'ACCOUNT',
        numberCount: 4,
        numbers: ids.toSorted().map((numberId) => ({ id: numberId })),
        text: 'Meta has restricted the account.',
      },
    ]);
  });

  test.each(['GraphQL', 'REST'])(
    'shows each incident once while others open and close: %s',
    async (api) => {
      const tenant = await gateway.addTenant();
      const start = Date.parse('2026-11-01T00:00:00Z');
      const ids: string[] = [];
      for (let at = 0; at < 7; at += 1) {
        // Two at the same time.
        // oxlint-disable-next-line no-await-in-loop -- in their order
        ids.push(await insert(tenant, { at: start + Math.floor(at / 2) * 1_000 }));
      }
      const seen: string[] = [];
      const sizes: number[] = [];
      const links: (string | null)[] = [];
      const cursors: (string | null)[] = [];
      let cursor: string | null = null;
      do {
        // oxlint-disable no-await-in-loop -- page by page
        if (api === 'GraphQL') {
          const after: string = cursor === null ? '' : `, after: "${cursor}"`;
          const page: Page = await listIncidents(tenant, `(first: 3${after})`);
          seen.push(...page.nodes.map(({ id }) => id));
          sizes.push(page.nodes.length);
          cursor = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
        } else {
          const query: string = cursor === null ? '' : `&cursor=${cursor}`;
          const reply = await tenant.rest<{ data: Incident[]; next: string | null }>(
            `/v1/incidents?limit=3${query}`,
          );
          seen.push(...reply.body.data.map(({ id }) => id));
          sizes.push(reply.body.data.length);
          cursor = reply.body.next;
          links.push(reply.headers.get('link'));
        }
        cursors.push(cursor);
        await insert(tenant, { at: Date.now() });
        await gateway.database.query(
          `update incident set closed_at = now() where tenant_id = $1 and id = $2`,
          [tenant.id, ids[sizes.length]],
        );
        // oxlint-enable no-await-in-loop
      } while (cursor !== null);
      expect(sizes).toEqual([3, 3, 1]);
      expect(links).toEqual(api === 'REST' ? cursors.map(toLink) : []);
      expect(seen.toSorted()).toEqual(ids.toSorted());
      const byState = await Promise.all(
        ['OPEN', 'CLOSED'].map((state) => listIncidents(tenant, `(state: ${state})`)),
      );
      expect(byState.map(({ totalCount }) => totalCount)).toEqual([7, 3]);
      const closed = await tenant.rest<{ data: Incident[]; total: number }>(
        '/v1/incidents?state=CLOSED',
      );
      expect(closed.body.total).toBe(3);
      expect(closed.body.data).toEqual(byState[1]!.nodes);
    },
  );

  test('refuses a cursor, a size and a parameter that it does not know', async () => {
    const tenant = await gateway.addTenant();
    const ask = async (args: string) => {
      const { body } = await tenant.graphql(`{ incidents(${args}) { nodes { id } } }`);
      return body.errors?.[0]?.extensions?.['code'];
    };
    expect(await ask('after: "x"')).toBe('INVALID_CURSOR');
    expect(await ask('after: "c1.00000000000000000000000000000000.1"')).toBe('INVALID_CURSOR');
    expect(await ask('first: 0')).toBe('INVALID_REQUEST');
    expect(await ask('first: 201')).toBe('INVALID_REQUEST');
    for (const [query, code] of [
      ['cursor=x', 'INVALID_CURSOR'],
      ['limit=0', 'INVALID_REQUEST'],
      ['limit=201', 'INVALID_REQUEST'],
      ['state=NEW', 'INVALID_REQUEST'],
      ['order=x', 'INVALID_REQUEST'],
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await tenant.rest<{ code: string }>(`/v1/incidents?${query}`);
      expect([query, body.code]).toEqual([query, code]);
    }
  });
});

describe('an incident by its id', () => {
  test('is as the list shows it, open and over, in both APIs', async () => {
    const tenant = await gateway.addTenant();
    const { id: numberId } = await tenant.addNumber({ name: 'Shop' });
    const open = await insert(tenant, { at: Date.now(), subject: numberId });
    const over = await insert(tenant, { at: Date.now() - 1_000, closedAt: Date.now() });
    const { nodes } = await listIncidents(tenant);
    expect(nodes.map(({ id, state }) => [id, state])).toEqual([
      [open, 'OPEN'],
      [over, 'CLOSED'],
    ]);
    for (const node of nodes) {
      // oxlint-disable no-await-in-loop -- one after the other
      const { body } = await tenant.graphql(`{ incident(id: "${node.id}") { ${members} } }`);
      expect(body).toEqual({ data: { incident: node } });
      expect((await tenant.rest(`/v1/incidents/${node.id}`)).body).toEqual(node);
      // oxlint-enable no-await-in-loop
    }
  });

  test('of another tenant is answered like one that does not exist', async () => {
    const [tenant, foreign] = [await gateway.addTenant(), await gateway.addTenant()];
    const id = await insert(foreign, { at: Date.now() });
    const none = `inc_${'0'.repeat(32)}`;
    const ask = (of: string) =>
      tenant.graphql('query ($id: ID!) { incident(id: $id) { id } }', { variables: { id: of } });
    const [ofForeign, ofNone, ofNul] = [await ask(id), await ask(none), await ask('inc_\0')];
    expect(ofForeign.body).toMatchObject({
      data: { incident: null },
      errors: [{ extensions: { code: 'INCIDENT_NOT_FOUND' } }],
    });
    expect(toComparable(ofForeign)).toBe(toComparable(ofNone));
    expect(toComparable(ofNul)).toBe(toComparable(ofNone));
    const get = (of: string) => tenant.rest(`/v1/incidents/${of}`);
    const [rest, restOfNone] = [await get(id), await get(none)];
    expect(rest.status).toBe(404);
    expect(toComparable(rest)).toBe(toComparable(restOfNone));
  });

  test('shows what happened to it since it was last read', async () => {
    const tenant = await gateway.addTenant();
    const id = await insert(tenant, { at: Date.now() });
    const { key } = await tenant.addKey({ scopes: ['operate'] });
    const get = () => tenant.rest<Incident>(`/v1/incidents/${id}`);
    expect((await get()).body).toMatchObject({ note: null });
    await acknowledge(key, { id, note: 'On it.' });
    expect((await get()).body).toMatchObject({ note: 'On it.' });
  });
});

test('incidents are deleted so many days after their end, and open ones never', async () => {
  const tenant = await gateway.addTenant();
  const day = 86_400_000;
  const now = Date.now();
  await insert(tenant, { at: now - 500 * day, closedAt: now - 401 * day });
  const kept = await insert(tenant, { at: now - 500 * day, closedAt: now - 399 * day });
  const open = await insert(tenant, { at: now - 600 * day });
  const options = {
    database: gateway.database,
    now: () => new Date(now),
    retention: incidentRetention,
    days: 400,
  };
  expect(await deleteOld(options)).toBe(true);
  const { nodes } = await listIncidents(tenant);
  expect(nodes.map(({ id }) => id)).toEqual([kept, open]);
  const stored = await gateway.database.query(
    'select incident_id from incident_member where tenant_id = $1',
    [tenant.id],
  );
  expect(stored).toHaveLength(2);
});

describe('the incident of a number', () => {
  test('is the worst open one that it is part of, read for a page by one statement', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '8888888803';
    const [, warned, several, healthy] = await Promise.all([
      tenant.addNumber({ name: 'a', wabaId, waba: {} }),
      tenant.addNumber({ name: 'b' }),
      tenant.addNumber({ name: 'c' }),
      tenant.addNumber({ name: 'd' }),
    ]);
    const at = Date.parse('2026-11-01T00:00:00Z');
    const ofAccount = await insert(tenant, {
      at,
      rule: 'RESTRICTED',
      scope: 'ACCOUNT',
      subject: wabaId,
    });
    const warning = { rule: 'QUALITY_DROPPED', severity: 'WARNING', subject: warned!.id };
    const ofWarned = await insert(tenant, { at, ...warning });
    const first = { at, rule: 'SENDABLE_LOST', subject: several!.id };
    const ofSeveral = await insert(tenant, first);
    const later = { at: at + 1_000, subject: several!.id };
    const ofSeveralLater = await insert(tenant, later);
    await insert(tenant, { ...warning, at: at - 1_000, subject: several!.id });
    await insert(tenant, { at, closedAt: at + 1, subject: healthy!.id });
    // It has left one that is open.
    const left = await insert(tenant, { at, rule: 'READS_FAILING', subject: healthy!.id });
    await gateway.database.query(
      'update incident_member set left_at = now() where tenant_id = $1 and incident_id = $2',
      [tenant.id, left],
    );
    const read = async () => {
      gateway.clearStatements();
      const { body } = await tenant.graphql<{
        fleet: { nodes: readonly { name: string; incident: { id: string } | null }[] };
      }>(
        '{ fleet(orderBy: {field: NAME, direction: ASC}) { nodes { name incident { id text severity } } } }',
      );
      expect(body.errors).toBeUndefined();
      const statements = gateway.statements.filter((sql) => sql.includes('incident_member'));
      expect(statements).toHaveLength(1);
      return body.data!.fleet.nodes.map(({ incident }) => incident?.id ?? null);
    };
    expect(await read()).toEqual([ofAccount, ofWarned, ofSeveral, null]);
    const { key } = await tenant.addKey({ scopes: ['operate'] });
    await acknowledge(key, { id: ofSeveral });
    expect(await read()).toEqual([ofAccount, ofWarned, ofSeveralLater, null]);
  });
});

describe('acknowledging', () => {
  test('is in the answer, in the next list and in the feed with its actor, and repeated, changes nothing', async () => {
    const tenant = await gateway.addTenant();
    const { id: numberId } = await tenant.addNumber();
    const id = await disconnect(tenant, numberId);
    const { key } = await tenant.addKey({ name: 'Board', scopes: ['operate'] });
    await listIncidents(tenant, '', true);
    const { status, incident } = await acknowledge(key, { id, note: ' Ann calls Meta ' });
    expect(status).toBe(200);
    expect(incident).toMatchObject({
      id,
      state: 'OPEN',
      acknowledgedAt: expect.stringMatching(/^20\d\d-.*Z$/),
      acknowledgedBy: { type: 'KEY', key: { name: 'Board' } },
      note: 'Ann calls Meta',
    });
    expect((await listIncidents(tenant, '', true)).nodes).toEqual([incident]);
    for (const note of ['Ann calls Meta', null]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await acknowledge(key, { id, note })).incident).toEqual(incident);
    }
    const opened = { numberId, source: 'ALERTS', actor: { type: 'SYSTEM', key: null } };
    const byKey = { numberId, source: 'API', actor: { type: 'KEY', key: { name: 'Board' } } };
    const changes = [
      { ...opened, state: 'OPEN', isAcknowledged: false, note: null },
      { ...byKey, state: 'OPEN', isAcknowledged: true, note: 'Ann calls Meta' },
    ];
    expect((await listChanges(tenant)).slice(-2)).toEqual(changes);
    // Another note is news, over REST too.
    const { key: other } = await tenant.addKey({ name: 'Pager', scopes: ['operate'] });
    const reply = await post(other, id, { note: 'Bob took over' });
    expect(reply.status).toBe(200);
    expect(reply.body).toMatchObject({
      note: 'Bob took over',
      acknowledgedBy: { type: 'KEY', key: { name: 'Pager' } },
    });
    expect((await post(other, id, {})).body).toEqual(reply.body);
    const repeated = await listChanges(tenant);
    expect(repeated.slice(-3)).toEqual([
      ...changes,
      {
        ...byKey,
        actor: { type: 'KEY', key: { name: 'Pager' } },
        state: 'OPEN',
        isAcknowledged: true,
        note: 'Bob took over',
      },
    ]);
    // It stays acknowledged after its end, and can be acknowledged then.
    await setState('OPEN', numberId);
    await evaluateAfter(120);
    const { incident: closed } = await acknowledge(key, { id });
    expect(closed).toMatchObject({ state: 'CLOSED', note: 'Bob took over' });
  });

  test('takes back what endpoints were not told yet, also when they are sent it again, and leaves the end', async () => {
    const tenant = await gateway.addTenant();
    const { id: numberId } = await tenant.addNumber();
    const { alertEndpoints } = gateway.gateway;
    const endpoint = await alertEndpoints.add({
      tenantId: tenant.id,
      url: 'https://alerts.example.com/a',
      format: 'STANDARD',
      rules: ['DISCONNECTED'],
    });
    gateway.addSecrets(endpoint.secret!);
    const start = await tenant.rest<{ cursor: string }>('/v1/changes');
    const listTypes = async () =>
      (
        await gateway.database.query<{ type: string }>(
          'select type from alert_delivery where tenant_id = $1',
          [tenant.id],
        )
      ).map(({ type }) => type);
    const id = await disconnect(tenant, numberId);
    expect(await listTypes()).toEqual(['incident.opened']);
    const { key } = await tenant.addKey({ scopes: ['operate'] });
    await acknowledge(key, { id });
    expect(await listTypes()).toEqual([]);
    await evaluateAfter(62);
    expect(await alertEndpoints.resend(tenant.id, endpoint.id, start.body.cursor)).toEqual({
      queued: 0,
      next: null,
    });
    await setState('OPEN', numberId);
    await evaluateAfter(120);
    expect(await listTypes()).toEqual(['incident.closed']);
    await gateway.database.query('delete from alert_delivery where tenant_id = $1', [tenant.id]);
    await evaluateAfter(121);
    expect(await alertEndpoints.resend(tenant.id, endpoint.id, start.body.cursor)).toEqual({
      queued: 1,
      next: null,
    });
    expect(await listTypes()).toEqual(['incident.closed']);
    await alertEndpoints.remove(tenant.id, endpoint.id);
  });

  test('of a key of a number is for incidents that are about this number alone', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '8888888804';
    const numbers = await Promise.all(
      Array.from({ length: 3 }, () => tenant.addNumber({ wabaId, waba: {} })),
    );
    const [own, other] = numbers as [TestNumber, TestNumber, TestNumber];
    const { key } = await tenant.addKey({ numberId: own.id, scopes: ['operate'] });
    const at = Date.now();
    const ofOwn = await insert(tenant, { at, subject: own.id });
    const ofOther = await insert(tenant, { at, subject: other.id });
    const account = { at, scope: 'ACCOUNT', subject: wabaId, rule: 'SENDABLE_LOST' };
    const ofAll = await insert(tenant, account);
    expect((await acknowledge(key, { id: ofOwn })).incident).toMatchObject({ id: ofOwn });
    for (const id of [ofOther, ofAll]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await acknowledge(key, { id })).code).toBe('FORBIDDEN');
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await post(key, id, {})).status).toBe(403);
    }
    const { nodes } = await listIncidents(tenant);
    const acknowledged = nodes.filter(({ acknowledgedAt }) => acknowledgedAt !== null);
    expect(acknowledged.map(({ id }) => id)).toEqual([ofOwn]);
  });

  test("answers another tenant's incident like one that does not exist", async () => {
    const [tenant, foreign] = [await gateway.addTenant(), await gateway.addTenant()];
    const { id: foreignNumber } = await foreign.addNumber({ name: 'Foreign' });
    const id = await insert(foreign, { at: Date.now(), subject: foreignNumber });
    const { key } = await tenant.addKey({ scopes: ['operate'] });
    const none = `inc_${'0'.repeat(32)}`;
    const [ofForeign, ofNone, ofNul] = [
      await acknowledge(key, { id }),
      await acknowledge(key, { id: none }),
      await acknowledge(key, { id: 'inc_\0' }),
    ];
    expect(ofForeign.code).toBe('INCIDENT_NOT_FOUND');
    expect(toComparable(ofForeign)).toBe(toComparable(ofNone));
    expect(toComparable(ofNul)).toBe(toComparable(ofNone));
    const [rest, restOfNone] = [await post(key, id, {}), await post(key, none, {})];
    expect(rest.status).toBe(404);
    expect(toComparable(rest)).toBe(toComparable(restOfNone));
    expect((await listIncidents(tenant)).totalCount).toBe(0);
    // A foreign id of an account finds nothing either.
    const { body } = await tenant.graphql(
      `{ numbers(ids: ["${foreignNumber}"]) { incident { id } } }`,
    );
    expect(body.data).toEqual({ numbers: [] });
    expect((await listIncidents(foreign)).nodes).toMatchObject([{ id, acknowledgedAt: null }]);
  });

  test('needs the scope operate, and a note within its limits', async () => {
    const tenant = await gateway.addTenant();
    const id = await insert(tenant, { at: Date.now() });
    expect((await post(tenant.key, id, {})).status).toBe(403);
    expect((await acknowledge(tenant.key, { id })).code).toBe('FORBIDDEN');
    const { key } = await tenant.addKey({ scopes: ['operate'] });
    expect((await acknowledge(key, { id, note: 'x'.repeat(501) })).code).toBe('INVALID_REQUEST');
    expect((await post(key, id, { note: 1 })).status).toBe(400);
    expect((await post(key, id, { until: null })).status).toBe(400);
    expect((await listIncidents(tenant)).nodes).toMatchObject([{ acknowledgedAt: null }]);
  });
});
