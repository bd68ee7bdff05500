// What the log line of a request says about the caller's operation and program, and that it is bounded and redacted.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import {
  openTestDatabase,
  openTestGateway,
  type SendOptions,
  type TestGateway,
  type TestTenant,
} from '../harness.ts';

let gateway: TestGateway;
let tenant: TestTenant;
beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** The last request in the log. */
function readLast({ logLines }: TestGateway): Readonly<Record<string, unknown>> {
  const line = logLines.findLast((text) => text.includes('"request completed"')) ?? '{}';
  return JSON.parse(line);
}

const apollo = {
  'apollographql-client-name': 'dashboard',
  'apollographql-client-version': '1.4.0',
};

test('a line has the name of the GraphQL operation and of the client, whether or not the response was cached', async () => {
  // With a clock that stands still, the feed stays current however busy the machine is.
  await using database = await openTestDatabase('PGlite', { changeFeed: { clock: () => 0 } });
  await using cached = await openTestGateway({ database, environment: { ANSWER_CACHE_MB: '32' } });
  const asker = await cached.addTenant();
  await database.changes.catchUp();
  const query = 'query Fleet { numbers { id } } query Other { numbers { name } }';
  const expected = {
    operation: 'numbers',
    operationName: 'Fleet',
    clientName: 'dashboard',
    clientVersion: '1.4.0',
  };
  for (let time = 0; time < 2; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- in sequence
    await asker.graphql(query, { operationName: 'Fleet', headers: apollo });
    expect(readLast(cached)).toMatchObject(expected);
  }
  const { text } = await cached.gateway.metrics!.render();
  expect(text).toContain('gateway_answers_total{source="memory"} 1');
  for (const label of ['Fleet', 'dashboard', '1.4.0']) expect(text).not.toContain(label);
});

test('a line has the name of an operation that is invalid, and null for one without a name', async () => {
  await tenant.graphql('query Broken { nothing }');
  expect(readLast(gateway)).toMatchObject({ operationName: 'Broken', clientName: null });
  await tenant.graphql('{ numbers { id } }');
  expect(readLast(gateway)).toMatchObject({ operationName: null, clientVersion: null });
});

describe('the client is named by', () => {
  test.each([
    ['Apollo', apollo],
    ['Cosmo and others', { 'graphql-client-name': 'dashboard', 'graphql-client-version': '1.4.0' }],
    ['Hive', { 'x-graphql-client-name': 'dashboard', 'x-graphql-client-version': '1.4.0' }],
  ])('the headers of %s, over REST and without a key too', async (_, headers) => {
    const expected = { operationName: null, clientName: 'dashboard', clientVersion: '1.4.0' };
    expect((await gateway.rest('/v1/numbers', { headers })).status).toBe(401);
    expect(readLast(gateway)).toMatchObject(expected);
    await tenant.rest('/v1/numbers', { headers });
    expect(readLast(gateway)).toMatchObject(expected);
  });
});

const logAs = async (name: string, options: Pick<SendOptions, 'headers'>) => {
  await tenant.graphql(`query ${name} { numbers { id } }`, options);
  return readLast(gateway);
};

describe('text of a caller', () => {
  test('is cut after 64 characters, and unusual characters are replaced', async () => {
    const line = await logAs(`Q${'x'.repeat(99)}`, {
      headers: {
        'apollographql-client-name': `a\u00e9"\u0085\u00ff{ }${'b'.repeat(200)}`,
        'apollographql-client-version': '1.0 (beta), a/b@c:d+e_f-g',
      },
    });
    expect(line).toMatchObject({
      operationName: `Q${'x'.repeat(63)}`,
      clientName: `a????? ?${'b'.repeat(56)}`,
      clientVersion: '1.0 (beta), a/b@c:d+e_f-g',
    });
  });

  test('is redacted before it is cut, so that no part of a key is left', async () => {
    const key = createKey();
    const line = await logAs(`${'x'.repeat(50)}${key}`, {
      headers: { 'graphql-client-name': `${'y'.repeat(50)}${key}` },
    });
    expect(line).toMatchObject({
      operationName: `${'x'.repeat(50)}ps_[redacted]`,
      clientName: `${'y'.repeat(50)}ps_[redacted]`,
    });
    expect(JSON.stringify(line)).not.toContain(key.slice(3, 12));
  });
});
