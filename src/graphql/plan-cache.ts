// Owns which operations are compiled: those that come again and again, as many of them as fit.

import {
  type DocumentNode,
  type OperationDefinitionNode,
  type ValidatedExecutionArgs,
  visit,
} from 'graphql';
import { compile, type ExecuteOperation } from './executor.ts';
import { createMemory } from './memory.ts';
import { createPlan, type Plan } from './plan.ts';

/** Whoever sends a new document each time never gets one compiled. */
const usesBefore = 3;

/** Of tokens of documents, which bounds what is compiled to some 20 MB. */
const maxWeight = 100_000;

/** What a field of a plan keeps in memory, in tokens of a document. */
const fieldWeight = 5;

/**
 * Gives the way to execute an operation that has come before, and null for one that graphql-js has to execute. Operations
 * are told apart as objects, so documents have to be remembered too.
 */
export function createPlanCache(): (validated: ValidatedExecutionArgs) => ExecuteOperation | null {
  const known = new WeakMap<OperationDefinitionNode, Known>();
  const compiled = createMemory<string, Compiled>(maxWeight, ({ weight }) => weight);
  let count = 0;
  return (validated) => {
    const { operation, document } = validated;
    const found = known.get(operation);
    if (found === undefined) {
      known.set(operation, { id: (count += 1), uses: 1, conditions: null });
      return null;
    }
    found.uses += 1;
    if (found.uses <= usesBefore) return null;
    found.conditions ??= listConditions(document);
    const key = toKey(found.id, found.conditions, validated);
    if (key === null) return null;
    const remembered = compiled.get(key);
    if (remembered !== undefined) return remembered.execute;
    const made = toCompiled(createPlan(validated), document);
    compiled.set(key, made);
    return made.execute;
  };
}

interface Known {
  readonly id: number;
  uses: number;
  /** The variables that decide what is skipped; null until they are asked for. */
  conditions: readonly string[] | null;
}

interface Compiled {
  readonly execute: ExecuteOperation | null;
  readonly weight: number;
}

// A plan keeps the nodes of its document.
function toCompiled(plan: Plan | null, { tokenCount = 0 }: DocumentNode): Compiled {
  if (plan === null) return { execute: null, weight: 1 };
  return { execute: compile(plan), weight: tokenCount + plan.size * fieldWeight };
}

function listConditions(document: DocumentNode): readonly string[] {
  const names = new Set<string>();
  const Variable = ({ name }: { readonly name: { readonly value: string } }) =>
    void names.add(name.value);
  visit(document, { Directive: (directive) => void visit(directive, { Variable }) });
  return [...names];
}

/** A plan is good for the values of its conditions; null where one of them has none, which is an error. */
function toKey(
  id: number,
  conditions: readonly string[],
  { variableValues: { coerced } }: ValidatedExecutionArgs,
): string | null {
  let key = String(id);
  for (const name of conditions) {
    const value = coerced[name];
    // Those of the document's other operations are undefined here.
    if (value === null) return null;
    key += value === true ? ' 1' : ' 0';
  }
  return key;
}
