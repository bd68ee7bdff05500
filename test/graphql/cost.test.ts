// Tests the price of an operation: what it may cost, from its document, and what it has cost, from its result.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parse, validateExecutionArgs } from 'graphql';
import { describe, expect, test } from 'vitest';
import { type Price, toPrice } from '../../src/graphql/cost.ts';
import { createExecute } from '../../src/graphql/execution.ts';
import { schema } from '../../src/graphql/schema.ts';
import { openTestGateway } from '../harness.ts';
import { createExecutionContext } from './execution-context.ts';

interface PriceOptions {
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly listSize?: number | null;
}

function priceOf(text: string, { variables = {}, listSize = null }: PriceOptions = {}): Price {
  const args = { schema, document: parse(text), variableValues: variables };
  const validated = validateExecutionArgs(args);
  if (!('schema' in validated)) throw new Error(String(validated));
  return toPrice(validated, listSize);
}

const createList = (length: number) => Array.from({ length }, () => ({ id: 'a' }));
const toData = (a: number, b: number) => ({
  a: createList(a),
  b: createList(b),
  __typename: 'Query',
});

const noData = { data: {} };

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
    ['{ numbers(ids: null) { id } }', 41, 2, 'numbers'],
    ['{ numbers(ids: []) { id } }', 1, 1, 'numbers'],
    ['{ numbers(ids: [], refresh: true) { id } }', 1, 1, 'numbers live'],
    [
      '{ numbers(ids: ["a", "b", "a"], refresh: true) { health { sendable } } }',
      23,
      3,
      'numbers live',
    ],
    ['{ node(id: "a") { id } }', 2, 2, 'number'],
    ['{ nodes(ids: ["a", "b", "a"]) { id } }', 4, 4, 'number'],
    ['{ changes { cursor } }', 12, 12, 'changes'],
    ['{ changes(first: 200) { changes { number { name } } } }', 122, 122, 'changes'],
    ['{ number(id: "a") { history { nodes { cursor } } } }', 8, 8, 'number'],
    [
      '{ number(id: "a") { a: history(first: 10) { edges { node { number { id } } } } } }',
      9,
      9,
      'number',
    ],
    [
      '{ node(id: "a") { ... on WhatsAppNumber { availability { observedShare } } } }',
      7,
      7,
      'number',
    ],
    [
      '{ numbers(ids: ["a", "b"]) { timeline(field: STATE, from: "2026-01-01T00:00:00Z") { value } } }',
      13,
      13,
      'numbers',
    ],
    ['{ numbers { history(first: 1) { nodes { cursor } } } }', 470, 431, 'numbers'],
    ['{ fleet(first: 20) { nodes { availability { observedShare } } } }', 116, 116, 'fleet'],
    ['{ fleet(first: 20) { nodes { meta { webhook { verdict } } } } }', 20, 20, 'fleet'],
    [
      '{ fleet(first: 10) { edges { node { meta { one: webhook { verdict } webhook { actualUrl } } } } } }',
      13,
      13,
      'fleet',
    ],
    [
      '{ fleet(first: 10) { edges { node { history(first: 5) { nodes { cursor } } } } } }',
      26,
      26,
      'fleet',
    ],
    [
      '{ changes(first: 10) { changes { number { history(first: 10) { nodes { cursor } } } } } }',
      28,
      28,
      'changes',
    ],
    ['{ sync { accounts { wabaId } } }', 16, 16, 'sync'],
    [
      '{ sync { engine { state } a: accounts(first: 2000) { state } b: accounts(first: 10) { state } } }',
      107,
      107,
      'sync',
    ],
    ['{ __schema { types { name } } }', 201, 201, 'introspection'],
    ['{ __type(name: "A") { name } }', 201, 201, 'introspection'],
    ['{ __typename numbers { id } }', 41, 2, 'numbers'],
    ['{ numbers { id } __typename number(id: "a") { id } }', 42, 3, 'several'],
    ['{ numbers @skip(if: true) { id } }', 1, 1, 'nothing'],
    ['{ ...F } fragment F on Query { numbers { id } }', 41, 2, 'numbers'],
  ])('%s may cost %i, costs at least %i, and is called %s', (text, max, min, name) => {
    const price = priceOf(text);
    expect(price.requested).toBe(max);
    expect(price.staticPoints).toBe(max);
    expect(price.toActual(noData, 0)).toBe(min);
    expect(price.operation).toBe(name);
  });

  test('costs ten points for each operation sent upstream, even if it returns no data', () => {
    const price = priceOf('{ number(id: "a", refresh: true) { id } }');
    expect(price.toActual(noData, 3)).toBe(32);
    expect(price.toActual({ data: null }, 1)).toBe(12);
    expect(price.toActual({}, 0)).toBe(2);
  });

  test('costs a tenth of a point for each listed number, rounded up', () => {
    const price = priceOf('{ a: numbers { id } b: numbers { id } __typename }');
    expect(price.toActual({ data: toData(0, 0) }, 0)).toBe(3);
    expect(price.toActual({ data: toData(10, 15) }, 0)).toBe(6);
    expect(price.toActual({ data: toData(20, 10) }, 0)).toBe(6);
  });

  test.each([
    [0, 2],
    [1, 3],
    [25, 5],
    [10_000, 1_002],
  ])('may cost what a list of %i numbers costs, if the list had that size last', (size, points) => {
    const price = priceOf('{ numbers { id } }', { listSize: size });
    expect([price.requested, price.staticPoints]).toEqual([points, 41]);
    const twice = priceOf('{ a: numbers { id } b: numbers { id } }', { listSize: size });
    expect(twice.requested).toBe(Math.ceil(3 + 2 * size * 0.1));
  });

  test('with variables costs what their values select', () => {
    const query =
      'query ($live: Boolean, $list: Boolean!) { number(id: "a", refresh: $live) { id } numbers @include(if: $list) { id } }';
    const pointsOf = (live: boolean, list: boolean) =>
      priceOf(query, { variables: { live, list } }).requested;
    expect(pointsOf(true, true)).toBe(72);
    expect(pointsOf(true, false)).toBe(32);
    expect(pointsOf(false, false)).toBe(2);
  });

  test('with invalid arguments costs no live read', () => {
    expect(priceOf('{ number(id: "a", refresh: "yes") { id } }').requested).toBe(2);
  });
});

describe('a list', () => {
  test('is charged the size that it had last, and settled by the size that it has', async () => {
    await using gateway = await openTestGateway();
    const tenant = await gateway.addTenant();
    await tenant.addNumber();
    const readCost = async () => {
      const { body } = await tenant.graphql('{ numbers { id } }', {
        headers: { 'x-include-cost': '1' },
      });
      return body.extensions?.['cost'];
    };
    expect(await readCost()).toMatchObject({ requested: 41, actual: 3 });
    expect(await readCost()).toMatchObject({ requested: 3, actual: 3 });
  });

  test('that costs more than the points of a window is charged the whole window', async () => {
    const execute = createExecute(1_000);
    const charged: number[] = [];
    const context = createExecutionContext(undefined, 10_000);
    const rateLimit = { limit: 200, remaining: 199, resetAt: new Date(), seconds: 10 };
    const admission = {
      ...context.admission,
      rateLimit,
      charge: async (points: number) => void charged.push(points),
    };
    const document = parse('{ numbers { id } }');
    for (const limit of [200, 2_000, 20]) {
      const contextValue = {
        ...context,
        sharedList: null,
        admission: { ...admission, rateLimit: { ...rateLimit, limit } },
      };
      // oxlint-disable-next-line no-await-in-loop -- charges are compared in order
      await execute({ schema, document, contextValue });
    }
    // Without the point of the request itself.
    expect(charged).toEqual([199, 1_001, 40]);
  });
});

const isKept = (context: WeakRef<object>) => context.deref() !== undefined;

describe('what is cached for a document', () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;

  const shapes: readonly (readonly [name: string, toText: (at: number) => string])[] = [
    ['a list', (at) => `{ numbers { a${at}: id } }`],
    ['a number', (at) => `{ number(id: "a") { a${at}: id } }`],
    ['a number in a variable', (at) => `query ($id: ID!) { number(id: $id) { a${at}: id } }`],
    [
      'an argument in a variable',
      (at) => `query ($no: Boolean) { a${at}: number(id: "a", refresh: $no) { id } }`,
    ],
  ];

  test.each(
    shapes.flatMap(([name, toText]) => [2, 6].map((times) => [name, times, toText] as const)),
  )('refers to no request for %s, executed %i times', async (_, times, toText) => {
    const execute = createExecute(1_000);
    const documents = Array.from({ length: 5 }, (__, at) => parse(toText(at)));
    const contexts: WeakRef<object>[] = [];
    const run = async (document: (typeof documents)[number]) => {
      const contextValue = createExecutionContext();
      contexts.push(new WeakRef(contextValue));
      const variableValues = { id: 'a', no: false };
      const { errors } = await execute({ schema, document, contextValue, variableValues });
      expect(errors).toBeUndefined();
    };
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- executions are counted one after the other
      for (const document of documents) await run(document);
    }
    // A new WeakRef keeps its target until the end of the job, and the compiler of V8 the last one for some milliseconds.
    for (let turn = 0; turn < 100; turn += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one turn of the event loop after the other
      await new Promise((done) => void setImmediate(done));
      collectGarbage();
      if (!contexts.some(isKept)) break;
    }
    const kept = contexts.filter(isKept);
    // Documents and executor are used here, so that their caches were in memory until now.
    expect([documents.length, typeof execute, kept.length]).toEqual([5, 'function', 0]);
  });
});
