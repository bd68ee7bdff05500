// What people who operate a fleet do with its numbers, over GraphQL and REST: who may do it, what is refused, and what the
// feed of changes says of it.

import { hash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  openTestGateway,
  type SendOptions,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

let gateway: TestGateway;
let now = new Date('2026-11-29T12:00:00.000Z');

beforeAll(async () => {
  gateway = await openTestGateway({ database: 'PostgreSQL', now: () => now });
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Stage {
  readonly tenant: TestTenant;
  readonly number: TestNumber;
  readonly sibling: TestNumber;
  /** Of the scope `operate`. */
  readonly key: string;
}

async function openStage(): Promise<Stage> {
  const tenant = await gateway.addTenant('Acme');
  const [number, sibling] = [await tenant.addNumber(), await tenant.addNumber()];
  const { key } = await tenant.addKey({ name: 'Board', scopes: ['operate'] });
  return { tenant, number, sibling, key };
}

const muteDocument = `mutation ($input: MuteNumberInput!) {
  muteNumber(input: $input) { number { id mutedUntil muteNote labels } }
}`;
const labelDocument = `mutation ($input: LabelNumberInput!) {
  labelNumber(input: $input) { number { id labels mutedUntil } }
}`;

const mute = (key: string, input: object, options: SendOptions = {}) =>
  gateway.graphql(muteDocument, { key, variables: { input }, ...options });
const label = (key: string, input: object) =>
  gateway.graphql(labelDocument, { key, variables: { input } });

const patch = (key: string, id: string, body: unknown, headers: object = {}) =>
  gateway.rest(`/v1/numbers/${id}`, {
    method: 'PATCH',
    key,
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  });

interface Change {
  readonly kind: string;
  readonly numberId: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
  readonly actor: unknown;
}

/** Of labels and mutes, oldest first. */
async function readChanges({ tenant }: Stage): Promise<readonly Change[]> {
  const { body } = await tenant.graphql<{ changes: { cursor: string } }>('{ changes { cursor } }');
  const after = body.data!.changes.cursor.replace(/\d+$/, '0');
  const page = await tenant.graphql<{ changes: { changes: readonly Change[] } }>(
    `query ($after: String) { changes(after: $after, filter: { kinds: [LABELS, MUTE] }) { changes {
      kind numberId previousValue newValue source actor { type key { name } } } } }`,
    { variables: { after } },
  );
  return page.body.data!.changes.changes;
}

const byKey = { type: 'KEY', key: { name: 'Board' } };

describe('muting', () => {
  test('silences a number until a time, is seen in the next answer, and leaves the verdict alone', async () => {
    const stage = await openStage();
    const { number, key, tenant } = stage;
    const query = `{ number(id: "${number.id}") { mutedUntil muteNote health { sendability { verdict } } } }`;
    const before = await tenant.graphql<{ number: object }>(query);
    const reply = await mute(key, {
      id: number.id,
      until: '2026-11-29T18:00:00+02:00',
      note: ' why ',
    });
    expect(reply.status).toBe(200);
    expect(reply.body.data).toEqual({
      muteNumber: {
        number: {
          id: number.id,
          mutedUntil: '2026-11-29T16:00:00.000Z',
          muteNote: 'why',
          labels: [],
        },
      },
    });
    const after = await tenant.graphql<{ number: object }>(query);
    expect(after.body.data!.number).toEqual({
      ...before.body.data!.number,
      mutedUntil: '2026-11-29T16:00:00.000Z',
      muteNote: 'why',
    });
  });

  test('ends by itself, also in answers that are cached', async () => {
    const { number, key, tenant } = await openStage();
    await mute(key, { id: number.id, until: '2026-11-29T12:00:30Z' });
    const query = `{ number(id: "${number.id}") { mutedUntil } }`;
    const read = async () => (await tenant.graphql(query)).body.data;
    expect([await read(), await read()]).toEqual([
      { number: { mutedUntil: '2026-11-29T12:00:30.000Z' } },
      { number: { mutedUntil: '2026-11-29T12:00:30.000Z' } },
    ]);
    now = new Date('2026-11-29T12:00:30.000Z');
    expect(await read()).toEqual({ number: { mutedUntil: null } });
    now = new Date('2026-11-29T12:00:00.000Z');
  });

  test('is recorded once with the key as its actor, however often it is repeated', async () => {
    const stage = await openStage();
    const { number, key } = stage;
    const input = { id: number.id, until: '2026-11-30T00:00:00Z', note: 'Maintenance' };
    for (const each of [
      input,
      input,
      { id: number.id, until: null },
      { id: number.id, until: null },
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await mute(key, each)).body.errors).toBeUndefined();
    }
    const muted = '{"until" : "2026-11-30T00:00:00.000Z", "note" : "Maintenance"}';
    const common = { kind: 'MUTE', numberId: number.id, source: 'API', actor: byKey };
    expect(await readChanges(stage)).toEqual([
      { ...common, previousValue: null, newValue: muted },
      { ...common, previousValue: muted, newValue: null },
    ]);
    expect(JSON.parse(muted)).toEqual({ until: '2026-11-30T00:00:00.000Z', note: 'Maintenance' });
  });

  test.each([
    ['a time in the past', { until: '2026-11-29T12:00:00Z' }],
    ['a time in more than 366 days', { until: '2027-12-01T12:00:01Z' }],
    ['no time', {}],
    ['a note that is too long', { until: '2026-11-30T00:00:00Z', note: 'x'.repeat(501) }],
    ['a note that is written backwards', { until: '2026-11-30T00:00:00Z', note: 'a\u202Eb' }],
  ])('refuses %s', async (_, input) => {
    const stage = await openStage();
    const { body } = await mute(stage.key, { id: stage.number.id, ...input });
    expect(body.data).toEqual({ muteNumber: null });
    expect(body.errors).toMatchObject([
      { path: ['muteNumber'], extensions: { code: 'INVALID_REQUEST' } },
    ]);
    expect(await readChanges(stage)).toEqual([]);
  });
});

describe('labelling', () => {
  test('replaces the labels, sorted, once for equal texts', async () => {
    const stage = await openStage();
    const { number, key } = stage;
    const first = await label(key, { id: number.id, labels: ['team=support', 'Região=São Paulo'] });
    expect(first.body.data).toEqual({
      labelNumber: {
        number: { id: number.id, labels: ['Região=São Paulo', 'team=support'], mutedUntil: null },
      },
    });
    // The same text in another Unicode form, and in another order.
    const same = ['team=support', 'Região=São Paulo'.normalize('NFD'), 'team=support'];
    await label(key, { id: number.id, labels: same });
    await label(key, { id: number.id, labels: [] });
    const common = { kind: 'LABELS', numberId: number.id, source: 'API', actor: byKey };
    const value = '["Região=São Paulo","team=support"]';
    expect(await readChanges(stage)).toEqual([
      { ...common, previousValue: null, newValue: value },
      { ...common, previousValue: value, newValue: null },
    ]);
  });

  test.each<readonly [string, readonly string[]]>([
    ['a label without a value', ['team']],
    ['an empty key', ['=support']],
    ['an empty value', ['team=']],
    ['a comma', ['team=a,b']],
    ['a control character', ['team=a\nb']],
    ['a character that changes the direction of text', ['team=a\u202Eb']],
    ['a space at the end of a value', ['team=a ']],
    ['a space in a key', ['my team=a']],
    ['a key of more than 63 characters', [`${'k'.repeat(64)}=v`]],
    ['a value of more than 100 characters', [`k=${'v'.repeat(101)}`]],
    ['two values of a key', ['team=a', 'team=b']],
    ['more than 20 labels', Array.from({ length: 21 }, (_, at) => `k${at}=v`)],
  ])('refuses %s', async (_, labels) => {
    const stage = await openStage();
    const { body } = await label(stage.key, { id: stage.number.id, labels });
    expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_REQUEST' } }]);
    expect(await readChanges(stage)).toEqual([]);
  });

  test('20 labels of the longest form are stored, with an equals sign in a value', async () => {
    const { number, key } = await openStage();
    const labels = Array.from({ length: 20 }, (_, at) => {
      const digits = String(at).padStart(2, '0');
      return `${'k'.repeat(61)}${digits}==${'v'.repeat(99)}`;
    });
    const { body } = await label(key, { id: number.id, labels });
    expect(body.data).toMatchObject({ labelNumber: { number: { labels } } });
  });

  test('labels and notes may have the joiners that Persian, Hindi and emoji are written with', async () => {
    const { number, key } = await openStage();
    const text = 'می\u200Cخواهم क्\u200Dष 👩\u200D💻';
    const { body } = await label(key, { id: number.id, labels: [`note=${text}`] });
    expect(body.data).toMatchObject({ labelNumber: { number: { labels: [`note=${text}`] } } });
    const muted = await mute(key, { id: number.id, until: '2026-11-30T00:00:00Z', note: text });
    expect(muted.body.data).toMatchObject({ muteNumber: { number: { muteNote: text } } });
  });

  test('a fleet is filtered and counted by labels', async () => {
    const { number, sibling, key, tenant } = await openStage();
    await label(key, { id: number.id, labels: ['team=a', 'env=x'] });
    await label(key, { id: sibling.id, labels: ['team=b', 'env=x'] });
    const { body } = await tenant.graphql(`{
      fleet(filter: { labels: ["team=a"] }) { nodes { id labels } facets { label(first: 2) { value count } } }
    }`);
    expect(body.data).toEqual({
      fleet: {
        nodes: [{ id: number.id, labels: ['env=x', 'team=a'] }],
        facets: {
          label: [
            { value: 'env=x', count: 2 },
            { value: 'team=a', count: 1 },
          ],
        },
      },
    });
    const rest = await tenant.rest('/v1/fleet?label=team%3Db&include=operations,facets');
    expect(rest.body).toMatchObject({
      data: [{ id: sibling.id, labels: ['env=x', 'team=b'], mutedUntil: null, muteNote: null }],
      facets: { label: [{ value: 'env=x', count: 2 }, { value: 'team=a' }, { value: 'team=b' }] },
    });
  });
});

describe('who may operate', () => {
  test('a key that only reads is refused with 403 before anything is read or charged', async () => {
    const { tenant, number } = await openStage();
    gateway.clearStatements();
    const reply = await mute(tenant.key, { id: number.id, until: null });
    expect([reply.status, reply.body.errors?.[0]?.extensions?.['code']]).toEqual([
      403,
      'FORBIDDEN',
    ]);
    const rest = await patch(tenant.key, number.id, { labels: [] });
    expect([rest.status, rest.body['code']]).toEqual([403, 'FORBIDDEN']);
    // Nothing but the key itself.
    expect(gateway.statements.filter((sql) => !sql.includes('_scoped_key'))).toEqual([]);
  });

  test('a key of a number operates this number alone, and reads all', async () => {
    const stage = await openStage();
    const { tenant, number, sibling } = stage;
    const { key } = await tenant.addKey({ numberId: number.id, scopes: ['operate'] });
    expect((await label(key, { id: number.id, labels: ['a=b'] })).body.errors).toBeUndefined();
    const refused = await label(key, { id: sibling.id, labels: ['a=b'] });
    expect(refused.body).toMatchObject({
      data: { labelNumber: null },
      errors: [{ extensions: { code: 'FORBIDDEN' } }],
    });
    const rest = await patch(key, sibling.id, { labels: ['a=b'] });
    expect([rest.status, rest.body['code']]).toEqual([403, 'FORBIDDEN']);
    const listed = await gateway.graphql(`{ numbers { id labels } }`, { key });
    expect(listed.body.data).toEqual({
      numbers: [
        { id: number.id, labels: ['a=b'] },
        { id: sibling.id, labels: [] },
      ],
    });
  });

  test('a number of another tenant does not exist', async () => {
    const [own, other] = [await openStage(), await openStage()];
    for (const id of [other.number.id, 'wa_none', 'a\0b']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await label(own.key, { id, labels: ['a=b'] });
      expect(body.errors).toMatchObject([{ extensions: { code: 'NUMBER_NOT_FOUND' } }]);
    }
    const rest = await patch(own.key, other.number.id, { labels: ['a=b'] });
    expect([rest.status, rest.body['code']]).toEqual([404, 'NUMBER_NOT_FOUND']);
    expect(await readChanges(other)).toEqual([]);
  });

  test('a command of the operator is recorded as one', async () => {
    const stage = await openStage();
    const { toOperatorAccess } = await import('../../src/numbers/numbers.ts');
    const { operations } = gateway.gateway;
    await operations.operate(toOperatorAccess(stage.tenant.id), {
      id: stage.number.id,
      labels: ['a=b'],
    });
    const [change] = await readChanges(stage);
    expect(change).toMatchObject({
      source: 'COMMAND_LINE',
      actor: { type: 'COMMAND_LINE', key: null },
    });
  });
});

describe('a mutation', () => {
  test('is refused over GET, also as a persisted query', async () => {
    const stage = await openStage();
    const { number, key } = stage;
    const query = `mutation { labelNumber(input: { id: "${number.id}", labels: ["a=b"] }) { number { id } } }`;
    const sha256Hash = hash('sha256', query, 'hex');
    const extensions = JSON.stringify({ persistedQuery: { version: 1, sha256Hash } });
    const send = async (parameters: Record<string, string>) => {
      const reply = await gateway.rest(`/graphql?${new URLSearchParams(parameters)}`, { key });
      return [reply.status, reply.headers.get('allow')];
    };
    expect(await send({ query })).toEqual([405, 'POST']);
    expect(await send({ query, extensions })).toEqual([405, 'POST']);
    expect(await send({ extensions })).toEqual([405, 'POST']);
    expect(await readChanges(stage)).toEqual([]);
  });

  test('works as a persisted query over POST, each time', async () => {
    const stage = await openStage();
    const { number, sibling, key } = stage;
    const query = `mutation ($id: ID!) { labelNumber(input: { id: $id, labels: ["a=b"] }) { number { id } } }`;
    const extensions = { persistedQuery: { version: 1, sha256Hash: hash('sha256', query, 'hex') } };
    const send = (body: object) =>
      gateway.rest('/graphql', {
        method: 'POST',
        key,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    await send({ query, extensions, variables: { id: number.id } });
    const reply = await send({ extensions, variables: { id: sibling.id } });
    expect(reply.body).toEqual({ data: { labelNumber: { number: { id: sibling.id } } } });
    expect((await readChanges(stage)).map(({ numberId }) => numberId)).toEqual([
      number.id,
      sibling.id,
    ]);
  });

  test.each([
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['plain text', { 'content-type': 'text/plain' }],
    ['several parts', { 'content-type': 'multipart/form-data; boundary=x' }],
  ])('is refused as %s, which another web page can send', async (_, headers) => {
    const stage = await openStage();
    const { number, key } = stage;
    const input = { id: number.id, labels: ['a=b'] };
    const reply = await gateway.graphql(labelDocument, { key, variables: { input }, headers });
    expect(reply.status).toBe(400);
    const rest = await patch(key, number.id, { labels: ['a=b'] }, headers);
    expect([rest.status, rest.body['code']]).toEqual([400, 'INVALID_REQUEST']);
    expect(await readChanges(stage)).toEqual([]);
  });

  test('is executed each time, however its keyword is written in the body', async () => {
    const stage = await openStage();
    const { number, key } = stage;
    const send = async (labels: readonly string[], spelling: string) => {
      const query = `mutation { labelNumber(input: { id: "${number.id}", labels: ${JSON.stringify(labels)} }) { number { labels } } }`;
      const body = JSON.stringify({ query }).replace('mutation', spelling);
      return await gateway.rest('/graphql', {
        method: 'POST',
        key,
        body,
        headers: { 'content-type': 'application/json' },
      });
    };
    for (const spelling of [
      'mutation',
      String.raw`\u006dutation`,
      String.raw`m\u0075tatio\u006E`,
    ]) {
      for (const labels of [['a=1'], ['a=2']]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const { body } = await send(labels, spelling);
        expect(body).toEqual({ data: { labelNumber: { number: { labels } } } });
      }
    }
  });

  test('of an operation with several runs after the one before, and its payload shows its own effect', async () => {
    const { number, key } = await openStage();
    const change = (labels: string) =>
      `labelNumber(input: { id: "${number.id}", labels: ${labels} }) { number { labels } }`;
    const query = `mutation { a: ${change('["x=1"]')} b: ${change('["x=bad,"]')} c: ${change('["x=2"]')} }`;
    const { body } = await gateway.graphql(query, { key });
    expect(body.data).toEqual({
      a: { number: { labels: ['x=1'] } },
      b: null,
      c: { number: { labels: ['x=2'] } },
    });
  });

  test('has its price, which is charged before it runs', async () => {
    const { number, key } = await openStage();
    const { body } = await mute(
      key,
      { id: number.id, until: null },
      { headers: { 'x-include-cost': '1' } },
    );
    // The request, the mutation, and the number of its payload.
    expect(body.extensions).toMatchObject({ cost: { requested: 7, actual: 7 } });
  });
});

describe('PATCH /v1/numbers/{id}', () => {
  test('changes what is sent, leaves the rest, and answers with the number', async () => {
    const stage = await openStage();
    const { number, key, tenant } = stage;
    const detail = await tenant.rest(`/v1/numbers/${number.id}`);
    const labelled = await patch(key, number.id, { labels: ['team=a'] });
    expect(labelled.status).toBe(200);
    expect(labelled.headers.get('etag')).toBeNull();
    expect(labelled.body).toEqual({
      ...detail.body,
      updatedAt: expect.any(String),
      labels: ['team=a'],
      mutedUntil: null,
      muteNote: null,
    });
    const until = '2026-12-01T00:00:00.000Z';
    const muted = await patch(key, number.id, { mutedUntil: until, muteNote: 'Why' });
    expect(muted.body).toMatchObject({ labels: ['team=a'], mutedUntil: until, muteNote: 'Why' });
    const ended = await patch(key, number.id, { mutedUntil: null });
    expect(ended.body).toMatchObject({ labels: ['team=a'], mutedUntil: null, muteNote: null });
    const included = await tenant.rest(`/v1/numbers/${number.id}?include=operations`);
    expect(included.body).toEqual(ended.body);
    expect((await readChanges(stage)).map(({ kind, actor }) => [kind, actor])).toEqual([
      ['LABELS', byKey],
      ['MUTE', byKey],
      ['MUTE', byKey],
    ]);
  });

  test('is not answered with 304', async () => {
    const { number, key } = await openStage();
    const reply = await patch(key, number.id, { labels: [] }, { 'if-none-match': '*' });
    expect(reply.status).toBe(200);
  });

  test.each<readonly [string, unknown]>([
    ['no JSON', '{'],
    ['a list', []],
    ['no member', {}],
    ['an unknown member', { labels: [], name: 'x' }],
    ['labels that are no list', { labels: 'team=a' }],
    ['labels that are no texts', { labels: [1] }],
    ['a time that is no text', { mutedUntil: 1 }],
    ['a date without a time', { mutedUntil: '2026-12-01' }],
    ['a note alone', { muteNote: 'x' }],
    ['a note that is no text', { mutedUntil: '2026-12-01T00:00:00Z', muteNote: 1 }],
  ])('refuses %s', async (_, body) => {
    const stage = await openStage();
    const reply = await patch(stage.key, stage.number.id, body);
    expect([reply.status, reply.body['code']]).toEqual([400, 'INVALID_REQUEST']);
    expect(await readChanges(stage)).toEqual([]);
  });
});

const readViewer = async (key: string) =>
  (await gateway.graphql('{ viewer { tenantName scopes numberId } }', { key })).body.data;

test('viewer tells the tenant and the scopes of the key, also after another key has asked', async () => {
  const { tenant, number, key } = await openStage();
  const { key: ofNumber } = await tenant.addKey({ numberId: number.id, scopes: ['operate'] });
  const scopes = ['OPERATE', 'READ'];
  const readAll = async () => {
    // Responses are cached once every change of the tenant was announced.
    await gateway.database.changes.catchUp();
    return await Promise.all([tenant.key, key, ofNumber].map(readViewer));
  };
  const expected = [
    { viewer: { tenantName: 'Acme', scopes: ['READ'], numberId: null } },
    { viewer: { tenantName: 'Acme', scopes, numberId: null } },
    { viewer: { tenantName: 'Acme', scopes, numberId: number.id } },
  ];
  expect(await readAll()).toEqual(expected);
  expect(await readAll()).toEqual(expected);
});
