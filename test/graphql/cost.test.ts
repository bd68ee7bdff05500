// What an operation costs: what it may cost at most, from what it asks, and what it has cost, from what came back.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parse, validateExecutionArgs } from 'graphql';
import { describe, expect, test } from 'vitest';
import { type Price, toPrice } from '../../src/graphql/cost.ts';
import { createExecute } from '../../src/graphql/execution.ts';
import { schema } from '../../src/graphql/schema.ts';
import { createRequestContext } from '../../src/http/request-context.ts';

/** The prices of one document, with any variables. */
function toPrices(text: string): (variableValues?: Readonly<Record<string, unknown>>) => Price {
  const document = parse(text);
  return (variableValues = {}) => {
    const validated = validateExecutionArgs({ schema, document, variableValues });
    if (!('schema' in validated)) throw new Error(String(validated));
    return toPrice(validated);
  };
}

const toPriceOf = (text: string) => toPrices(text)();
const toList = (length: number) => Array.from({ length }, () => ({ id: 'a' }));
const toData = (a: number, b: number) => ({ a: toList(a), b: toList(b), __typename: 'Query' });

const nothing = { data: {} };

describe('an operation', () => {
  test.each([
    ['{ __typename }', 1, 1, 'typename'],
    ['{ a: __typename b: __typename }', 1, 1, 'typename'],
    ['{ number(id: "a") { id health { sendable } } }', 2, 2, 'number'],
    ['{ number(id: "a", refresh: false) { health { sendable } } }', 2, 2, 'number'],
    ['{ number(id: "a", refresh: true) { health { sendable } } }', 12, 2, 'number live'],
    ['{ number(id: "a", refresh: true) { meta { profile { about } } } }', 12, 2, 'number live'],
    [
      '{ number(id: "a", refresh: true) { meta { profile { about } waba { name } } } }',
      22,
      2,
      'number live',
    ],
    ['{ number(id: "a", refresh: true) { id } }', 32, 2, 'number live'],
    ['{ a: number(id: "a") { id } b: number(id: "b") { id } }', 3, 3, 'number'],
    [
      '{ a: number(id: "a") { id } b: number(id: "b", refresh: true) { health { sendable } } }',
      13,
      3,
      'several',
    ],
    ['{ numbers { id } }', 41, 2, 'numbers'],
    ['{ a: numbers { id } b: numbers { id } }', 81, 3, 'numbers'],
    ['{ __schema { types { name } } }', 201, 201, 'introspection'],
    ['{ __type(name: "A") { name } }', 201, 201, 'introspection'],
    ['{ __typename numbers { id } }', 41, 2, 'numbers'],
    ['{ numbers { id } __typename number(id: "a") { id } }', 42, 3, 'several'],
    ['{ numbers @skip(if: true) { id } }', 1, 1, 'nothing'],
    ['{ ...F } fragment F on Query { numbers { id } }', 41, 2, 'numbers'],
  ])('%s may cost %i, costs at least %i, and is called %s', (text, most, least, name) => {
    const price = toPriceOf(text);
    expect(price.requested).toBe(most);
    expect(price.toActual(nothing, 0)).toBe(least);
    expect(price.operation).toBe(name);
  });

  test('has cost what it has read upstream, also where nothing came of it', () => {
    const price = toPriceOf('{ number(id: "a", refresh: true) { id } }');
    expect(price.toActual(nothing, 3)).toBe(32);
    expect(price.toActual({ data: null }, 1)).toBe(12);
    expect(price.toActual({}, 0)).toBe(2);
  });

  test('has cost a tenth for each number of its lists, in whole points', () => {
    const price = toPriceOf('{ a: numbers { id } b: numbers { id } __typename }');
    expect(price.toActual({ data: toData(0, 0) }, 0)).toBe(3);
    expect(price.toActual({ data: toData(10, 15) }, 0)).toBe(6);
    expect(price.toActual({ data: toData(20, 10) }, 0)).toBe(6);
  });

  test('with variables costs what they make of it, each time', () => {
    const price = toPrices(
      'query ($live: Boolean, $list: Boolean!) { number(id: "a", refresh: $live) { id } numbers @include(if: $list) { id } }',
    );
    expect(price({ live: true, list: true }).requested).toBe(72);
    expect(price({ live: true, list: false }).requested).toBe(32);
    expect(price({ live: false, list: false }).requested).toBe(2);
  });

  test('without variables is reckoned once for a document', () => {
    const price = toPrices('{ numbers { id } }');
    expect(price()).toBe(price());
  });

  test('whose variables say no more than which number is meant is reckoned once too', () => {
    const price = toPrices(
      'query ($id: ID!) { ...N } fragment N on Query { number(id: $id) { id } }',
    );
    expect(price({ id: 'a' })).toBe(price({ id: 'b' }));
    expect(price({ id: 'a' }).requested).toBe(2);
  });

  test.each([
    'query ($id: ID!, $live: Boolean) { number(id: $id, refresh: $live) { id } }',
    'query ($id: ID!, $live: Boolean!) { a: number(id: $id) { id } ...F @include(if: $live) } fragment F on Query { b: number(id: $id) { id } }',
    'query ($id: ID = "a") { number(id: $id, refresh: true) { id } }',
  ])('%s is reckoned each time', (text) => {
    const price = toPrices(text);
    expect(price({ id: 'a', live: true })).not.toBe(price({ id: 'a', live: true }));
  });

  test('with arguments that execution will refuse reads nothing', () => {
    expect(toPriceOf('{ number(id: "a", refresh: "yes") { id } }').requested).toBe(2);
  });
});

describe('what is remembered of a document', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;

  const shapes: readonly (readonly [name: string, toText: (at: number) => string])[] = [
    ['a list', (at) => `{ numbers { a${at}: id } }`],
    ['a number', (at) => `{ number(id: "a") { a${at}: id } }`],
    ['a number in a variable', (at) => `query ($id: ID!) { number(id: $id) { a${at}: id } }`],
    [
      'what depends on a variable',
      (at) => `query ($no: Boolean) { a${at}: number(id: "a", refresh: $no) { id } }`,
    ],
  ];

  test.each(
    shapes.flatMap(([name, toText]) => [2, 6].map((times) => [name, times, toText] as const)),
  )('holds no request for %s, executed %i times', async (_, times, toText) => {
    const execute = createExecute(1_000);
    const documents = Array.from({ length: 5 }, (__, at) => parse(toText(at)));
    const contexts: WeakRef<object>[] = [];
    const ask = async (document: (typeof documents)[number]) => {
      const contextValue = {
        request: new Request('http://gateway.test/graphql'),
        admission: { charge: async () => {}, settle: () => {}, standing: null },
        asked: createRequestContext(new Headers()),
        access: {},
        list: Promise.resolve([]),
        lists: 0,
        numbers: { getMany: async () => [null] },
      };
      contexts.push(new WeakRef(contextValue));
      const variableValues = { id: 'a', no: false };
      const { errors } = await execute({ schema, document, contextValue, variableValues });
      expect(errors).toBeUndefined();
    };
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as they are counted
      for (const document of documents) await ask(document);
    }
    // What a WeakRef was made of is held until the turn is over.
    await new Promise((done) => void setImmediate(done));
    collect();
    const held = contexts.filter((context) => context.deref() !== undefined);
    // Named here, so that what they remember was in memory until now.
    expect([documents.length, typeof execute, held.length]).toEqual([5, 'function', 0]);
  });
});
