// Tests which streams share the result of an event, with a schema of its own.

import {
  GraphQLBoolean,
  GraphQLInt,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  parse,
  validateSubscriptionArgs,
} from 'graphql';
import { expect, test } from 'vitest';
import { createSharedExecute } from '../../src/graphql/shared-results.ts';
import { createExecutionContext } from './execution-context.ts';

const text = { type: GraphQLString };
const Tick = new GraphQLObjectType({
  name: 'Tick',
  fields: {
    plain: text,
    derived: { ...text, resolve: ({ plain }) => plain },
    withArgument: {
      ...text,
      args: { upper: { type: GraphQLBoolean } },
      resolve: (_, args) => args,
    },
    withContext: { ...text, resolve: (_, __, { access }) => access.keyId },
  },
});
const args = { after: text, step: { type: GraphQLInt } };
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { plain: text } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      ticks: { type: Tick, args, resolve: (tick) => tick },
      computed: { type: Tick, args, resolve: (tick, { step }) => ({ plain: tick.plain + step }) },
    },
  }),
});

const documents = new Map<string, ReturnType<typeof parse>>();

interface Stream {
  readonly query: string;
  readonly variables?: Readonly<Record<string, unknown>>;
  readonly keyId?: string;
  readonly operationName?: string;
}

/** How often an event is executed for these streams. */
async function countExecutions(streams: readonly Stream[], event: unknown = {}): Promise<number> {
  let count = 0;
  for (const { query, variables, keyId = 'a', operationName } of streams) {
    // As the document cache of the server does.
    const document = documents.get(query) ?? parse(query);
    documents.set(query, document);
    const context = createExecutionContext();
    const contextValue = { ...context, access: { ...context.access, keyId } };
    const validated = validateSubscriptionArgs({
      schema,
      document,
      contextValue,
      operationName,
      variableValues: variables,
    });
    if (!('schema' in validated)) throw new AggregateError(validated);
    const execute = createSharedExecute(validated, () => ({ data: { count: (count += 1) } }));
    // oxlint-disable-next-line no-await-in-loop -- one stream after the other
    await execute({ ...validated, rootValue: event });
  }
  return count;
}

const plain = 'subscription ($after: String) { ticks(after: $after) { plain derived } }';
const withContext = 'subscription ($after: String) { ticks(after: $after) { withContext } }';
const inFragment =
  'subscription { ticks { ...f } } fragment f on Tick { plain ...g } fragment g on Tick { withContext }';
const conditional = 'subscription ($is: Boolean!) { ticks { plain derived @include(if: $is) } }';
const nested = 'subscription ($is: Boolean) { ticks { withArgument(upper: $is) } }';
const computed = 'subscription ($step: Int) { computed(step: $step) { plain } }';
const twoOperations = 'subscription A { ticks { plain } } subscription B { ticks { derived } }';

test.each<[string, number, Stream, Stream]>([
  [
    'began at different places',
    1,
    { query: plain, variables: { after: 'a' } },
    { query: plain, variables: { after: 'b' } },
  ],
  [
    'have different keys and select the event alone',
    1,
    { query: plain },
    { query: plain, keyId: 'b' },
  ],
  [
    'have the same key and select what depends on it',
    1,
    { query: withContext },
    { query: withContext },
  ],
  [
    'have different keys and select what may depend on them',
    2,
    { query: withContext },
    { query: withContext, keyId: 'b' },
  ],
  [
    'have different keys and select in a fragment what may depend on them',
    2,
    { query: inFragment },
    { query: inFragment, keyId: 'b' },
  ],
  [
    'include different fields',
    2,
    { query: conditional, variables: { is: true } },
    { query: conditional, variables: { is: false } },
  ],
  [
    'have different arguments below the root',
    2,
    { query: nested, variables: { is: true } },
    { query: nested, variables: { is: false } },
  ],
  [
    'leave an argument out, or set it to null',
    2,
    { query: nested },
    { query: nested, variables: { is: null } },
  ],
  [
    'have arguments of the root that its resolver reads',
    2,
    { query: computed, variables: { step: 1 } },
    { query: computed, variables: { step: 2 } },
  ],
  ['have different documents', 2, { query: plain }, { query: withContext }],
  [
    'have different operations of a document',
    2,
    { query: twoOperations, operationName: 'A' },
    { query: twoOperations, operationName: 'B' },
  ],
])('streams that %s execute an event %i times', async (_, times, one, other) => {
  expect(await countExecutions([one, other])).toBe(times);
});

test('an event that is no object is executed for each stream', async () => {
  expect(await countExecutions([{ query: plain }, { query: plain }], 'tick')).toBe(2);
});

test('what is made of one event is not sent for another one', async () => {
  const event = {};
  expect(await countExecutions([{ query: plain }], event)).toBe(1);
  expect(await countExecutions([{ query: plain }], event)).toBe(0);
  expect(await countExecutions([{ query: plain }], {})).toBe(1);
});
