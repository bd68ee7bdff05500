// Generates hostile requests to both APIs from a seed, so that a harmful one can be reproduced.

/** As it is sent; the body may be binary. */
export interface HostileRequest {
  /** What the request tries, for the report. */
  readonly kind: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
}

/** What the attacker knows. */
export interface Knowledge {
  readonly key: string;
  readonly ownIds: readonly string[];
  /** Ids of numbers of another tenant. */
  readonly foreignIds: readonly string[];
}

export interface Chance {
  /** From 0 to below `limit`. */
  below(limit: number): number;
  pick<T>(options: readonly T[]): T;
  percent(share: number): boolean;
}

/** https://github.com/cprosche/mulberry32 */
export function createChance(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return {
    below,
    // The index is below the length.
    pick: (options) => options[below(options.length)]!,
    percent: (share) => below(100) < share,
  };
}

type CreateText = (chance: Chance, known: Knowledge) => string;

const repeat = (count: number, toText: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => toText(index)).join(' ');

/**
 * Each returns a selection on Query that contains something `count` times. They include the thirteen checks of
 * https://github.com/dolevf/graphql-cop.
 */
const overloads: Readonly<Record<string, (count: number) => string>> = {
  aliases: (count) => repeat(count, (index) => `a${index}: __typename`),
  'field duplication': (count) => repeat(count, () => '__typename'),
  'nested duplication': (count) => repeat(count, () => 'numbers { health { sendable } }'),
  'directive overload': (count) => `__typename ${repeat(count, () => '@skip(if: false)')}`,
  'unknown directives': (count) => `__typename ${repeat(count, () => '@aa')}`,
  'circular introspection': (count) =>
    `__schema { types { ${'fields { type { '.repeat(count)} name ${'} }'.repeat(count)} } }`,
  'circular ofType': (count) =>
    `__type(name: "Query") { ${'ofType { '.repeat(count)} name ${'}'.repeat(count)} }`,
  'aliased introspection': (count) =>
    repeat(count, (index) => `s${index}: __schema { types { name fields { name } } }`),
  'aliased lists': (count) =>
    repeat(
      count,
      (index) => `n${index}: numbers { id name health { sendable } meta { fetchedAt } }`,
    ),
  'conflicting fields': (count) =>
    repeat(count, (index) => `x: ${index % 2 ? 'numbers' : '__schema'}`),
  'deep selection': (count) => `${'numbers { '.repeat(count)} id ${'}'.repeat(count)}`,
  'deep list': (count) => `number(id: ${'['.repeat(count)}${']'.repeat(count)}) { id }`,
  'deep object': (count) => `number(id: ${'{a: '.repeat(count)}1${'}'.repeat(count)}) { id }`,
  'inline fragments': (count) =>
    `${'... on Query { '.repeat(count)} __typename ${'}'.repeat(count)}`,
  'huge string': (count) => `number(id: "${'x'.repeat(count * 100)}") { id }`,
  'block string': (count) => `number(id: """${'\n  "'.repeat(count)}""") { id }`,
  'field suggestions': () => 'numbes { ids } numbers { nam healt }',
  'unknown mutations': (count) => repeat(count, (at) => `m${at}: deleteNumber(id: ${at})`),
  'many mutations': (count) =>
    repeat(
      count,
      (at) => `m${at}: labelNumber(input: {id: "${at}", labels: []}) { number { id } }`,
    ),
};

/** Documents that contain the selection where a naive check would miss it. */
const disguises: readonly ((selection: string) => string)[] = [
  (selection) => `{ ${selection} }`,
  (selection) => `{ ${selection} ${selection} }`,
  (selection) => `query A { __typename } query B { ${selection} }`,
  (selection) => `{ ...F } fragment F on Query { ${selection} }`,
  (selection) => `{ ...F ...F } fragment F on Query { ...G } fragment G on Query { ${selection} }`,
  (selection) => `{ ... on Query { ... @include(if: true) { ${selection} } } }`,
  (selection) => `query ($on: Boolean! = true) { ... @include(if: $on) { ${selection} } }`,
  (selection) => `{ __typename } fragment Unused on Query { ${selection} }`,
  (selection) => `mutation { ${selection} }`,
  (selection) => `subscription { ${selection} }`,
];

const bombs: Readonly<Record<string, (count: number) => string>> = {
  'cyclic fragments': (count) =>
    `{ ...F0 } ${repeat(count, (at) => `fragment F${at} on Query { ...F${(at + 1) % count} }`)}`,
  'all cyclic fragments': (count) => {
    const wide = Math.min(count, 40);
    const all = repeat(wide, (at) => `...F${at}`);
    return `{ ...F0 } ${repeat(wide, (at) => `fragment F${at} on Query { ${all} }`)}`;
  },
  'fanned-out fragments': (count) =>
    `{ ...F0 } ${repeat(count, (at) => `fragment F${at} on Query { ...F${at + 1} ...F${at + 1} }`)} fragment F${count} on Query { __typename }`,
  'fanned-out aliases': (count) =>
    `{ __schema { types { ...F0 } } } ${repeat(count, (at) => `fragment F${at} on __Type { a: ofType { ...F${at + 1} } b: ofType { ...F${at + 1} } }`)} fragment F${count} on __Type { name }`,
  'many operations': (count) => repeat(count, (at) => `query q${at} { __typename }`),
  'many variables': (count) => `query (${repeat(count, (at) => `$v${at}: ID`)}) { __typename }`,
  'same variable': (count) => `query (${repeat(count, () => '$v: ID')}) { __typename }`,
  'deep type': (count) => `query ($v: ${'['.repeat(count)}ID${']'.repeat(count)}) { __typename }`,
  brackets: (count) => '{'.repeat(count * 20),
  commas: (count) => `{${','.repeat(count * 50)}__typename}`,
  comments: (count) => `#${'x'.repeat(count * 50)}\n{ __typename }`,
  'type definitions': (count) => repeat(count, (at) => `type T${at} { a: Int }`),
  'unclosed string': (count) => `{ number(id: "${'\\'.repeat(count)}`,
};

const odd = [
  '\0',
  '\u0001',
  '\ud800',
  '\u202e',
  '\ufeff',
  '\u{1F4A3}',
  "' or 1=1 --",
  '%00',
  '$1',
  '../../../',
];
const scraps: readonly string[] = [
  ...'{ } ( ) [ ] : ! $ @ ... | & = "" """ # , query fragment on mutation'.split(' '),
  ...'numbers number id name refresh true null 1e400 -0 health meta __typename __proto__'.split(
    ' ',
  ),
  ...'$id $__proto__ constructor toString hasOwnProperty @include(if:$x) @defer @stream'.split(' '),
  ...odd,
];

function pickId(chance: Chance, { ownIds, foreignIds }: Knowledge): string {
  return chance.pick([
    ...ownIds,
    ...foreignIds,
    '',
    'wa_x',
    '__proto__',
    '..',
    'a'.repeat(5_000),
    ...odd,
  ]);
}

const documents: Readonly<Record<string, CreateText>> = {
  scraps: (chance) => repeat(chance.below(60), () => chance.pick(scraps)),
  overload: (chance) =>
    chance.pick(disguises)(chance.pick(Object.values(overloads))(1 + chance.below(400))),
  bomb: (chance) => chance.pick(Object.values(bombs))(2 + chance.below(300)),
  foreign: (chance, known) =>
    `{ ${repeat(1 + chance.below(12), (at) => `n${at}: number(id: ${JSON.stringify(pickId(chance, known))}, refresh: ${chance.percent(10)}) { id name number meta { waba { name } } apiKeys { name } }`)} }`,
  variables: () =>
    'query ($id: ID!, $refresh: Boolean) { number(id: $id, refresh: $refresh) { id name } }',
};

const texts = [
  ...odd,
  'team=a',
  'a='.repeat(400),
  '=',
  'k=v,',
  'x'.repeat(9_000),
  '${7*7}',
  '<b>=1',
];

/** The members of the inputs of mutations and of the bodies of REST, each right or wrong. */
function createOperation(chance: Chance, known: Knowledge): Readonly<Record<string, unknown>> {
  const many = Array.from({ length: chance.below(40) }, () => chance.pick(texts));
  const wrong = (): unknown => pickVariable(chance, known);
  const or = (value: unknown): unknown => (chance.percent(75) ? value : wrong());
  return {
    id: or(pickId(chance, known)),
    ids: or(Array.from({ length: chance.below(1_100) }, () => pickId(chance, known).slice(0, 40))),
    labels: or(many),
    until: or(chance.pick(['2027-01-01T00:00:00Z', '+275760-09-13T00:00:00Z', '0000-01-01', null])),
    note: or(chance.pick(texts)),
    filter: or({ search: chance.pick(texts), labels: many, not: { ids: many } }),
  };
}

const pickMembers = (
  chance: Chance,
  members: Readonly<Record<string, unknown>>,
  names: readonly string[],
): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    names.filter(() => chance.percent(80)).map((name) => [name, members[name] ?? null]),
  );

const mutations: Readonly<
  Record<string, readonly [members: readonly string[], selection: string]>
> = {
  labelNumber: [['id', 'labels'], '{ number { id name } }'],
  muteNumber: [['id', 'until', 'note'], '{ number { id name } }'],
  acknowledgeIncident: [['id', 'note'], '{ incident { id } }'],
  refreshNumbers: [['ids', 'filter'], '{ acceptedCount skipped { id reason } }'],
};

/** A mutation with its input as a variable. */
function createMutation(chance: Chance, known: Knowledge): Buffer {
  const [name, [members, selection]] = chance.pick(Object.entries(mutations));
  const type = `${name[0]?.toUpperCase()}${name.slice(1)}Input`;
  const input = pickMembers(chance, createOperation(chance, known), members);
  const query = `mutation ($input: ${type}!) { ${name}(input: $input) ${selection} }`;
  return Buffer.from(JSON.stringify({ query, variables: { input } }));
}

function createRestBody(chance: Chance, known: Knowledge): Buffer {
  const { until, note, ...members } = createOperation(chance, known);
  const all = { ...members, mutedUntil: until, muteNote: note };
  const names = ['labels', 'mutedUntil', 'muteNote', 'ids', 'filter'];
  const body = JSON.stringify(
    pickMembers(chance, all, chance.percent(50) ? names.slice(0, 3) : names.slice(3)),
  );
  return Buffer.from(chance.percent(85) ? body : body.slice(0, chance.below(body.length)));
}

function pickVariable(chance: Chance, known: Knowledge): unknown {
  const deep = '['.repeat(chance.below(500));
  return chance.pick<unknown>([
    pickId(chance, known),
    chance.below(1e9),
    -1.5,
    null,
    true,
    [],
    { toString: 1 },
    JSON.parse(`${deep}${']'.repeat(deep.length)}` || '0'),
    'x'.repeat(chance.below(50_000)),
  ]);
}

/** The body of an operation, well-formed or with a flaw. */
function createGraphQLBody(
  chance: Chance,
  known: Knowledge,
): readonly [kind: string, body: Buffer] {
  const [kind, createQuery] = chance.pick(Object.entries(documents));
  const query = createQuery(chance, known);
  const variables = {
    id: pickVariable(chance, known),
    refresh: chance.pick([false, 'yes', 1, null]),
  };
  const text = JSON.stringify({ query, variables });
  const flaws: Readonly<Record<string, () => string | Buffer>> = {
    array: () => `[${text},${text}]`,
    'double keys': () => `{"query":"{ __typename }",${text.slice(1)}`,
    prototype: () => `{"__proto__":{"query":"{x}"},"constructor":1,${text.slice(1)}`,
    'prototype variables': () =>
      JSON.stringify({ query }).replace(/\}$/, ',"variables":{"__proto__":{"id":"x"}}}'),
    'wrong members': () =>
      JSON.stringify({
        query: chance.pick<unknown>([query, 1, null, [], {}, true, '']),
        operationName: chance.pick<unknown>([1, {}, '__proto__', 'nobody', odd[0]]),
        variables: chance.pick<unknown>(['x', 1, [], null]),
        extensions: chance.pick<unknown>(['x', { persistedQuery: { version: 1 } }, []]),
      }),
    truncated: () => text.slice(0, chance.below(text.length)),
    trailing: () => `${text}${chance.pick(['}', '\0', 'x', text])}`,
    'byte order mark': () => `\ufeff${text}`,
    'not UTF-8': () =>
      Buffer.concat([Buffer.from(text.slice(0, -2)), Buffer.from([0xff, 0xc0, 0xfe])]),
    'not JSON': () =>
      chance.pick(['', 'null', '1', '"x"', 'NaN', '{', '[[[[', 'query=%7B__typename%7D']),
    'deep JSON': () => '['.repeat(50_000),
    'too large': () => JSON.stringify({ query: `{ __typename } #${'x'.repeat(120_000)}` }),
    numbers: () => `{"query":"{ __typename }","variables":{"a":1e999,"b":${'9'.repeat(400)}}}`,
  };
  if (chance.percent(65)) return [kind, Buffer.from(text)];
  const [flaw, spoil] = chance.pick(Object.entries(flaws));
  return [`${kind}, ${flaw}`, Buffer.from(spoil())];
}

function pickKeyHeader(chance: Chance, { key }: Knowledge): Readonly<Record<string, string>> {
  if (chance.percent(90)) return { 'x-api-key': key };
  const wrong = [
    '',
    'ps_',
    key.slice(0, -1),
    `${key}x`,
    key.toLowerCase(),
    `${key}, ${key}`,
    'x'.repeat(3_000),
  ];
  return chance.percent(20) ? {} : { 'x-api-key': chance.pick(wrong) };
}

const contentTypes = [
  'application/json; charset=utf-8',
  'application/json; charset=utf-16',
  'APPLICATION/JSON',
  'text/plain',
  'application/x-www-form-urlencoded',
  'application/graphql',
  'multipart/form-data; boundary=x',
  'application/json, text/html',
  ';',
];
const accepts = [
  '*/*',
  'text/html',
  'application/graphql-response+json',
  'image/png;q=0',
  ';;;,,,q=x',
  'x'.repeat(900),
];
const methods = ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND'];

function pickHeaders(chance: Chance): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  if (chance.percent(15)) headers['content-type'] = chance.pick(contentTypes);
  if (chance.percent(25)) headers['accept'] = chance.pick(accepts);
  if (chance.percent(10))
    headers['x-request-id'] = chance.pick(['a b', '<script>', 'x'.repeat(500), 'ok-1']);
  if (chance.percent(5))
    headers['origin'] = chance.pick(['null', 'https://evil.example.com', '\u00ff']);
  if (chance.percent(5)) headers['content-encoding'] = chance.pick(['gzip', 'br', 'x']);
  if (chance.percent(3)) headers['expect'] = chance.pick(['100-continue', '100-CONTINUE, x', 'x']);
  if (chance.percent(10)) headers['x-include-cost'] = chance.pick(['1', 'true', '{}']);
  if (chance.percent(5)) headers['access-control-request-method'] = 'POST';
  if (chance.percent(5)) headers['host'] = chance.pick(['evil.example.com', '', 'a:b:c', '[::']);
  return headers;
}

const paths: readonly string[] = [
  ...'/ // /graphql/ /graphql/x /GRAPHQL /graphql?query={__typename} /v1 /v1/ /v1/numbers/'.split(
    ' ',
  ),
  ...'/v1/numbers?x=%ff /v1/openapi.json /v1/../graphql /v1/numbers/..%2f..%2f /%2e%2e/ /health'.split(
    ' ',
  ),
  ...'/graphql%00 /v1/numbers/%00 /v1/numbers/%E0%A4%A /admin /.env /livez/ /readyz?x /metrics/'.split(
    ' ',
  ),
  `/${'a'.repeat(3_000)}`,
  `/v1/numbers/${'%41'.repeat(800)}`,
  '/v1/numbers?refresh=1',
];

function createRestPath(chance: Chance, known: Knowledge): string {
  const id = pickId(chance, known).slice(0, 2_000);
  const written = chance.percent(80)
    ? encodeURIComponent(id.replaceAll(/[\ud800-\udfff]/g, '?'))
    : 'a%zz';
  const query = chance.pick([
    '',
    '',
    '?refresh=1',
    '?refresh=2',
    '?refresh=1&refresh=1',
    '?__proto__=1',
    '?%00=%ff',
  ]);
  return `/v1/numbers/${written}${chance.pick(['', '', '/status', '/x'])}${query}`;
}

export function createHostileRequest(chance: Chance, known: Knowledge): HostileRequest {
  const headers = { ...pickKeyHeader(chance, known), ...pickHeaders(chance) };
  if (chance.percent(15)) {
    const all = { 'content-type': 'application/json', ...headers };
    if (chance.percent(50)) {
      const body = createMutation(chance, known);
      return { kind: 'mutation', method: 'POST', path: '/graphql', headers: all, body };
    }
    const isRefresh = chance.percent(50);
    return {
      kind: 'REST with a body',
      method: isRefresh ? 'POST' : 'PATCH',
      path: isRefresh ? '/v1/numbers/refresh' : createRestPath(chance, known),
      headers: all,
      body: createRestBody(chance, known),
    };
  }
  if (chance.percent(60)) {
    const [kind, body] = createGraphQLBody(chance, known);
    const method = chance.percent(95) ? 'POST' : chance.pick(methods);
    const all = { 'content-type': 'application/json', ...headers };
    return { kind, method, path: '/graphql', headers: all, body };
  }
  if (chance.percent(70)) {
    const method = chance.percent(85) ? 'GET' : chance.pick([...methods, 'POST']);
    const withTag = chance.percent(20)
      ? { 'if-none-match': chance.pick(['*', '"', 'W/"x"', '""'.repeat(900)]) }
      : {};
    return {
      kind: 'REST',
      method,
      path: createRestPath(chance, known),
      headers: { ...headers, ...withTag },
      body: null,
    };
  }
  const method = chance.pick([...methods, 'POST', 'GET']);
  return { kind: 'path', method, path: chance.pick(paths), headers, body: null };
}
