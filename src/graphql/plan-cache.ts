// Keeps the plans of operations that are executed again and again.

import {
  type DocumentNode,
  type OperationDefinitionNode,
  type ValidatedExecutionArgs,
  visit,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import { createPlan, type ExecuteOperation } from './executor.ts';

/** An operation is planned from its fourth execution on, so a caller who sends new documents each time gets no plans. */
const unplannedExecutions = 3;

/** In tokens of documents. It limits the memory of all plans to about 20 MB. */
const maxSize = 100_000;

/** How much memory a field of a plan takes, in tokens of a document. */
const fieldSize = 5;

interface CacheEntry {
  /** Null for an operation that graphql-js has to execute. */
  readonly execute: ExecuteOperation | null;
  readonly size: number;
}

interface KnownOperation {
  readonly id: number;
  executions: number;
  /** The names of variables that `@skip` and `@include` depend on; null until the operation is planned. */
  conditions: readonly string[] | null;
}

/**
 * Returns a function that finds how to execute an operation; null when graphql-js has to. Operations are compared by
 * identity, so this relies on the document cache.
 */
export function createPlanCache(): (validated: ValidatedExecutionArgs) => ExecuteOperation | null {
  const operations = new WeakMap<OperationDefinitionNode, KnownOperation>();
  const plans = new LRUCache<string, CacheEntry>({ maxSize, sizeCalculation: ({ size }) => size });
  let count = 0;
  return (validated) => {
    const { operation, document } = validated;
    const known = operations.get(operation) ?? {
      id: (count += 1),
      executions: 0,
      conditions: null,
    };
    operations.set(operation, known);
    known.executions += 1;
    if (known.executions <= unplannedExecutions) return null;
    known.conditions ??= listConditions(document);
    const key = toPlanKey(known.id, known.conditions, validated);
    if (key === null) return null;
    const found = plans.get(key);
    if (found !== undefined) return found.execute;
    const entry = createEntry(validated);
    plans.set(key, entry);
    return entry.execute;
  };
}

function createEntry(validated: ValidatedExecutionArgs): CacheEntry {
  const plan = createPlan(validated);
  if (plan === null) return { execute: null, size: 1 };
  // A plan keeps the nodes of its document in memory.
  const { tokenCount = 0 } = validated.document;
  return { execute: plan.execute, size: tokenCount + plan.size * fieldSize };
}

function listConditions(document: DocumentNode): readonly string[] {
  const names = new Set<string>();
  const Variable = ({ name }: { readonly name: { readonly value: string } }) =>
    void names.add(name.value);
  visit(document, { Directive: (directive) => void visit(directive, { Variable }) });
  return [...names];
}

/** A plan is valid for one set of values of its conditions. Null when one of these is null, which is an error. */
function toPlanKey(
  id: number,
  conditions: readonly string[],
  { variableValues: { coerced } }: ValidatedExecutionArgs,
): string | null {
  let key = String(id);
  for (const name of conditions) {
    const value = coerced[name];
    // Variables that belong to other operations of the document are undefined.
    if (value === null) return null;
    key += value === true ? ' 1' : ' 0';
  }
  return key;
}
