// Lets streams share results: for one event, operations that select the same are executed once.

import {
  type ExecutionResult,
  type OperationDefinitionNode,
  TypeInfo,
  type ValidatedSubscriptionArgs,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import type { MaybePromise } from '../maybe-promise.ts';
import type { ExecutionContext } from './execution.ts';

export type ExecuteEvent = (event: ValidatedSubscriptionArgs) => MaybePromise<ExecutionResult>;

const operations = new WeakMap<OperationDefinitionNode, number>();
let operationCount = 0;

/** One subscription has one number, however often it is sent: the document cache has one document for it. */
function numberOf(operation: OperationDefinitionNode): number {
  const known = operations.get(operation);
  if (known !== undefined) return known;
  operations.set(operation, (operationCount += 1));
  return operationCount;
}

/** By the event that a source has yielded, which is one object for all streams that share it. */
const resultsByEvent = new WeakMap<object, Map<string, MaybePromise<ExecutionResult>>>();

/**
 * Returns how to execute the events of a subscription. Streams of one tenant whose source yields the same object share its
 * result, if they select the same: those of all keys if nothing but the event matters, and otherwise those of one key.
 */
export function createSharedExecute(
  subscription: ValidatedSubscriptionArgs,
  execute: ExecuteEvent,
): ExecuteEvent {
  const key = toKey(subscription);
  return (event) => {
    const { rootValue } = event;
    if (typeof rootValue !== 'object' || rootValue === null) return execute(event);
    const results =
      resultsByEvent.get(rootValue) ?? new Map<string, MaybePromise<ExecutionResult>>();
    resultsByEvent.set(rootValue, results);
    const result = results.get(key) ?? execute(event);
    results.set(key, result);
    return result;
  };
}

/** Equal for subscriptions that make the same of every event. */
function toKey(subscription: ValidatedSubscriptionArgs): string {
  const { operation, variableValues } = subscription;
  const { access } = subscription.contextValue as ExecutionContext;
  const { variables, needsContext } = readSelection(subscription);
  const values = variables.map((name) => [name, variableValues.coerced[name]]);
  const owner = needsContext ? access.keyId : null;
  return JSON.stringify([numberOf(operation), Object.fromEntries(values), owner]);
}

/**
 * The variables that the result of an event depends on, and whether a field reads more than its source. The arguments of the
 * field of Subscription decide which events there are, and do not count if its resolver ignores them.
 */
function readSelection({ schema, document }: ValidatedSubscriptionArgs) {
  const variables = new Set<string>();
  let needsContext = false;
  const types = new TypeInfo(schema);
  const usesSourceAlone = () => (types.getFieldDef()?.resolve?.length ?? 1) <= 1;
  const visitor = visitWithTypeInfo(types, {
    VariableDefinition: () => false,
    Field() {
      if (!usesSourceAlone()) needsContext = true;
    },
    Argument: () => (types.getDirective() || !usesSourceAlone() ? undefined : false),
    Variable: ({ name }) => void variables.add(name.value),
  });
  visit(document, visitor);
  return { variables: [...variables].toSorted(), needsContext };
}
