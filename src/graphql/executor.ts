// Executes a planned query: root resolvers are called and awaited, and the plain data they return is copied in one pass.

import {
  defaultFieldResolver,
  executeRootSelectionSet,
  type ExecutionResult,
  type FieldNode,
  getArgumentValues,
  type GraphQLAbstractType,
  GraphQLBoolean,
  GraphQLError,
  type GraphQLField,
  type GraphQLFieldResolver,
  GraphQLID,
  type GraphQLLeafType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  GraphQLString,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  OperationTypeNode,
  type SelectionSetNode,
  TypeNameMetaFieldDef,
  type ValidatedExecutionArgs,
  visit,
} from 'graphql';
import type { MaybePromise } from '../maybe-promise.ts';
import { collectFields, selectionSetsOf } from './selection.ts';

export type ExecuteOperation = (validated: ValidatedExecutionArgs) => MaybePromise<ExecutionResult>;

export interface Plan {
  /**
   * Returns the result that graphql-js returns, for every set of variables with the same values in `@skip` and `@include`.
   * The order of errors may differ. Rejects with the reason of an aborted signal; no resolver is called from then on.
   */
  readonly execute: ExecuteOperation;
  /** How many fields the operation selects in total. */
  readonly size: number;
}

/** A larger plan would take more memory than it is worth. */
const maxSize = 1_000;

/**
 * Null for an operation that graphql-js has to execute: one that is no query, selects more than 1,000 fields, selects an
 * interface or union with several types, or needs arguments, context or info below the root.
 */
export function createPlan(validated: ValidatedExecutionArgs): Plan | null {
  const { operation, schema } = validated;
  const queryType = schema.getQueryType();
  if (operation.operation !== OperationTypeNode.QUERY || !queryType) return null;
  const planning: Planning = { validated, size: 0 };
  try {
    const fields = planFields(planning, queryType, [operation.selectionSet]);
    const isAlone = fields.length === 1;
    const roots = fields.map((field) => planRoot(planning, queryType, field, isAlone));
    return { execute: createExecute(queryType, roots), size: planning.size };
  } catch (error) {
    // graphql-js reports what is wrong with the operation.
    if (error === needsGraphqlJs || error instanceof GraphQLError) return null;
    throw error;
  }
}

interface Planning {
  readonly validated: ValidatedExecutionArgs;
  size: number;
}

/** The fields of one object in the result that have the same response name. */
interface PlannedField {
  readonly key: string;
  readonly nodes: FieldNodes;
  readonly definition: GraphQLField<unknown, unknown>;
}

type FieldNodes = readonly [FieldNode, ...FieldNode[]];
type Resolve = GraphQLFieldResolver<unknown, unknown>;

interface RootField extends PlannedField {
  readonly parentType: GraphQLObjectType;
  readonly resolve: Resolve;
  /** Null when variables occur in them, so that they are computed for each execution. */
  readonly fixedArguments: Readonly<Record<string, unknown>> | null;
  readonly complete: Complete;
}

/** Turns what a resolver returned into its part of the result. Throws when graphql-js has to do it instead. */
type Complete = (value: unknown) => unknown;

/** Extensions of a root field whose resolver batches with those of other root fields. */
export interface RootFieldExtensions {
  /** Returns the same as the field's resolver, for an operation that selects no other root field. */
  readonly resolveAlone?: Resolve;
}

function planFields(
  planning: Planning,
  parentType: GraphQLObjectType,
  sets: readonly SelectionSetNode[],
): readonly PlannedField[] {
  const { schema, fragmentDefinitions: fragments, variableValues } = planning.validated;
  const fields = collectFields(sets, { fragments, variableValues });
  const byKey = Map.groupBy(fields, ({ alias, name }) => (alias ?? name).value);
  return [...byKey].map(([key, grouped]) => {
    // A group has at least one member.
    const nodes = grouped as unknown as FieldNodes;
    const definition = schema.getField(parentType, nodes[0].name.value);
    planning.size += 1;
    // In an object literal, the key __proto__ would set the prototype.
    const isReserved = key === '__proto__';
    if (definition === undefined || planning.size > maxSize || isReserved) return bailOut();
    return { key, nodes, definition };
  });
}

function planRoot(
  planning: Planning,
  parentType: GraphQLObjectType,
  field: PlannedField,
  isAlone: boolean,
): RootField {
  const { definition, nodes } = field;
  const { resolveAlone } = definition.extensions as RootFieldExtensions;
  return {
    ...field,
    parentType,
    resolve: (isAlone ? resolveAlone : undefined) ?? definition.resolve ?? defaultFieldResolver,
    fixedArguments: findFixedArguments(definition, nodes[0]),
    complete: planValue(planning, definition.type, nodes),
  };
}

function findFixedArguments(
  definition: PlannedField['definition'],
  node: FieldNode,
): RootField['fixedArguments'] {
  let isFixed = true;
  for (const argument of node.arguments ?? []) {
    visit(argument, { Variable: () => void (isFixed = false) });
  }
  return isFixed ? Object.freeze(getArgumentValues(definition, node)) : null;
}

function planValue(planning: Planning, type: GraphQLOutputType, nodes: FieldNodes): Complete {
  if (!isNonNullType(type)) {
    const complete = planPresentValue(planning, type, nodes);
    return (value) => (value === null || value === undefined ? null : complete(value));
  }
  const complete = planPresentValue(planning, type.ofType, nodes);
  return (value) => (value === null || value === undefined ? bailOut() : complete(value));
}

/** For values that are neither null nor undefined. */
function planPresentValue(
  planning: Planning,
  type: GraphQLOutputType,
  nodes: FieldNodes,
): Complete {
  if (isLeafType(type)) return planLeaf(type);
  if (isAbstractType(type)) return planPresentValue(planning, onlyTypeOf(planning, type), nodes);
  if (isListType(type)) return planList(planValue(planning, type.ofType, nodes));
  if (isObjectType(type) && type.isTypeOf === undefined) return planObject(planning, type, nodes);
  return bailOut();
}

/** The type of every value of an interface or union that has only one type. */
function onlyTypeOf(
  { validated: { schema } }: Planning,
  type: GraphQLAbstractType,
): GraphQLObjectType {
  const [only, ...others] = schema.getPossibleTypes(type);
  return only === undefined || others.length > 0 ? bailOut() : only;
}

/** Types whose values of this JavaScript type are already in their final form. */
const finalForms = new Map<GraphQLLeafType, string>([
  [GraphQLString, 'string'],
  [GraphQLID, 'string'],
  [GraphQLBoolean, 'boolean'],
]);

function planLeaf(type: GraphQLLeafType): Complete {
  const finalForm = finalForms.get(type);
  return (value) => {
    if (typeof value === finalForm) return value;
    if (typeof value === 'object' || typeof value === 'function') return bailOut(value);
    return type.coerceOutputValue(value) ?? bailOut();
  };
}

function planList(complete: Complete): Complete {
  return (value) => {
    if (!Array.isArray(value)) return bailOut(value);
    const items: unknown[] = [];
    try {
      for (let at = 0; at < value.length; at += 1) items.push(complete(value[at]));
    } catch (error) {
      value.forEach(ignoreRejection);
      throw error;
    }
    return items;
  };
}

type Members = Record<string, unknown>;

interface Member {
  readonly key: string;
  /** Takes the object that has the member. */
  readonly complete: Complete;
}

function planObject(planning: Planning, type: GraphQLObjectType, nodes: FieldNodes): Complete {
  const fields = planFields(planning, type, selectionSetsOf(nodes));
  return completeObject(fields.map((field) => planMember(planning, type, field)));
}

// A function of its own, like createExecute, so that its closure does not keep the request in memory that was planned.
function completeObject(members: readonly Member[]): Complete {
  return (value) => {
    if (!isPlainObject(value)) return bailOut(value);
    const completed: Members = {};
    for (const { key, complete } of members) completed[key] = complete(value);
    return completed;
  };
}

function isPlainObject(value: unknown): value is Members {
  return typeof value === 'object' && !(value instanceof Error) && !isPromiseLike(value);
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null)?.then === 'function';
}

function planMember(
  planning: Planning,
  { name: typename }: GraphQLObjectType,
  { key, nodes, definition }: PlannedField,
): Member {
  if (definition === TypeNameMetaFieldDef) return { key, complete: () => typename };
  const { name, type, args, resolve = defaultFieldResolver } = definition;
  const complete = planValue(planning, type, nodes);
  if (args.length > 0) return bailOut();
  if (resolve === defaultFieldResolver) {
    return { key, complete: (source) => complete((source as Members)[name]) };
  }
  // A resolver with one parameter uses its source alone.
  if (resolve.length !== 1) return bailOut();
  const read = resolve as (source: unknown) => unknown;
  return { key, complete: (source) => complete(read(source)) };
}

const needsGraphqlJs = new Error('Left to graphql-js.');

/** Leaves the operation to graphql-js, because of this value. */
function bailOut(value?: unknown): never {
  ignoreRejection(value);
  throw needsGraphqlJs;
}

/** graphql-js may read another promise from the same field, and an unhandled rejection would end the process. */
function ignoreRejection(value: unknown): void {
  if (isPromiseLike(value)) value.then(undefined, () => undefined);
}

function createExecute(
  queryType: GraphQLObjectType,
  roots: readonly RootField[],
): ExecuteOperation {
  return (validated) => {
    const { externalAbortSignal: signal } = validated;
    signal?.throwIfAborted();
    const values: unknown[] = [];
    const executeByGraphQL = () =>
      executeRootSelectionSet(replayRootValues(queryType, roots, values, validated));
    let isWaiting = false;
    for (const root of roots) {
      const value = callResolver(root, validated);
      values.push(value);
      if (value instanceof Thrown) return executeByGraphQL();
      if (isPromiseLike(value)) isWaiting = true;
    }
    const complete = (settled: readonly unknown[]) => {
      const data: Members = {};
      try {
        for (const [at, root] of roots.entries()) data[root.key] = root.complete(settled[at]);
      } catch {
        return executeByGraphQL();
      }
      return { data };
    };
    return isWaiting ? waitFor(values, signal).then(complete, executeByGraphQL) : complete(values);
  };
}

class Thrown {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

function callResolver(root: RootField, validated: ValidatedExecutionArgs): unknown {
  const { definition, nodes, resolve, fixedArguments } = root;
  const { rootValue, contextValue, variableValues, hideSuggestions } = validated;
  try {
    const args =
      fixedArguments ??
      getArgumentValues(definition, nodes[0], variableValues, undefined, hideSuggestions);
    return resolve(rootValue, args, contextValue, toResolveInfo(root, validated));
  } catch (error) {
    return new Thrown(error);
  }
}

function toResolveInfo(
  { key, nodes, definition, parentType }: RootField,
  validated: ValidatedExecutionArgs,
): GraphQLResolveInfo {
  const { schema, fragmentDefinitions, rootValue, operation, variableValues } = validated;
  return {
    fieldName: definition.name,
    fieldNodes: nodes,
    returnType: definition.type,
    parentType,
    path: { prev: undefined, key, typename: parentType.name },
    schema,
    fragments: fragmentDefinitions,
    rootValue,
    operation,
    variableValues,
    getAbortSignal: () => validated.externalAbortSignal,
    getAsyncHelpers: () => asyncHelpers,
  };
}

const asyncHelpers: ReturnType<GraphQLResolveInfo['getAsyncHelpers']> = {
  promiseAll: (values) => Promise.all(values),
  track: () => undefined,
};

async function waitFor(
  values: readonly unknown[],
  signal: AbortSignal | undefined,
): Promise<readonly unknown[]> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal?.reason);
  signal?.addEventListener('abort', abort);
  try {
    return await Promise.race([Promise.all(values), aborted.promise]);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** The same operation over a schema whose root resolvers return what they returned before, so none is called twice. */
function replayRootValues(
  queryType: GraphQLObjectType,
  roots: readonly RootField[],
  values: readonly unknown[],
  validated: ValidatedExecutionArgs,
): ValidatedExecutionArgs {
  const { schema } = validated;
  const known = new Map(values.map((value, at) => [roots[at]?.key, value]));
  const replay = (resolve: Resolve): Resolve => {
    return (source, args, context, info) => {
      // It was not called if one before it has thrown.
      if (!known.has(String(info.path.key))) return resolve(source, args, context, info);
      const value = known.get(String(info.path.key));
      if (value instanceof Thrown) throw value.error;
      return value;
    };
  };
  const getField: GraphQLSchema['getField'] = (type, name) => {
    const definition = schema.getField(type, name);
    if (type !== queryType || definition === undefined) return definition;
    const resolve = replay(definition.resolve ?? defaultFieldResolver);
    return Object.create(definition, { resolve: { value: resolve } }) as typeof definition;
  };
  // graphql-js finds each field that it executes with `getField`.
  const replaying = Object.create(schema, { getField: { value: getField } }) as GraphQLSchema;
  return { ...validated, schema: replaying };
}
