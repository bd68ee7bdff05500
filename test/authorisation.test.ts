// Who may ask what: a matrix of every field of Query and every route with every kind of key. What is offered is read
// from the schema and from the route table, so that nothing can be added without saying here who may have it.

import {
  type GraphQLField,
  type GraphQLOutputType,
  getNamedType,
  isObjectType,
  isRequiredArgument,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../src/access/key.ts';
import { schema } from '../src/graphql/schema.ts';
import { openTestGateway, type Reply, type TestGateway, type TestNumber } from './harness.ts';

/** What an operation shows to a key that is accepted. */
type Expectation = 'all numbers of the tenant' | 'one number of the tenant' | 'a document';

const expectations: Readonly<Record<string, Expectation>> = {
  'query numbers': 'all numbers of the tenant',
  'query number(id)': 'one number of the tenant',
  'query number(id, refresh)': 'one number of the tenant',
  'GET /v1/numbers': 'all numbers of the tenant',
  'GET /v1/numbers/{id}': 'one number of the tenant',
  'GET /v1/numbers/{id}?refresh=1': 'one number of the tenant',
  'GET /v1/numbers/{id}/status': 'one number of the tenant',
  'GET /v1/openapi.json': 'a document',
};

interface Operation {
  readonly name: string;
  ask(key: string | null, id: string): Promise<Reply<unknown>>;
}

let gateway: TestGateway;
let operations: ReadonlyMap<string, Operation>;
let own: TestNumber;
let sibling: TestNumber;
let foreign: TestNumber;
/** By the words of the matrix; null sends no header. */
let keys: Readonly<Record<string, string | null>>;

const refused = ['no key', 'empty', 'malformed', 'bad checksum', 'unknown', 'revoked', 'expired'];
const accepted = ['tenant key', 'number key', 'key of another number'];
const foreignKeys = ['other tenant’s key', 'other tenant’s number key'];

beforeAll(async () => {
  gateway = await openTestGateway({
    database: 'PostgreSQL',
    environment: { KEY_FAILURES_PER_MINUTE: '0' },
  });
  const [tenant, other] = [await gateway.addTenant('Own'), await gateway.addTenant('Foreign')];
  own = await tenant.addNumber({ name: 'Own number' });
  sibling = await tenant.addNumber({ name: 'Sibling number' });
  foreign = await other.addNumber({ name: 'Foreign number' });
  const revoked = await tenant.addKey();
  await gateway.access.revokeKey(revoked.id);
  const wellFormed = createKey();
  keys = {
    'no key': null,
    empty: '',
    malformed: 'ps_short',
    // A key of the right shape whose last character is another one.
    'bad checksum': `${wellFormed.slice(0, -1)}${wellFormed.endsWith('0') ? '1' : '0'}`,
    unknown: wellFormed,
    revoked: revoked.key,
    expired: (await tenant.addKey({ expiresAt: new Date(Date.now() - 1_000) })).key,
    'other tenant’s key': other.key,
    'other tenant’s number key': (await other.addKey({ numberId: foreign.id })).key,
    'number key': (await tenant.addKey({ numberId: own.id })).key,
    'key of another number': (await tenant.addKey({ numberId: sibling.id })).key,
    'tenant key': tenant.key,
  };
  const listed = [...listQueries(), ...(await listRoutes(tenant.key))];
  operations = new Map(listed.map((operation) => [operation.name, operation]));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

/** Each field with its required arguments alone, and once more with each of the others. */
function listQueries(): readonly Operation[] {
  const fields = Object.values(schema.getQueryType()?.getFields() ?? {});
  return fields.flatMap((field) => {
    const required = field.args.filter(isRequiredArgument).map(({ name }) => name);
    const optional = field.args.filter((argument) => !isRequiredArgument(argument));
    const more = optional.map(({ name }) => toQuery(field, required.concat(name)));
    return [toQuery(field, required)].concat(more);
  });
}

/** Values for arguments by name: one that is not listed has none, and its operation fails. */
const values: Readonly<Record<string, string>> = { id: '$id', refresh: 'true' };

function toQuery(field: GraphQLField<unknown, unknown>, names: readonly string[]): Operation {
  const given = names.map((name) => `${name}: ${values[name]}`).join(', ');
  const variables = names.includes('id') ? '($id: ID!)' : '';
  const call = `${field.name}${given && `(${given})`}${toSelection(field.type, 3)}`;
  const query = `query${variables} { ${call} }`;
  return {
    name: `query ${field.name}${names.length > 0 ? `(${names.join(', ')})` : ''}`,
    ask: (key, id) =>
      gateway.graphql(query, {
        variables: { id },
        headers: key === null ? {} : { 'x-api-key': key },
      }),
  };
}

/** All that can be selected without an argument, this deep. */
function toSelection(type: GraphQLOutputType, depth: number): string {
  const named = getNamedType(type);
  if (!isObjectType(named)) return '';
  const members = Object.values(named.getFields())
    .filter((field) => depth > 1 || !isObjectType(getNamedType(field.type)))
    .map((field) => `${field.name}${toSelection(field.type, depth - 1)}`);
  return ` { ${members.join(' ')} }`;
}

interface Described {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<Record<string, { readonly parameters?: readonly { name: string; in: string }[] }>>
    >
  >;
}

/** Each route, and once more with each of its query parameters. */
async function listRoutes(key: string): Promise<readonly Operation[]> {
  const { body } = await gateway.rest<Described>('/v1/openapi.json', { key });
  return Object.entries(body.paths)
    .filter(([path]) => path.startsWith('/v1/'))
    .flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => /^(get|post|put|patch|delete)$/.test(method))
        .flatMap(([method, { parameters = [] }]) => {
          const inQuery = parameters.filter((parameter) => parameter.in === 'query');
          return ['', ...inQuery.map(({ name }) => `?${name}=1`)].map((query) =>
            toRoute(method.toUpperCase(), path, query),
          );
        }),
    );
}

function toRoute(method: string, path: string, query: string): Operation {
  return {
    name: `${method} ${path}${query}`,
    ask: (key, id) =>
      gateway.rest(`${path.replace('{id}', encodeURIComponent(id))}${query}`, {
        method,
        headers: key === null ? {} : { 'x-api-key': key },
      }),
  };
}

/** Everything of a reply that a caller can compare, without what is its own: request id, and times of the clock. */
function toComparable({ status, headers, text }: Reply<unknown>): unknown {
  const requestId = headers.get('x-request-id') ?? '';
  const shown = [...headers].filter(([name]) => !/^(x-request-id|date|ratelimit.*)$/.test(name));
  return { status, headers: Object.fromEntries(shown), text: text.replaceAll(requestId, 'ID') };
}

function toCode({ body }: Reply<unknown>): unknown {
  const { code, errors } = body as {
    code?: string;
    errors?: readonly { extensions?: { code?: string } }[];
  };
  return code ?? errors?.[0]?.extensions?.code;
}

test('nothing is offered without an expectation, and nothing expected is missing', () => {
  expect([...operations.keys()].toSorted()).toEqual(Object.keys(expectations).toSorted());
});

describe.each(Object.entries(expectations))('%s', (name, expectation) => {
  const ask = async (words: string, id: string): Promise<Reply<unknown>> => {
    const operation = operations.get(name);
    if (operation === undefined) throw new Error(`${name} is not offered`);
    // One whose words are not in the matrix would be no key at all.
    if (!(words in keys)) throw new Error(`there is no key for: ${words}`);
    return await operation.ask(keys[words] ?? null, id);
  };

  test.each(refused)('%s: refused like no key at all, and nothing is read', async (words) => {
    const without = toComparable(await ask('no key', own.id));
    gateway.simulator.clearCalls();
    gateway.clearStatements();
    const reply = await ask(words, own.id);
    expect(reply.status).toBe(401);
    expect(toCode(reply)).toBe('UNAUTHENTICATED');
    expect(toComparable(reply)).toEqual(without);
    expect(gateway.simulator.calls).toEqual([]);
    const isWellFormed = ['unknown', 'revoked', 'expired'].includes(words);
    expect(gateway.statements.length).toBeLessThanOrEqual(isWellFormed ? 1 : 0);
  });

  test.each(accepted)('%s: answered with the tenant’s own', async (words) => {
    const reply = await ask(words, own.id);
    expect([reply.status, toCode(reply)]).toEqual([200, undefined]);
    expect(reply.text.includes(own.id)).toBe(expectation !== 'a document');
    expect(reply.text.includes(sibling.id)).toBe(expectation === 'all numbers of the tenant');
    expect(reply.text).not.toContain(foreign.id);
    expect(reply.text).not.toContain('Foreign number');
  });

  test.each(foreignKeys)('%s: answered without anything of ours', async (words) => {
    const reply = await ask(words, own.id);
    expect(reply.text).not.toContain(own.id);
    expect(reply.text).not.toContain('Own number');
    expect(toCode(reply)).toBe(
      expectation === 'one number of the tenant' ? 'NUMBER_NOT_FOUND' : undefined,
    );
    expect(reply.text.includes(foreign.id)).toBe(expectation === 'all numbers of the tenant');
  });

  test.skipIf(expectation !== 'one number of the tenant')(
    'a foreign id answers like a random one, byte for byte but the request id, and costs the same',
    async () => {
      const random = `wa_${'0123456789abcdef'.repeat(2)}`;
      const look = async (id: string) => {
        gateway.simulator.clearCalls();
        gateway.clearStatements();
        const reply = toComparable(await ask('tenant key', id));
        return { reply, statements: [...gateway.statements], calls: [...gateway.simulator.calls] };
      };
      // The first use of a key may be noted; it is not what is compared.
      await ask('tenant key', random);
      const [ofForeign, ofRandom] = [await look(foreign.id), await look(random)];
      expect(ofForeign).toEqual(ofRandom);
      expect(ofForeign.calls).toEqual([]);
    },
  );
});

test('HEAD is refused as GET is', async () => {
  for (const words of refused) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.rest('/v1/numbers', {
      method: 'HEAD',
      headers: keys[words] ? { 'x-api-key': keys[words] } : {},
    });
    expect([words, reply.status, reply.text]).toEqual([words, 401, '']);
  }
});
