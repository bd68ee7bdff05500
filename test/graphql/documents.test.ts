// Tests the limits of documents at their exact values, and the document cache.

import { GraphQLError, Kind, type DocumentNode } from 'graphql';
import { describe, expect, test } from 'vitest';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createDocumentCache, createParse } from '../../src/graphql/limits.ts';

const { graphqlLimits } = parseConfig(readEnvironment({}));
const parse = createParse(graphqlLimits);

const repeat = (count: number, toText: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => toText(index)).join(' ');
const nest = (count: number, open: string, within: string, close: string) =>
  `${open.repeat(count)}${within}${close.repeat(count)}`;

interface Limit {
  readonly subject: string;
  readonly limit: number;
  readonly toDocument: (count: number) => string;
}

const fan = (count: number) => {
  // Eight times twenty times fifty fields, each fragment once by itself, and single fields for the rest.
  const others = 8 + 8 * 20 * 51 + 50 + 20 * 51 + 1;
  return `{ ${repeat(8, (at) => `g${at} { ...G }`)} x { ${repeat(count - others, (at) => `x${at}`)} } }
    fragment G on A { ${repeat(20, (at) => `f${at} { ...F }`)} }
    fragment F on A { ${repeat(50, (at) => `a${at}`)} }`;
};

const limits: readonly Limit[] = [
  {
    subject: 'aliases',
    limit: graphqlLimits.aliases,
    toDocument: (count) => `{ numbers { id ${repeat(count, (at) => `a${at}: id`)} } }`,
  },
  {
    subject: 'fields at the root',
    limit: graphqlLimits.rootFields,
    toDocument: (count) => `{ ${repeat(count, (at) => `a${at}`)} }`,
  },
  {
    subject: 'directives',
    limit: graphqlLimits.directives,
    toDocument: (count) => `{ a ${'@a '.repeat(count)} }`,
  },
  {
    subject: 'levels',
    limit: graphqlLimits.depth,
    toDocument: (count) => nest(count, '{ a ', '', '}'),
  },
  {
    subject: 'levels',
    limit: graphqlLimits.depth,
    toDocument: (count) => `{ ...F } fragment F on A { a ${nest(count - 1, '{ a ', '', '}')} }`,
  },
  {
    subject: 'operations and fragments',
    limit: 50,
    toDocument: (count) => repeat(count, (at) => `query q${at} { a }`),
  },
  {
    subject: 'uses of fragments',
    limit: 100,
    toDocument: (count) => `{ ${'...F '.repeat(count)} } fragment F on A { a }`,
  },
  {
    subject: 'inline fragments',
    limit: 100,
    toDocument: (count) => `{ x { ${repeat(count, (at) => `... { a${at} }`)} } }`,
  },
  {
    subject: 'variables',
    limit: 100,
    toDocument: (count) => `query (${repeat(count, (at) => `$v${at}: ID`)}) { a }`,
  },
  {
    subject: 'values within values',
    limit: 20,
    toDocument: (count) => `{ a(b: [1], c: ${nest(count, '[', '', ']')}) }`,
  },
  {
    subject: 'values within values',
    limit: 20,
    toDocument: (count) => `{ a(b: { c: 1 }, c: ${nest(count, '{ c: ', '1', '}')}) }`,
  },
  {
    subject: 'values within values',
    limit: 20,
    toDocument: (count) => `query ($a: [ID], $b: ${nest(count, '[', 'ID', ']')}) { a }`,
  },
  {
    subject: 'repeated fields',
    limit: 60,
    toDocument: (count) => `{ x { ${'id '.repeat(count + 1)} } }`,
  },
  {
    subject: 'repeated fields',
    limit: 60,
    toDocument: (count) => `{ x { a { ${'id '.repeat(count)} } b: c b } }`,
  },
  { subject: 'fields', limit: 10_000, toDocument: fan },
  {
    subject: 'levels of introspection',
    limit: 16,
    toDocument: (count) => `{ __schema { ${nest(count - 1, 'a { ', 'b', '}')} } }`,
  },
  {
    subject: 'levels of introspection',
    limit: 16,
    toDocument: (count) => `{ __type(name: "A") { ${nest(count - 1, 'a { ', 'b', '}')} } }`,
  },
  {
    subject: 'levels of introspection',
    limit: 16,
    toDocument: (count) => `{ a } fragment F on __Type { ${nest(count - 1, 'a { ', 'b', '}')} }`,
  },
];

describe('a document', () => {
  test.each(limits)(
    'may have $limit $subject, and not one more',
    ({ subject, limit, toDocument }) => {
      expect(parse(toDocument(limit)).kind).toBe(Kind.DOCUMENT);
      expect(() => parse(toDocument(limit + 1))).toThrow(
        expect.objectContaining({
          code: 'QUERY_TOO_COMPLEX',
          message: `The document has ${subject}: ${limit + 1}, and the limit is ${limit}.`,
          details: { subject, count: limit + 1, limit },
        }),
      );
    },
  );

  test('may have 2,000 tokens, and is not parsed beyond them', () => {
    expect(parse(`{ a(b: [${'1 '.repeat(1_991)}]) }`).tokenCount).toBe(2_000);
    expect(() => parse(`{ a(b: [${'1 '.repeat(1_992)}]) } }}} "`)).toThrow(
      expect.objectContaining({
        code: 'QUERY_TOO_COMPLEX',
        message: 'The document has more than 2000 tokens.',
        cause: expect.any(GraphQLError),
      }),
    );
  });

  test('with a syntax error is rejected as such, even if it quotes the message about tokens', () => {
    for (const text of ['{', '{ a } "contains more than"', '{ a } }']) {
      expect(() => parse(text)).toThrow(GraphQLError);
      expect(() => parse(text)).toThrow('Syntax Error');
    }
  });

  test('that is nested deeper than the stack is too complex', () => {
    const generous = createParse({ ...graphqlLimits, tokens: 1_000_000 });
    expect(() => generous(`{ a(b: ${nest(100_000, '[', '', ']')}) }`)).toThrow(
      expect.objectContaining({
        code: 'QUERY_TOO_COMPLEX',
        message: 'The document is nested too deeply to be parsed.',
        cause: expect.any(RangeError),
      }),
    );
  });

  test('is parsed with the options of the caller', () => {
    expect(parse('{ a }', { noLocation: true }).loc).toBeUndefined();
    expect(parse('{ a }').loc).toBeDefined();
  });

  test('may have type definitions, which validation rejects', () => {
    expect(parse('type A { b: ID } { a }').definitions).toHaveLength(2);
  });

  test('may use a missing fragment, which validation rejects', () => {
    expect(parse('{ ...F }').definitions).toHaveLength(1);
  });

  test('is limited for each operation and each fragment separately', () => {
    const operation = (name: string) =>
      `query ${name} { a { ${repeat(20, (at) => `a${at}: b`)} } }`;
    expect(parse(`${operation('a')} ${operation('b')}`).definitions).toHaveLength(2);
    expect(() => parse(`{ a } fragment F on A { ${repeat(31, (at) => `a${at}: b`)} }`)).toThrow(
      'aliases: 31',
    );
    expect(parse(`{ a } fragment F on A { ${repeat(31, (at) => `a${at}`)} }`)).toBeDefined();
  });
});

describe('introspection', () => {
  test.each(['fields', 'inputFields', 'interfaces', 'possibleTypes'])(
    'may list %s, but no types within them',
    (list) => {
      const toDocument = (within: string) =>
        `{ __type(name: "A") { ${list} { type { ${within} } } } }`;
      expect(parse(toDocument('name')).definitions).toHaveLength(1);
      for (const again of ['fields', 'inputFields', 'interfaces', 'possibleTypes']) {
        expect(() => parse(toDocument(`${again} { name }`))).toThrow(
          'lists of types within lists of types: 2, and the limit is 1',
        );
      }
    },
  );

  test('cannot hide a list behind another field with the same response name', () => {
    const list = 'a: fields { type { fields { name } } }';
    const other = 'a: ofType { type { name } }';
    for (const both of [`${list} ${other}`, `${other} ${list}`]) {
      expect(() => parse(`{ __type(name: "A") { ${both} } }`)).toThrow('lists of types');
    }
  });

  test('begins with __schema or __type', () => {
    expect(parse('{ a { fields { type { fields { name } } } } }').definitions).toHaveLength(1);
    expect(parse('fragment F on A { fields { type { fields { name } } } }')).toBeDefined();
    expect(() => parse('fragment F on __Type { fields { type { fields { name } } } }')).toThrow(
      'lists of types',
    );
  });
});

describe('the document cache', () => {
  // Each has three tokens, and up to a hundred characters, which count as one more.
  const texts = ['{ a }', '{ b }', '{ c }', '{ d }'] as const;

  test('keeps the documents that were used last, by their tokens and lengths', () => {
    const cache = createDocumentCache(12);
    const [a, b, c, d] = texts;
    for (const text of [a, b, c]) cache.set(text, parse(text));
    expect(texts.map((text) => cache.get(text) !== undefined)).toEqual([true, true, true, false]);
    cache.get(a);
    cache.set(c, parse(c));
    cache.set(d, parse(d));
    expect(texts.map((text) => cache.get(text) !== undefined)).toEqual([true, false, true, true]);
  });

  test('does not keep a document that is too long', () => {
    const cache = createDocumentCache();
    const [just, beyond] = [10_000, 10_001].map((length) => '{ a }'.padEnd(length));
    for (const text of [just!, beyond!]) cache.set(text, parse(text));
    expect(cache.get(just!)).toBeDefined();
    expect(cache.get(beyond!)).toBeUndefined();
  });

  test('counts the characters of a document without a token count', () => {
    const uncounted: DocumentNode = { kind: Kind.DOCUMENT, definitions: [] };
    const cache = createDocumentCache(100);
    cache.set('x'.repeat(99), uncounted);
    expect(cache.get('x'.repeat(99))).toBe(uncounted);
    cache.set('y'.repeat(100), uncounted);
    expect(cache.get('y'.repeat(100))).toBeUndefined();
  });
});
