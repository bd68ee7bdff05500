// Tests how operations that stream are started, with a schema of its own, because the real one has no subscriptions.

import {
  type DocumentNode,
  type ExecutionResult,
  GraphQLError,
  GraphQLInt,
  GraphQLList,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  validate,
} from 'graphql';
import { expect, test, vi } from 'vitest';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createParse } from '../../src/graphql/limits.ts';
import { createSubscribe } from '../../src/graphql/subscription.ts';
import { createExecutionContext } from './execution-context.ts';

/** A source that yields what is sent to it, and counts how often it was ended. */
function createSource() {
  const done = { done: true as const, value: undefined };
  const waiting: ((result: IteratorResult<unknown>) => void)[] = [];
  const source = {
    ended: 0,
    send: (value: unknown) => waiting.shift()?.({ done: false, value }),
    next: async (): Promise<IteratorResult<unknown>> => {
      if (source.ended > 0) return done;
      return await new Promise((resolve) => void waiting.push(resolve));
    },
    return: async () => {
      source.ended += 1;
      for (const resolve of waiting.splice(0)) resolve(done);
      return done;
    },
    [Symbol.asyncIterator]: () => source,
  };
  return source;
}

function createSubscriptions(subscribeToTicks: (context: unknown) => unknown) {
  const Query = new GraphQLObjectType({ name: 'Query', fields: { a: { type: GraphQLString } } });
  const ticks = {
    type: GraphQLInt,
    args: { ids: { type: new GraphQLList(new GraphQLNonNull(GraphQLInt)) } },
    subscribe: (_source: unknown, _args: unknown, context: unknown) => subscribeToTicks(context),
    resolve: (tick: unknown) => {
      if (tick === 'defect') throw new Error('Defect.');
      return tick;
    },
  };
  const Subscription = new GraphQLObjectType({ name: 'Subscription', fields: { ticks } });
  const schema = new GraphQLSchema({ query: Query, subscription: Subscription });
  const validated: DocumentNode[] = [];
  let charged = 0;
  const subscribe = createSubscribe({
    schema,
    parse: createParse(parseConfig(readEnvironment({})).graphqlLimits),
    validate(document) {
      validated.push(document);
      return validate(schema, document);
    },
    charge: async () => {
      charged += 1;
      return () => undefined;
    },
    createEventContext: (context) => ({ ...context, listFields: context.listFields + 1 }),
  });
  return { subscribe, validated, charged: () => charged };
}

type Stream = AsyncIterableIterator<ExecutionResult>;

/** The stream of a subscription that was started. */
function toStream(started: ExecutionResult | Stream): Stream {
  if (!(Symbol.asyncIterator in started)) throw new AggregateError(started.errors ?? []);
  return started;
}

test('a subscription yields a result for each event, with errors in their place', async () => {
  const source = createSource();
  const { subscribe } = createSubscriptions(() => source);
  const params = { query: 'subscription S { t: ticks } query Q { a }', operationName: 'S' };
  const stream = toStream(await subscribe(params, createExecutionContext()));
  const results: unknown[] = [];
  for (const event of [1, 'defect', 2]) {
    const next = stream.next();
    source.send(event);
    // oxlint-disable-next-line no-await-in-loop -- one event after the other
    results.push((await next).value);
  }
  expect(results).toEqual([
    { data: { t: 1 } },
    { data: { t: null }, errors: [expect.objectContaining({ message: 'Defect.', path: ['t'] })] },
    { data: { t: 2 } },
  ]);
  await stream.return?.();
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('the resolver gets the context of the request', async () => {
  const contexts: unknown[] = [];
  const { subscribe } = createSubscriptions((context) => {
    contexts.push(context);
    return createSource();
  });
  const context = { ...createExecutionContext(), tenantId: 'a' };
  await toStream(await subscribe({ query: 'subscription { ticks }' }, context)).return?.();
  expect(contexts).toEqual([expect.objectContaining(context)]);
});

test('return() ends the source, even while an event is awaited', async () => {
  const source = createSource();
  const { subscribe } = createSubscriptions(() => source);
  const stream = toStream(
    await subscribe({ query: 'subscription { ticks }' }, createExecutionContext()),
  );
  const next = stream.next();
  await stream.return?.();
  expect(await next).toEqual({ done: true, value: undefined });
  expect(source.ended).toBe(1);
});

test('a caller who disconnects ends the source, even while an event is awaited', async () => {
  const source = createSource();
  const caller = new AbortController();
  const { subscribe } = createSubscriptions(() => source);
  const context = createExecutionContext(caller.signal);
  const stream = toStream(await subscribe({ query: 'subscription { ticks }' }, context));
  const next = stream.next();
  caller.abort(new Error('Disconnected.'));
  expect(await next).toEqual({ done: true, value: undefined });
  expect(source.ended).toBe(1);
});

test('a caller who has disconnected before the source exists ends it at once', async () => {
  const source = createSource();
  const caller = new AbortController();
  const { subscribe } = createSubscriptions(async () => {
    caller.abort();
    return source;
  });
  const context = createExecutionContext(caller.signal);
  const stream = toStream(await subscribe({ query: 'subscription { ticks }' }, context));
  expect(await stream.next()).toEqual({ done: true, value: undefined });
  expect(source.ended).toBe(1);
});

test('an invalid document starts nothing, and is validated each time by the given function', async () => {
  const start = vi.fn<() => unknown>(createSource);
  const { subscribe, validated } = createSubscriptions(start);
  const query = 'subscription { nope }';
  for (let time = 0; time < 2; time += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect(await subscribe({ query }, createExecutionContext())).toEqual({
      errors: [expect.objectContaining({ message: expect.stringContaining('"nope"') })],
    });
  }
  expect(validated).toHaveLength(2);
  expect(start).not.toHaveBeenCalled();
});

test('a document beyond the limits is rejected', async () => {
  const { subscribe } = createSubscriptions(createSource);
  const query = `subscription { ${'a '.repeat(2_000)} }`;
  await expect(subscribe({ query }, createExecutionContext())).rejects.toMatchObject({
    code: 'QUERY_TOO_COMPLEX',
  });
  await expect(subscribe({ query: 'subscription {' }, createExecutionContext())).rejects.toThrow(
    GraphQLError,
  );
});

test('a wrong variable is named without its value', async () => {
  const { subscribe } = createSubscriptions(createSource);
  const query = 'subscription ($ids: [Int!]) { ticks(ids: $ids) }';
  const started = await subscribe(
    { query, variables: { ids: ['canary'] } },
    createExecutionContext(),
  );
  expect(started).toEqual({
    errors: [expect.objectContaining({ message: 'Variable $ids needs a value of type [Int!].' })],
  });
});

test('a source that cannot be created is an error', async () => {
  const { subscribe } = createSubscriptions(() => {
    throw new Error('No source.');
  });
  expect(await subscribe({ query: 'subscription { ticks }' }, createExecutionContext())).toEqual({
    errors: [expect.objectContaining({ message: 'No source.', path: ['ticks'] })],
  });
});

test('Yoga that could not be loaded is loaded for the next subscription', async () => {
  const { subscribe } = createSubscriptions(createSource);
  vi.doMock('graphql-yoga', () => {
    throw new Error('There are too many open files.');
  });
  const query = 'subscription { ticks }';
  await expect(subscribe({ query }, createExecutionContext())).rejects.toMatchObject({
    cause: { message: 'There are too many open files.' },
  });
  vi.doUnmock('graphql-yoga');
  await toStream(await subscribe({ query }, createExecutionContext())).return?.();
});
