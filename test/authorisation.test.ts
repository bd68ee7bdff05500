// Who may ask what: a matrix of every field of every type and every route with every kind of key. What is offered is
// read from the schema, from the route table and from the source of the server, so that nothing can be added without
// saying here who may have it.

import { readFileSync } from 'node:fs';
import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLOutputType,
  getNamedType,
  isObjectType,
  isRequiredArgument,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  TypeNameMetaFieldDef,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../src/access/key.ts';
import { schema } from '../src/graphql/schema.ts';
import { listen } from '../src/http/server.ts';
import {
  createDigits,
  openTestGateway,
  type Reply,
  type TestGateway,
  type TestNumber,
} from './harness.ts';

/** What an operation shows to a key that is accepted. */
type Expectation = 'all numbers of the tenant' | 'one number of the tenant' | 'a document';

const expectations: Readonly<Record<string, Expectation>> = {
  'query numbers': 'all numbers of the tenant',
  'query number(id)': 'one number of the tenant',
  'query number(id, refresh)': 'one number of the tenant',
  'query __schema': 'a document',
  'query __type(name)': 'a document',
  'query __typename': 'a document',
  'GET /v1/numbers': 'all numbers of the tenant',
  'GET /v1/numbers/{id}': 'one number of the tenant',
  'GET /v1/numbers/{id}?refresh=1': 'one number of the tenant',
  'GET /v1/numbers/{id}/status': 'one number of the tenant',
  'GET /v1/openapi.json': 'a document',
};

/** What each type shows to a key that is accepted, and which fields it has: these and no other. */
const types: Readonly<Record<string, { readonly shows: Expectation; readonly fields: string }>> = {
  Query: {
    shows: 'all numbers of the tenant',
    fields: 'numbers number',
  },
  WhatsAppNumber: {
    shows: 'one number of the tenant',
    fields: `id instanceName number name provider state isFullyConnected apiKeys health meta createdAt
      updatedAt`,
  },
  ApiKeyHint: {
    shows: 'one number of the tenant',
    fields: 'name keyPrefix keyLast4',
  },
  NumberHealth: {
    shows: 'one number of the tenant',
    fields: `qualityRating qualityRatingRaw messagingLimitTier messagingLimitTierRaw metaStatus
      metaStatusRaw sendable sendability freshness`,
  },
  Sendability: {
    shows: 'one number of the tenant',
    fields: 'verdict reasons',
  },
  Reason: {
    shows: 'one number of the tenant',
    fields: 'entity entityId field value code text solution effect blocks',
  },
  Freshness: {
    shows: 'one number of the tenant',
    fields: 'observedAt attemptedAt ageSeconds source stale error',
  },
  UpstreamFailure: {
    shows: 'one number of the tenant',
    fields: 'code message transient retryAt metaCode metaSubcode fbtraceId',
  },
  MetaDetails: {
    shows: 'one number of the tenant',
    fields: 'fetchedAt phone profile waba',
  },
  MetaPhone: {
    shows: 'one number of the tenant',
    fields: `displayPhoneNumber verifiedName qualityRating qualityRatingRaw messagingLimitTier
      messagingLimitTierRaw isPinEnabled status statusRaw nameStatus nameStatusRaw
      codeVerificationStatus codeVerificationStatusRaw platformType platformTypeRaw
      throughputLevel throughputLevelRaw accountMode accountModeRaw lastOnboardedAt
      isOfficialBusinessAccount isOnBusinessApp freshness`,
  },
  MetaProfile: {
    shows: 'one number of the tenant',
    fields:
      'about email websites vertical verticalRaw address description profilePictureUrl freshness',
  },
  MetaWaba: {
    shows: 'one number of the tenant',
    fields: `id name currency businessVerificationStatus businessVerificationStatusRaw country
      accountReviewStatus accountReviewStatusRaw messagingLimitTier messagingLimitTierRaw
      ownershipType ownershipTypeRaw ownerBusinessName timezoneId freshness`,
  },
};

/** Who is answered what at the routes that the route table does not have. None of them looks at the key. */
const openRoutes: Readonly<Record<string, { readonly production: number; readonly page: number }>> =
  {
    'GET /livez': { production: 200, page: 200 },
    'GET /readyz': { production: 200, page: 200 },
    'GET /metrics': { production: 200, page: 200 },
    // The page of GraphiQL, where it is switched on; what it sends needs a key like anything else.
    'GET /graphql': { production: 405, page: 200 },
    'GET /': { production: 404, page: 404 },
    'GET /openapi.json': { production: 404, page: 404 },
    'GET /v1/nothing': { production: 404, page: 404 },
  };

interface Operation {
  readonly name: string;
  ask(key: string | null, id: string): Promise<Reply<unknown>>;
}

/** Of all gateways here, so that each knows the keys. */
const environment = { KEY_FAILURES_PER_MINUTE: '0', API_KEY_PEPPER: 'p'.repeat(32) };

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
    environment,
  });
  const [tenant, other] = [await gateway.addTenant('Own'), await gateway.addTenant('Foreign')];
  // Its account is not to be read and its phone has something to say, so that there is one of each type to see.
  own = await tenant.addNumber({
    name: 'Own number',
    wabaId: createDigits(),
    phone: { status: 'FLAGGED' },
  });
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
  const fields = [
    ...Object.values(schema.getQueryType()?.getFields() ?? {}),
    // They are in no type, and can be asked for at the root.
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
  ];
  return fields.flatMap((field) => {
    const required = field.args.filter(isRequiredArgument).map(({ name }) => name);
    const optional = field.args.filter((argument) => !isRequiredArgument(argument));
    const more = optional.map(({ name }) => toQuery(field, required.concat(name)));
    return [toQuery(field, required)].concat(more);
  });
}

/** Values for arguments by name: one that is not listed has none, and its operation fails. */
const values: Readonly<Record<string, string>> = {
  id: '$id',
  refresh: 'true',
  name: '"WhatsAppNumber"',
};

function toQuery(field: GraphQLField<unknown, unknown>, names: readonly string[]): Operation {
  const given = names.map((name) => `${name}: ${values[name]}`).join(', ');
  const variables = names.includes('id') ? '($id: ID!)' : '';
  // The types of introspection lead to each other, and lists within lists of them are refused.
  const depth = field.name.startsWith('__') ? 2 : 3;
  const call = `${field.name}${given && `(${given})`}${toSelection(field.type, depth)}`;
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

function listTypes(): readonly GraphQLObjectType[] {
  return Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter(({ name }) => !name.startsWith('__'));
}

test('there is no type without an expectation, and each that is expected is there', () => {
  const offered = listTypes().map(({ name }) => name);
  expect(offered.toSorted()).toEqual(Object.keys(types).toSorted());
});

/** All ways to a type, and there its own values alone; '' where no way leads to it. */
function toWays(from: GraphQLObjectType, to: GraphQLObjectType): string {
  const fields = Object.values(from.getFields());
  const leaves = fields
    .filter(({ type }) => from === to && !isObjectType(getNamedType(type)))
    .map(({ name }) => name);
  const ways = fields.flatMap(({ name, type }) => {
    const next = getNamedType(type);
    if (!isObjectType(next)) return [];
    // What is found in the type itself is asked for without its values, of which others are the matter.
    const way = from === to ? ' { __typename }' : toWays(next, to);
    return way === '' ? [] : [`${name}${way}`];
  });
  const members = [...leaves, ...ways];
  return members.length === 0 ? '' : ` { __typename ${members.join(' ')} }`;
}

/** All objects of a type in an answer. */
function listObjects(within: unknown, type: string): readonly Readonly<Record<string, unknown>>[] {
  if (typeof within !== 'object' || within === null) return [];
  const here = within as Readonly<Record<string, unknown>>;
  const below = Object.values(here).flatMap((member) => listObjects(member, type));
  return here['__typename'] === type ? [here, ...below] : below;
}

describe.each(Object.entries(types))('the fields of %s', (typeName, { shows, fields }) => {
  const ask = async (words: string, id: string) => {
    const type = listTypes().find(({ name }) => name === typeName);
    const root = schema.getType('WhatsAppNumber');
    if (type === undefined || !isObjectType(root)) throw new Error(`${typeName} is not offered`);
    if (!(words in keys)) throw new Error(`there is no key for: ${words}`);
    const key = keys[words] ?? null;
    const asked =
      type === schema.getQueryType()
        ? 'numbers { id name } number(id: $id) { id name }'
        : `number(id: $id)${toWays(root, type)}`;
    return await gateway.graphql(`query($id: ID!) { __typename ${asked} }`, {
      variables: { id },
      headers: key === null ? {} : { 'x-api-key': key },
    });
  };
  const expected = fields.trim().split(/\s+/);

  test('are those that are expected', () => {
    const type = schema.getType(typeName);
    expect(isObjectType(type) && Object.keys(type.getFields()).toSorted()).toEqual(
      expected.toSorted(),
    );
  });

  test('are refused to whoever has no key that counts, like to one without a key', async () => {
    const without = await ask('no key', own.id);
    for (const words of refused) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await ask(words, own.id);
      expect([words, reply.status, reply.body.data ?? null]).toEqual([words, 401, null]);
      expect(toComparable(reply)).toEqual(toComparable(without));
    }
  });

  test('are seen, each of them, by the keys of the tenant', async () => {
    for (const words of accepted) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await ask(words, own.id);
      expect([words, reply.status, toCode(reply)]).toEqual([words, 200, undefined]);
      const seen = listObjects(reply.body.data, typeName);
      expect(seen.length).toBeGreaterThan(0);
      for (const object of seen)
        expect(Object.keys(object)).toEqual(expect.arrayContaining(expected));
      expect(reply.text.includes(sibling.id)).toBe(shows === 'all numbers of the tenant');
      expect(reply.text).not.toContain(foreign.id);
    }
  });

  test('are not seen by the keys of others: a number of ours is like one that is not there', async () => {
    const random = `wa_${'0123456789abcdef'.repeat(2)}`;
    for (const words of foreignKeys) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const [reply, ofRandom] = [await ask(words, own.id), await ask(words, random)];
      expect([words, toCode(reply)]).toEqual([words, 'NUMBER_NOT_FOUND']);
      expect(reply.body.data?.['number'] ?? null).toBeNull();
      expect(toComparable(reply)).toEqual(toComparable(ofRandom));
      expect(reply.text).not.toContain(own.id);
      expect(reply.text).not.toContain('Own number');
    }
  });
});

describe('the routes outside of the route table', () => {
  test('are those that the sources of the server and of the pipeline name', () => {
    const sources = ['http/server', 'http/pipeline'].map((name) =>
      readFileSync(new URL(`../src/${name}.ts`, import.meta.url), 'utf8'),
    );
    const named = new Set(sources.join('\n').match(/(?<=')\/[a-z][\w/.-]*(?=')/g));
    expect(named.size).toBeGreaterThan(3);
    expect(Object.keys(openRoutes)).toEqual(
      expect.arrayContaining([...named].map((path) => `GET ${path}`)),
    );
  });

  test.each(['production', 'page'] as const)('answer the same to every key: %s', async (kind) => {
    await using other = await openTestGateway({
      database: gateway.database,
      environment: { ...environment, GRAPHIQL: kind === 'page' ? 'on' : 'off' },
    });
    const server = await listen(other.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
    try {
      for (const [route, expected] of Object.entries(openRoutes)) {
        for (const [words, key] of Object.entries(keys)) {
          const [method = '', path = ''] = route.split(' ');
          const headers = { accept: 'text/html', ...(key !== null && { 'x-api-key': key }) };
          // oxlint-disable-next-line no-await-in-loop -- one after the other
          const reply = await fetch(server.url + path, { method, headers });
          // oxlint-disable-next-line no-await-in-loop -- see above
          const text = await reply.text();
          expect([route, words, reply.status]).toEqual([route, words, expected[kind]]);
          const secrets = [own, sibling, foreign].flatMap(({ id, number }) => [id, number]);
          secrets.push(own.phoneNumberId, 'Own number', 'Foreign number', ...(key ? [key] : []));
          // Not as `toContain`, which would show the whole page.
          expect(secrets.filter((word) => text.includes(word))).toEqual([]);
        }
      }
    } finally {
      await server.drain();
    }
  });
});
