// That compiled operations give what graphql-js gives: for operations and faults from chance, and at the edges.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import {
  type ExecutionResult,
  executeRootSelectionSet,
  getIntrospectionQuery,
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
import { compile, type ExecuteOperation } from '../../src/graphql/executor.ts';
import { createExecute } from '../../src/graphql/execution.ts';
import { createPlan } from '../../src/graphql/plan.ts';
import { createPlanCache } from '../../src/graphql/plan-cache.ts';
import { schema } from '../../src/graphql/schema.ts';
import { createRequestContext } from '../../src/http/request-context.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import {
  type Call,
  createOperation,
  createVariables,
  type Faults,
  toChance,
  toFaultySchema,
} from './operations.ts';

const faulty = toFaultySchema(schema);
const simple = toFaultySchema(schema, true);

const byGraphQL: ExecuteOperation = executeRootSelectionSet;
const byPlan: ExecuteOperation = (validated) => {
  const plan = createPlan(validated);
  if (plan === null) throw new Error('There is no plan for it.');
  return compile(plan)(validated);
};

interface Asked {
  readonly of?: GraphQLSchema;
  readonly text: string;
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly seed?: number;
  readonly share?: number;
  readonly late?: number;
  readonly signal?: AbortSignal;
}

function toValidated({ of = faulty, text, variables = {}, signal, ...faults }: Asked): {
  readonly validated: ValidatedExecutionArgs;
  readonly calls: readonly Call[];
} {
  const calls: Call[] = [];
  const contextValue: Faults = { seed: 1, share: 0, late: 25, ...faults, calls };
  const validated = validateExecutionArgs({
    schema: of,
    document: parse(text),
    operationName: text.includes('query Asked') ? 'Asked' : undefined,
    variableValues: variables,
    contextValue,
    ...(signal && { abortSignal: signal }),
  });
  if (!('schema' in validated)) throw new AggregateError(validated);
  return { validated, calls };
}

interface Outcome {
  /** As text, since the order of members counts. */
  readonly data: string;
  readonly errors: readonly unknown[];
  readonly calls: readonly Call[];
}

async function toOutcome(execute: ExecuteOperation, asked: Asked): Promise<Outcome> {
  const { validated, calls } = toValidated(asked);
  const { data, errors = [] } = await execute(validated);
  return { data: JSON.stringify(data), errors: errors.map(toComparable), calls: [...calls] };
}

function toComparable(error: GraphQLError): unknown {
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

/** Whether they are the same for operations, variables and faults from chance. */
function toProperty(execute: ExecuteOperation, tally?: Tally) {
  const numbers = fc.array(fc.nat(9_999), { minLength: 20, maxLength: 300, size: 'max' });
  const faults = fc.record({
    of: fc.constantFrom(faulty, simple),
    seed: fc.nat(),
    share: fc.constantFrom(0, 2, 10, 30),
    late: fc.constantFrom(0, 25),
  });
  return fc.asyncProperty(numbers, fc.array(fc.nat(99)), faults, async (tape, more, rest) => {
    const text = createOperation(faulty, toChance(tape));
    expect(validate(faulty, parse(text))).toEqual([]);
    const asked = { text, variables: createVariables(toChance(more)), ...rest };
    const expected = await toOutcome(byGraphQL, asked);
    const actual = await toOutcome(execute, asked);
    tally?.(expected);
    // Once an error has put null in the place of everything, how many more resolvers are called is a matter of turns.
    const outcomes = [expected, actual] as const;
    const [wanted, got] = expected.data === 'null' ? toAlike(...outcomes) : outcomes;
    expect(got).toEqual(wanted);
  });
}

/** Both with as many calls as the one has that has fewer. */
function toAlike(...outcomes: readonly Outcome[]): readonly Outcome[] {
  const count = Math.min(...outcomes.map(({ calls }) => calls.length));
  return outcomes.map(({ data, errors, calls }) => ({
    data,
    errors,
    calls: calls.slice(0, count),
  }));
}

type Tally = (outcome: Outcome) => void;

const seed = Number(process.env['EXECUTION_SEED'] ?? Date.now() % 2 ** 31);

/** Executors that are wrong in one way each, as ours might be. */
const wrong: Readonly<Record<string, ExecuteOperation>> = {
  'has another member': toWrong(({ data, ...rest }) => ({ ...rest, data: { ...data, more: 1 } })),
  'has members in another order': toWrong(({ data, ...rest }) => ({
    ...rest,
    data: Object.fromEntries(Object.entries(data ?? {}).toReversed()),
  })),
  'loses an error': toWrong(({ errors = [], ...rest }) => ({ ...rest, errors: errors.slice(1) })),
  'has errors in another order': toWrong(({ errors = [], ...rest }) => ({
    ...rest,
    errors: errors.toReversed(),
  })),
  'does not say where an error is': toWrong(({ errors = [], ...rest }) => ({
    ...rest,
    errors: errors.map(({ message, path }) => new GraphQLError(message, { path })),
  })),
  'takes a plan that was made for other variables': (validated) => {
    const { coerced, sources } = validated.variableValues;
    const others = { ...coerced, left: coerced['left'] !== true };
    const plan = createPlan({ ...validated, variableValues: { sources, coerced: others } });
    return plan === null ? { data: null } : compile(plan)(validated);
  },
  'executes twice': async (validated) => {
    await byPlan(validated);
    return byPlan(validated);
  },
};

function toWrong(change: (result: ExecutionResult) => ExecutionResult): ExecuteOperation {
  return async (validated) => change(await byPlan(validated));
}

describe('a compiled operation', () => {
  test('gives what graphql-js gives: data, errors, and calls of resolvers', async () => {
    const seen = { cases: 0, 'without errors': 0, 'with several errors': 0, 'without data': 0 };
    const tally: Tally = ({ data, errors }) => {
      seen.cases += 1;
      seen['without errors'] += errors.length === 0 ? 1 : 0;
      seen['with several errors'] += errors.length > 1 ? 1 : 0;
      seen['without data'] += data === 'null' ? 1 : 0;
    };
    try {
      await fc.assert(toProperty(byPlan, tally), { seed, numRuns: 2_000 });
    } finally {
      console.log(`executed both ways with EXECUTION_SEED=${seed}: ${JSON.stringify(seen)}`);
    }
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(5);
  }, 60_000);

  test.each(Object.entries(wrong))('that %s is found out', async (_, execute) => {
    const { failed } = await fc.check(toProperty(execute), {
      seed,
      numRuns: 1_000,
      endOnFailure: true,
    });
    expect(failed).toBe(true);
  });

  const words = new Map(['a', 'b'].entries());

  test.each<[string, () => Iterable<unknown>]>([
    ['a set', () => new Set(['a', null, 'b'])],
    ['a set of promises', () => new Set([soon(), late()])],
    ['a generator', () => generate(['a', null, 'b'])],
    ['a generator of promises', () => generate([soon, 'b', late])],
    ['the values of a map', () => words.values()],
  ])('gives all of a list that is %s, wherever it stands', async (_, toList) => {
    const type = new GraphQLList(GraphQLString);
    const list = { type, resolve: () => toList() };
    const lists = { type: new GraphQLList(type), resolve: () => [toList(), toList()] };
    // Of one parameter, so that it is called on the straight way, and once more on the other one.
    const twice = { type, resolve: (_source: unknown) => toList() };
    const Member = new GraphQLObjectType({ name: 'Member', fields: { list: { type } } });
    const member = { type: Member, resolve: () => ({ list: toList() }) };
    const Below = new GraphQLObjectType({ name: 'Below', fields: { twice } });
    const below = { type: Below, resolve: () => ({}) };
    const query = new GraphQLObjectType({ name: 'Query', fields: { list, lists, member, below } });
    for (const text of ['{ list }', '{ lists }', '{ member { list } }', '{ below { twice } }']) {
      const asked = { of: new GraphQLSchema({ query }), text };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await toOutcome(byPlan, asked)).toEqual(await toOutcome(byGraphQL, asked));
    }
  });

  test('gives the whole schema to introspection', async () => {
    const text = getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true });
    const asked = { of: schema, text };
    expect(await toOutcome(byPlan, asked)).toEqual(await toOutcome(byGraphQL, asked));
  });

  test.each([
    ['of more than 1,000 fields', toFan(9)],
    ['with a name that objects have for themselves', '{ __proto__: __typename }'],
  ])('is none %s', (_, text) => {
    expect(createPlan(toValidated({ text }).validated)).toBeNull();
  });
});

const soon = () => Promise.resolve('soon');
const late = () => Promise.reject(new Error('Late.'));

function* generate(items: readonly unknown[]): Generator {
  for (const item of items) yield typeof item === 'function' ? item() : item;
}

/** A short document that asks for two fields more at each level. */
function toFan(levels: number): string {
  const fragments = Array.from({ length: levels }, (_, at) => {
    const below = `{ ...F${at + 1} }`;
    return `fragment F${at} on __Type { a: ofType ${below} b: ofType ${below} }`;
  });
  const last = `fragment F${levels} on __Type { name }`;
  return `{ __type(name: "Query") { ...F0 } } ${fragments.join(' ')} ${last}`;
}

describe('an operation', () => {
  test('is compiled when it comes for the fourth time, and never when it is new each time', () => {
    const find = createPlanCache();
    const { validated } = toValidated({ text: '{ numbers { id } }' });
    const found = Array.from({ length: 6 }, () => find(validated) !== null);
    expect(found).toEqual([false, false, false, true, true, true]);
    const others = Array.from({ length: 100 }, (_, at) =>
      find(toValidated({ text: `{ a${at}: __typename }` }).validated),
    );
    expect(new Set(others)).toEqual(new Set([null]));
  });

  test('is compiled once for the same conditions, and again for others', () => {
    const find = createPlanCache();
    const text =
      'query Asked($left: Boolean!, $id: ID!) { number(id: $id) { id name @skip(if: $left) } }';
    const { validated } = toValidated({ text, variables: { left: true, id: 'a' } });
    const ask = (left: boolean, id: string) =>
      find({ ...validated, variableValues: { sources: {}, coerced: { left, id } } });
    for (let time = 0; time < 3; time += 1) ask(true, 'a');
    expect(ask(true, 'a')).toBeTypeOf('function');
    expect(ask(true, 'b')).toBe(ask(true, 'a'));
    expect(ask(false, 'a')).not.toBe(ask(true, 'a'));
  });

  test('that is compiled is forgotten when others need its place: 1,000 leave at most 64 MB', () => {
    const find = createPlanCache();
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    collect();
    const before = process.memoryUsage().heapUsed;
    let compiled = 0;
    let last = toValidated({ text: '{ __typename }' });
    for (let at = 0; at < 1_000; at += 1) {
      last = toValidated({ of: schema, text: `query q${at} ${toFan(6)}` });
      for (let time = 0; time < 4; time += 1) compiled += find(last.validated) === null ? 0 : 1;
    }
    collect();
    const megabytes = (process.memoryUsage().heapUsed - before) / 1e6;
    console.log(`${compiled} compiled operations: ${megabytes.toFixed(1)} MB more heap`);
    // Asked once more, so that what it remembers was in memory until here.
    expect([compiled, find(last.validated)]).toEqual([1_000, expect.any(Function)]);
    expect(megabytes).toBeLessThan(64);
  }, 60_000);
});

describe('a compiled operation that waits', () => {
  const never = new Promise<never>(() => undefined);

  /** Executes until it is compiled, and then once more, when the resolver never answers. */
  async function ask(signal: AbortSignal, deadlineMs?: number): Promise<ExecutionResult> {
    let answer: Promise<string> = Promise.resolve('soon');
    const slow = { type: GraphQLString, resolve: () => answer };
    const query = new GraphQLObjectType({ name: 'Query', fields: { slow } });
    const execute = createExecute(10, deadlineMs);
    const args = {
      schema: new GraphQLSchema({ query }),
      document: parse('{ slow }'),
      contextValue: {
        request: new Request('http://gateway.test/graphql', { signal }),
        admission: {
          charge: async () => {},
          settle: async () => {},
          leave: () => {},
          standing: null,
        },
        asked: createRequestContext(new Headers()),
      },
    };
    for (let time = 0; time < 4; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as they are counted
      expect(await execute(args)).toEqual({ data: { slow: 'soon' } });
    }
    answer = never;
    return execute(args);
  }

  test('is ended at the deadline', async () => {
    const { errors = [] } = await ask(new AbortController().signal, 50);
    expect(errors.map(({ originalError }) => originalError)).toMatchObject([
      { code: 'UNAVAILABLE', message: 'The operation took longer than 0.05 seconds.' },
    ]);
  });

  test('is ended when the caller leaves', async () => {
    const caller = new AbortController();
    const result = ask(caller.signal);
    setImmediate(() => caller.abort(new Error('Gone.')));
    await expect(result).rejects.toThrow('Gone.');
  });

  test.each([
    ['graphql-js', byGraphQL],
    ['compiled', byPlan],
  ])('calls no resolver after its end, %s', async (_, execute) => {
    const caller = new AbortController();
    const opened = Promise.withResolvers<object>();
    const calls: string[] = [];
    const name = { type: GraphQLString, resolve: () => void calls.push('name') };
    const type = new GraphQLObjectType({ name: 'Inner', fields: { name } });
    const inner = { type, resolve: () => opened.promise };
    const of = new GraphQLSchema({
      query: new GraphQLObjectType({ name: 'Query', fields: { inner } }),
    });
    const { validated } = toValidated({ of, text: '{ inner { name } }', signal: caller.signal });
    const result = Promise.resolve(execute(validated));
    caller.abort(new Error('Gone.'));
    await expect(result).rejects.toMatchObject({
      name: 'AbortedGraphQLExecutionError',
      message: 'Gone.',
      cause: { message: 'Gone.' },
    });
    opened.resolve({});
    await new Promise((done) => void setImmediate(done));
    expect(calls).toEqual([]);
    await expect(async () => execute(validated)).rejects.toThrow('Gone.');
  });
});

describe('a question asked again and again', () => {
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

  const questions: Readonly<Record<string, string>> = {
    'of the list': '{ numbers { id name state apiKeys { name } health { sendable } createdAt } }',
    'of a number':
      'query ($id: ID!) { number(id: $id) { ...N } } fragment N on WhatsAppNumber { id }',
    'that is refreshed':
      'query ($id: ID!) { number(id: $id, refresh: true) { health { qualityRating } meta { waba { name } } } }',
    'of a number that is not there':
      '{ a: number(id: "x") { id } b: number(id: "y") { id } numbers { id } }',
    'of parts':
      'query ($no: Boolean = false) { numbers { id @skip(if: $no) name @include(if: $no) } }',
    'of the schema': '{ __typename __type(name: "Provider") { enumValues { name } } }',
  };

  test.each(Object.entries(questions))('%s has the same answer each time', async (_, query) => {
    const ask = { variables: { id, more: 1 }, headers: { 'x-include-cost': '1' } };
    const seen = new Set<string>();
    for (let time = 0; time < 8; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as they are counted
      const { status, text } = await tenant.graphql(query, ask);
      expect(text).toContain('"actual"');
      seen.add(`${status} ${text.replaceAll(/"(requestId|remaining|resetAt)":[^,}]*/g, '')}`);
    }
    expect([...seen]).toHaveLength(1);
  });
});
