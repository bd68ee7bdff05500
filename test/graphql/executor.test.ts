// Tests that planned operations return what graphql-js returns, for generated operations with faulty resolvers and at limits.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import {
  buildSchema,
  type ExecutionResult,
  executeRootSelectionSet,
  GraphQLError,
  GraphQLList,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  parse,
  validate,
  type ValidatedExecutionArgs,
  validateExecutionArgs,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPlan, type ExecuteOperation } from '../../src/graphql/executor.ts';
import { createExecute } from '../../src/graphql/execution.ts';
import { createPlanCache } from '../../src/graphql/plan-cache.ts';
import { schema } from '../../src/graphql/schema.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { createExecutionContext } from './execution-context.ts';
import {
  type Call,
  createOperation,
  createVariables,
  type Faults,
  createTape,
  createFaultySchema,
} from './operations.ts';

const faulty = createFaultySchema(schema);
const simple = createFaultySchema(schema, true);

const byGraphQL: ExecuteOperation = executeRootSelectionSet;
const byPlan: ExecuteOperation = (validated) =>
  (createPlan(validated)?.execute ?? byGraphQL)(validated);

interface Sample {
  readonly of?: GraphQLSchema;
  readonly text: string;
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly seed?: number;
  readonly share?: number;
  readonly late?: number;
  readonly signal?: AbortSignal;
}

function toValidated({ of = faulty, text, variables = {}, signal, ...faults }: Sample): {
  readonly validated: ValidatedExecutionArgs;
  readonly calls: readonly Call[];
} {
  const calls: Call[] = [];
  const contextValue: Faults = { seed: 1, share: 0, late: 25, ...faults, calls };
  const validated = validateExecutionArgs({
    schema: of,
    document: parse(text),
    operationName: text.includes('query Main') ? 'Main' : undefined,
    variableValues: variables,
    contextValue,
    ...(signal && { abortSignal: signal }),
  });
  if (!('schema' in validated)) throw new AggregateError(validated);
  return { validated, calls };
}

interface Outcome {
  /** As text, because the order of members matters. */
  readonly data: string;
  /** Sorted, because their order depends on which promise is settled first. */
  readonly errors: readonly unknown[];
  readonly calls: readonly Call[];
}

async function toOutcome(execute: ExecuteOperation, sample: Sample): Promise<Outcome> {
  const { validated, calls } = toValidated(sample);
  const { data, errors = [] } = await execute(validated);
  const sorted = errors.map(toComparable).toSorted((a, b) => compare(a.path, b.path));
  return { data: JSON.stringify(data), errors: sorted, calls: [...calls] };
}

function compare(...paths: readonly unknown[]): number {
  const [a = '', b = ''] = paths.map((path) => JSON.stringify(path));
  return a < b ? -1 : Number(a > b);
}

function toComparable(error: GraphQLError) {
  const { message, locations, path, extensions, originalError } = error;
  return {
    message,
    locations,
    path,
    extensions,
    kind: error.constructor.name,
    origin: originalError && [originalError.constructor.name, originalError.message],
    nodes: error.nodes?.map(({ kind }) => kind),
  };
}

/** Checks that both executors return the same for generated operations, variables and faults. */
function createProperty(
  execute: ExecuteOperation,
  count?: (sample: Sample, expected: Outcome) => void,
) {
  const numbers = fc.array(fc.nat(9_999), { minLength: 20, maxLength: 300, size: 'max' });
  const faults = fc.record({
    // Most operations over the first schema need resolvers with context below the root, and so have no plan.
    of: fc.constantFrom(faulty, simple, simple, simple),
    seed: fc.nat(),
    share: fc.constantFrom(0, 2, 10, 30),
    late: fc.constantFrom(0, 25),
  });
  return fc.asyncProperty(numbers, fc.array(fc.nat(99)), faults, async (tape, more, rest) => {
    const text = createOperation(faulty, createTape(tape));
    expect(validate(faulty, parse(text))).toEqual([]);
    const sample = { text, variables: createVariables(createTape(more)), ...rest };
    const expected = await toOutcome(byGraphQL, sample);
    const actual = await toOutcome(execute, sample);
    count?.(sample, expected);
    const [wanted, got] =
      expected.data === 'null' ? withoutTiming(expected, actual) : [expected, actual];
    expect(got).toEqual(wanted);
  });
}

/**
 * When an error replaces all data by null, it depends on timing which errors were found and which resolvers were called
 * before.
 */
function withoutTiming(...outcomes: readonly Outcome[]): readonly unknown[] {
  const count = Math.min(...outcomes.map(({ calls }) => calls.length));
  return outcomes.map(({ data, errors, calls }) => ({
    data,
    hasErrors: errors.length > 0,
    calls: calls.slice(0, count),
  }));
}

const seed = Number(process.env['EXECUTION_SEED'] ?? Date.now() % 2 ** 31);

/** Executors with one defect each, which the property must find. */
const defective: Readonly<Record<string, ExecuteOperation>> = {
  'adds a member': withDefect(({ data, ...rest }) => ({ ...rest, data: { ...data, more: 1 } })),
  'reverses the members': withDefect(({ data, ...rest }) => ({
    ...rest,
    data: Object.fromEntries(Object.entries(data ?? {}).toReversed()),
  })),
  'loses an error': withDefect(({ errors = [], ...rest }) => ({
    ...rest,
    errors: errors.slice(1),
  })),
  'repeats an error': withDefect(({ errors = [], ...rest }) => ({
    ...rest,
    errors: [...errors, ...errors.slice(0, 1)],
  })),
  'omits the locations of errors': withDefect(({ errors = [], ...rest }) => ({
    ...rest,
    errors: errors.map(({ message, path }) => new GraphQLError(message, { path })),
  })),
  'uses a plan for other variables': (validated) => {
    const { coerced, sources } = validated.variableValues;
    const others = { ...coerced, left: coerced['left'] !== true };
    const plan = createPlan({ ...validated, variableValues: { sources, coerced: others } });
    return (plan?.execute ?? byGraphQL)(validated);
  },
  'calls root resolvers again when it bails out': async (validated) => {
    const result = await byPlan(validated);
    return result.errors === undefined ? result : byGraphQL(validated);
  },
};

function withDefect(change: (result: ExecutionResult) => ExecutionResult): ExecuteOperation {
  return async (validated) => change(await byPlan(validated));
}

describe('a planned operation', () => {
  test('returns what graphql-js returns, and calls resolvers as often', async () => {
    const seen = {
      operations: 0,
      planned: 0,
      'planned without errors': 0,
      'with several errors': 0,
      'without data': 0,
    };
    const count = (sample: Sample, { data, errors }: Outcome) => {
      const isPlanned = createPlan(toValidated(sample).validated) !== null;
      seen.operations += 1;
      seen.planned += isPlanned ? 1 : 0;
      seen['planned without errors'] += isPlanned && errors.length === 0 ? 1 : 0;
      seen['with several errors'] += errors.length > 1 ? 1 : 0;
      seen['without data'] += data === 'null' ? 1 : 0;
    };
    try {
      await fc.assert(createProperty(byPlan, count), { seed, numRuns: 2_000 });
    } finally {
      console.log(`executed both ways with EXECUTION_SEED=${seed}: ${JSON.stringify(seen)}`);
    }
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(5);
    expect(seen.planned).toBeGreaterThan(500);
  }, 60_000);

  test.each(Object.entries(defective))('an executor that %s is found out', async (_, execute) => {
    const { failed } = await fc.check(createProperty(execute), {
      seed,
      numRuns: 1_000,
      endOnFailure: true,
    });
    expect(failed).toBe(true);
  });

  test('calls each root resolver once, whatever it leaves to graphql-js', async () => {
    const calls: string[] = [];
    const field = (name: string, resolve: () => unknown) => ({
      type: GraphQLString,
      resolve: () => {
        calls.push(name);
        return resolve();
      },
    });
    const query = new GraphQLObjectType({
      name: 'Query',
      fields: {
        early: field('early', () => 'early'),
        rejected: field('rejected', () => Promise.reject(new Error('Rejected.'))),
        thrown: field('thrown', () => {
          throw new Error('Thrown.');
        }),
        object: field('object', () => ({})),
        late: field('late', () => Promise.resolve('late')),
      },
    });
    const text = '{ early rejected thrown object late again: late }';
    const { validated } = toValidated({ of: new GraphQLSchema({ query }), text });
    expect(createPlan(validated)).not.toBeNull();
    const { data, errors = [] } = await byPlan(validated);
    expect(data).toEqual({
      early: 'early',
      rejected: null,
      thrown: null,
      object: null,
      late: 'late',
      again: 'late',
    });
    expect(errors.map(({ path }) => String(path)).toSorted()).toEqual([
      'object',
      'rejected',
      'thrown',
    ]);
    expect(calls).toEqual(['early', 'rejected', 'thrown', 'object', 'late', 'late']);
  });

  test('that meets a promise below the root leaves no rejection unhandled', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    const Item = new GraphQLObjectType({
      name: 'Item',
      fields: {
        one: { type: GraphQLString, resolve: (_source: unknown) => rejectLate() },
        many: {
          type: new GraphQLList(GraphQLString),
          resolve: (_source: unknown) => [rejectLate(), rejectLate()],
        },
      },
    });
    const query = new GraphQLObjectType({
      name: 'Query',
      fields: { item: { type: Item, resolve: () => ({}) } },
    });
    const of = new GraphQLSchema({ query });
    const samples = ['{ item { one } }', '{ item { many } }'].map((text) => ({ of, text }));
    for (const sample of samples) {
      expect(createPlan(toValidated(sample).validated)).not.toBeNull();
    }
    const outcomesOf = (execute: ExecuteOperation) =>
      Promise.all(samples.map((sample) => toOutcome(execute, sample)));
    expect(await outcomesOf(byPlan)).toEqual(await outcomesOf(byGraphQL));
    await new Promise((done) => void setImmediate(done));
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test.each([
    [1, '', true],
    [2, 'type C implements A { id: ID }', false],
  ])('may select an interface with %i implementation: %j', (_, more, isPlanned) => {
    const of = buildSchema(
      `interface A { id: ID } type B implements A { id: ID } type Query { a: A } ${more}`,
    );
    const text = '{ a { __typename ... on A { id } ... on B { id } } }';
    expect(createPlan(toValidated({ of, text }).validated) !== null).toBe(isPlanned);
  });

  test.each([
    ['selects more than 1,000 fields', createFan(9)],
    ['has a response name that objects reserve', '{ __proto__: __typename }'],
    ['needs arguments below the root', '{ __type(name: "Query") { fields { name } } }'],
  ])('does not exist for an operation that %s', (_, text) => {
    expect(createPlan(toValidated({ text }).validated)).toBeNull();
  });
});

const rejectLate = () => Promise.reject(new Error('Late.'));

/** A short document in which each level selects the next one twice. */
function createFan(levels: number): string {
  const fragments = Array.from({ length: levels }, (_, at) => {
    const below = `{ ...F${at + 1} }`;
    return `fragment F${at} on __Type { a: ofType ${below} b: ofType ${below} }`;
  });
  const last = `fragment F${levels} on __Type { name }`;
  return `{ __type(name: "Query") { ...F0 } } ${fragments.join(' ')} ${last}`;
}

describe('the plan cache', () => {
  test('plans an operation at its fourth execution, and none that is new each time', () => {
    const find = createPlanCache();
    const { validated } = toValidated({ of: simple, text: '{ numbers { id } }' });
    const found = Array.from({ length: 6 }, () => find(validated) !== null);
    expect(found).toEqual([false, false, false, true, true, true]);
    const others = Array.from({ length: 100 }, (_, at) =>
      find(toValidated({ text: `{ a${at}: __typename }` }).validated),
    );
    expect(new Set(others)).toEqual(new Set([null]));
  });

  test('has one plan for each set of values in @skip and @include', () => {
    const find = createPlanCache();
    const text =
      'query Main($left: Boolean!, $id: ID!) { number(id: $id) { id name @skip(if: $left) } }';
    const variables = { left: true, id: 'a' };
    const { validated } = toValidated({ of: simple, text, variables });
    const findFor = (left: boolean, id: string) =>
      find({ ...validated, variableValues: { sources: {}, coerced: { left, id } } });
    for (let time = 0; time < 3; time += 1) findFor(true, 'a');
    expect(findFor(true, 'a')).toBeTypeOf('function');
    expect(findFor(true, 'b')).toBe(findFor(true, 'a'));
    expect(findFor(false, 'a')).not.toBe(findFor(true, 'a'));
  });

  test('evicts plans: 1,000 operations leave at most 64 MB in memory', () => {
    const find = createPlanCache();
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    let planned = 0;
    let last = toValidated({ text: '{ __typename }' });
    for (let at = 0; at < 1_000; at += 1) {
      last = toValidated({ of: schema, text: `query q${at} ${createFan(6)}` });
      for (let time = 0; time < 4; time += 1) planned += find(last.validated) === null ? 0 : 1;
    }
    collectGarbage();
    const megabytes = (process.memoryUsage().heapUsed - before) / 1e6;
    console.log(`${planned} planned operations: ${megabytes.toFixed(1)} MB more heap`);
    // The cache is used once more, so that it was in memory until here.
    expect([planned, find(last.validated)]).toEqual([1_000, expect.any(Function)]);
    expect(megabytes).toBeLessThan(64);
  }, 60_000);
});

describe('a planned operation that waits', () => {
  const never = new Promise<never>(() => undefined);

  /** Executes an operation until it is planned, and then once more with a resolver that never settles. */
  async function executeForever(
    signal: AbortSignal,
    deadlineMs?: number,
  ): Promise<ExecutionResult> {
    let value: Promise<string> = Promise.resolve('value');
    const slow = { type: GraphQLString, resolve: () => value };
    const query = new GraphQLObjectType({ name: 'Query', fields: { slow } });
    const execute = createExecute(10, deadlineMs);
    const args = {
      schema: new GraphQLSchema({ query }),
      document: parse('{ slow }'),
      contextValue: createExecutionContext(signal),
    };
    for (let time = 0; time < 4; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- executions are counted one after the other
      expect(await execute(args)).toEqual({ data: { slow: 'value' } });
    }
    value = never;
    return execute(args);
  }

  test('ends at the deadline', async () => {
    const { errors = [] } = await executeForever(new AbortController().signal, 50);
    expect(errors.map(({ originalError }) => originalError)).toMatchObject([
      { code: 'UNAVAILABLE', message: 'The operation took longer than 0.05 seconds.' },
    ]);
  });

  test('ends when the caller disconnects', async () => {
    const caller = new AbortController();
    const result = executeForever(caller.signal);
    setImmediate(() => caller.abort(new Error('Disconnected.')));
    await expect(result).rejects.toThrow('Disconnected.');
  });

  test.each([
    ['graphql-js', byGraphQL],
    ['a plan', byPlan],
  ])('calls no resolver after its end, executed by %s', async (_, execute) => {
    const caller = new AbortController();
    const opened = Promise.withResolvers<object>();
    const calls: string[] = [];
    const name = { type: GraphQLString, resolve: (_source: unknown) => void calls.push('name') };
    const type = new GraphQLObjectType({ name: 'Inner', fields: { name } });
    const inner = { type, resolve: () => opened.promise };
    const of = new GraphQLSchema({
      query: new GraphQLObjectType({ name: 'Query', fields: { inner } }),
    });
    const { validated } = toValidated({ of, text: '{ inner { name } }', signal: caller.signal });
    const result = Promise.resolve(execute(validated));
    caller.abort(new Error('Disconnected.'));
    await expect(result).rejects.toThrow('Disconnected.');
    opened.resolve({});
    await new Promise((done) => void setImmediate(done));
    expect(calls).toEqual([]);
    await expect(async () => execute(validated)).rejects.toThrow('Disconnected.');
  });
});

describe('an operation that is executed again and again', () => {
  let gateway: TestGateway;
  let tenant: TestTenant;
  let id: string;
  beforeAll(async () => {
    gateway = await openTestGateway();
    tenant = await gateway.addTenant();
    ({ id } = await tenant.addNumber());
    await tenant.addNumber();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const queries: Readonly<Record<string, string>> = {
    'for the list': '{ numbers { id name state apiKeys { name } health { sendable } createdAt } }',
    'for a number':
      'query ($id: ID!) { number(id: $id) { ...N } } fragment N on WhatsAppNumber { id }',
    'for a number that is read live':
      'query ($id: ID!) { number(id: $id, refresh: true) { health { qualityRating } meta { waba { name } } } }',
    'for a number that does not exist':
      '{ a: number(id: "x") { id } b: number(id: "y") { id } numbers { id } }',
    'with conditions':
      'query ($no: Boolean = false) { numbers { id @skip(if: $no) name @include(if: $no) } }',
    'for introspection': '{ __typename __type(name: "Provider") { enumValues { name } } }',
  };

  test.each(Object.entries(queries))('%s has the same response each time', async (_, query) => {
    const options = { variables: { id, more: 1 }, headers: { 'x-include-cost': '1' } };
    const seen = new Set<string>();
    for (let time = 0; time < 8; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- executions are counted one after the other
      const { status, text } = await tenant.graphql(query, options);
      expect(text).toContain('"actual"');
      seen.add(
        `${status} ${text.replaceAll(/"(requestId|remaining|resetAt|requested)":[^,}]*/g, '')}`,
      );
    }
    expect([...seen]).toHaveLength(1);
  });

  test('reads several `number` fields as one batch, planned or not', async () => {
    const fields = Array.from(
      { length: 25 },
      (_, at) => `n${at}: number(id: "${id}${at || ''}") { id }`,
    );
    const query = `{ ${fields.join(' ')} }`;
    for (let time = 0; time < 6; time += 1) {
      gateway.clearStatements();
      // oxlint-disable-next-line no-await-in-loop -- executions are counted one after the other
      const { body } = await tenant.graphql<Record<string, unknown>>(query, {
        headers: { 'x-include-cost': '1' },
      });
      expect(body.data?.['n0']).toEqual({ id });
      expect(body.errors).toHaveLength(24);
      const reads = gateway.statements.filter((text) => text.includes('whatsapp_number'));
      expect(reads).toHaveLength(1);
    }
  });
});
