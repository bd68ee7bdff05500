// Starts subscriptions: Yoga parses, validates and subscribes them. events.ts sends their results.

import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  executeSubscriptionEvent,
  type GraphQLError,
  type GraphQLSchema,
  mapSourceToResponseEvent,
  type ValidatedExecutionArgs,
  validateSubscriptionArgs,
} from 'graphql';
import type { Plugin } from 'graphql-yoga';
import { type ChargeEvent, type ExecutionContext, toRequestError } from './execution.ts';
import type { GraphQLParams } from './params.ts';
import { createSharedExecute } from './shared-results.ts';

export interface SubscriptionOptions {
  readonly schema: GraphQLSchema;
  /** The same as for queries, so that subscriptions have the same limits and the same caches. */
  readonly parse: (source: string) => DocumentNode;
  readonly validate: (document: DocumentNode) => readonly GraphQLError[];
  /** Charges for the start of a subscription. Throws QUERY_TOO_COMPLEX or RATE_LIMITED. */
  readonly charge: (validated: ValidatedExecutionArgs) => Promise<ChargeEvent>;
  /** Creates the context of one event, so that nothing which was loaded for an earlier one is reused. */
  readonly createEventContext: (context: ExecutionContext) => ExecutionContext;
}

/**
 * Starts a subscription. Returns its stream of results, or the errors that prevented it; rejects with QUERY_TOO_COMPLEX for
 * a document beyond the limits. The stream ends, and ends its source, when its `return` is called or the signal of the
 * request is aborted.
 */
export type Subscribe = (
  params: GraphQLParams,
  context: ExecutionContext,
) => Promise<ExecutionResult | AsyncIterableIterator<ExecutionResult>>;

/** Yoga is loaded when it is first needed, because it takes 8 MB of memory. */
export function createSubscribe(options: SubscriptionOptions): Subscribe {
  const { schema } = options;
  let yoga: ReturnType<typeof loadYoga> | undefined;
  return async (params, context) => {
    yoga ??= loadYoga(options).catch((error: unknown) => {
      // The next request tries again.
      yoga = undefined;
      throw error;
    });
    const enveloped = (await yoga).getEnveloped({ ...context, params });
    const document: DocumentNode = enveloped.parse(params.query);
    const errors: readonly GraphQLError[] = enveloped.validate(schema, document);
    if (errors.length > 0) return { errors };
    const contextValue = await enveloped.contextFactory();
    const { variables: variableValues, operationName } = params;
    const args = { schema, document, operationName, variableValues, contextValue };
    const started: Awaited<ReturnType<Subscribe>> = await enveloped.subscribe(args);
    if (Symbol.asyncIterator in started) endOnAbort(started, context.request.signal);
    return started;
  };
}

// graphql-js's own support for signals rejects the next result, but does not end the source.
function endOnAbort(stream: AsyncIterator<unknown>, signal: AbortSignal): void {
  const end = () => void stream.return?.().catch(() => undefined);
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
}

async function loadYoga(options: SubscriptionOptions) {
  const { schema, parse, validate } = options;
  const { createYoga } = await import('graphql-yoga');
  const plugin: Plugin = {
    onParse: ({ setParseFn }) => setParseFn(parse),
    onValidate: ({ setValidationFn }) =>
      setValidationFn((_schema: unknown, document: DocumentNode) => validate(document)),
    onSubscribe: ({ setSubscribeFn }) => setSubscribeFn(createSubscribeFn(options)),
  };
  return createYoga({
    schema,
    plugins: [plugin],
    maskedErrors: false,
    logging: false,
    parserAndValidationCache: false,
  });
}

/** As graphql-js's `subscribe`, whose messages would repeat the values of variables and which has one context for all events. */
function createSubscribeFn({ charge, createEventContext }: SubscriptionOptions) {
  return async (args: ExecutionArgs): Promise<Awaited<ReturnType<Subscribe>>> => {
    const validated = validateSubscriptionArgs(args);
    if (!('schema' in validated)) return { errors: validated.map(toRequestError) };
    const chargeEvent = await charge(validated);
    const source = await createSourceEventStream(validated);
    if (!(Symbol.asyncIterator in source)) return source;
    const execute = createSharedExecute(validated, (event) => {
      const contextValue = createEventContext(event.contextValue as ExecutionContext);
      return executeSubscriptionEvent({ ...event, contextValue });
    });
    return mapSourceToResponseEvent(validated, source, async (event) => {
      await chargeEvent(event.rootValue);
      return await execute(event);
    });
  };
}
