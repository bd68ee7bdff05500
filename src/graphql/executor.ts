// Owns the execution of a plan. It gives what graphql-js gives, member by member and error by error, and
// test/graphql/executor.test.ts holds it to that; it is faster because what can be known of a field was found out once. Nothing
// is evaluated: graphql-jit writes the values of a document into code that it runs, and some of them break out of it.

import {
  AbortedGraphQLExecutionError,
  defaultFieldResolver,
  type ExecutionResult,
  getArgumentValues,
  GraphQLError,
  type GraphQLFieldResolver,
  type GraphQLLeafType,
  type GraphQLList,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLResolveInfoHelpers,
  isLeafType,
  isListType,
  isNonNullType,
  locatedError,
  responsePathAsArray,
  TypeNameMetaFieldDef,
  type ValidatedExecutionArgs,
} from 'graphql';
import type { Plan, PlannedField } from './plan.ts';
import { abandon, isIterable, isPromiseLike } from './promises.ts';
import { compileStraight } from './straight.ts';

export type ExecuteOperation = (
  validated: ValidatedExecutionArgs,
) => ExecutionResult | Promise<ExecutionResult>;

/**
 * Executes the operation of this plan, with any variables under which the plan would be the same. As in graphql-js, an
 * aborted signal ends it with AbortedGraphQLExecutionError, and no resolver is called from then on. Resolvers may give
 * values, promises and iterables; of asynchronous iterables it knows nothing.
 */
export function compile({ fields }: Plan): ExecuteOperation {
  const executeFields = compileFields(fields, compileRootType);
  return (validated) => {
    const { rootValue, externalAbortSignal: signal } = validated;
    signal?.throwIfAborted();
    const run = {
      validated,
      getAbortSignal: () => signal,
      errors: createErrors(),
      hasEnded: false,
    };
    let data: unknown;
    try {
      data = executeFields(run, rootValue, undefined);
    } catch (error) {
      data = run.errors.addAtRoot(error);
    }
    if (data instanceof Promise) return settleRoot(run, data, signal);
    run.hasEnded = true;
    const result = toResult(run, data);
    if (signal?.aborted) throw new AbortedGraphQLExecutionError(signal.reason, result);
    return result;
  };
}

/** One execution. */
interface Run {
  readonly validated: ValidatedExecutionArgs;
  readonly getAbortSignal: GraphQLResolveInfo['getAbortSignal'];
  readonly errors: Errors;
  hasEnded: boolean;
}

type Path = GraphQLResolveInfo['path'];
type Read = (run: Run, source: unknown, path: Path) => unknown;
/** Throws what is wrong with a value; gives a promise where something in it has to be waited for. */
type Complete = (run: Run, value: unknown, path: Path) => unknown;
/** Throws, now or later, when nothing can stand in the place of an error. */
type ExecuteFields = (run: Run, source: unknown, path: Path | undefined) => unknown;

function toResult({ errors: { list } }: Run, data: unknown): ExecutionResult {
  const members = data as NonNullable<ExecutionResult['data']> | null;
  return list.length > 0 ? { errors: list, data: members } : { data: members };
}

function settleRoot(
  run: Run,
  data: Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<ExecutionResult> {
  const arrive = (members: unknown) => toResult(run, members);
  const lose = (error: unknown) => toResult(run, run.errors.addAtRoot(error));
  return new Promise((resolve, reject) => {
    const end = () => {
      run.hasEnded = true;
      signal?.removeEventListener('abort', stop);
    };
    const stop = () => {
      end();
      reject(new AbortedGraphQLExecutionError(signal?.reason, data.then(arrive, lose)));
    };
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) return stop();
    const endWith = (toTold: (told: unknown) => ExecutionResult) => (told: unknown) => {
      if (run.hasEnded) return;
      end();
      resolve(toTold(told));
    };
    data.then(endWith(arrive), endWith(lose));
  });
}

type CompileType = (field: PlannedField, type: GraphQLOutputType) => Complete;

function compileFields(fields: readonly PlannedField[], toComplete: CompileType): ExecuteFields {
  const compiled = fields.map((field) => ({
    key: field.key,
    execute: compileField(field, toComplete),
  }));
  return (run, source, path) => {
    const members: Members = {};
    const awaited: string[] = [];
    try {
      for (const { key, execute } of compiled) {
        const value = execute(run, source, path);
        members[key] = value;
        if (value instanceof Promise) awaited.push(key);
      }
    } catch (error) {
      abandon(awaited.map((key) => members[key]));
      throw error;
    }
    return awaited.length > 0 ? settleMembers(members, awaited) : members;
  };
}

type Members = Record<string, unknown>;

async function settleMembers(members: Members, awaited: readonly string[]): Promise<Members> {
  const values = await Promise.all(awaited.map((key) => members[key]));
  for (const [at, key] of awaited.entries()) members[key] = values[at];
  return members;
}

function compileField(field: PlannedField, toComplete: CompileType): ExecuteFields {
  const { key, definition, parentType } = field;
  const typename = parentType.name;
  if (definition === TypeNameMetaFieldDef) return () => typename;
  const read = compileRead(field);
  const place = { field, type: definition.type, complete: toComplete(field, definition.type) };
  return (run, source, prev) => {
    const path: Path = { prev, key, typename };
    try {
      return settle(run, place, read(run, source, path), path);
    } catch (error) {
      return fail(run, place, error, path);
    }
  };
}

function compileRead(field: PlannedField): Read {
  const { definition, nodes, resolve } = field;
  const call = (resolver: GraphQLFieldResolver<unknown, unknown>): Read => {
    return (run, source, path) => {
      const { contextValue, variableValues, hideSuggestions } = run.validated;
      const args =
        field.fixedArguments ??
        getArgumentValues(definition, nodes[0], variableValues, undefined, hideSuggestions);
      return resolver(source, args, contextValue, toInfo(run, field, path));
    };
  };
  if (resolve !== undefined) return call(resolve);
  const callDefault = call(defaultFieldResolver);
  if (definition.args.length > 0) return callDefault;
  return (run, source, path) => {
    if (typeof source !== 'object' || source === null) return callDefault(run, source, path);
    const property = (source as Readonly<Record<string, unknown>>)[definition.name];
    return typeof property === 'function' ? callDefault(run, source, path) : property;
  };
}

const asyncHelpers: GraphQLResolveInfoHelpers = {
  promiseAll: (values) => Promise.all(values),
  track: abandon,
};
const getAsyncHelpers = () => asyncHelpers;

function toInfo(run: Run, field: PlannedField, path: Path): GraphQLResolveInfo {
  const { schema, fragmentDefinitions, rootValue, operation, variableValues } = run.validated;
  return {
    fieldName: field.definition.name,
    fieldNodes: field.nodes,
    returnType: field.definition.type,
    parentType: field.parentType,
    path,
    schema,
    fragments: fragmentDefinitions,
    rootValue,
    operation,
    variableValues,
    getAbortSignal: run.getAbortSignal,
    getAsyncHelpers,
  };
}

/** A field, or an item of a list: what can have a null and an error of its own. */
interface Place {
  readonly field: PlannedField;
  readonly type: GraphQLOutputType;
  readonly complete: Complete;
}

function settle(run: Run, place: Place, value: unknown, path: Path): unknown {
  if (isPromiseLike(value)) return settleLater(run, place, value, path);
  const completed = place.complete(run, value, path);
  return completed instanceof Promise
    ? completed.catch((error: unknown) => fail(run, place, error, path))
    : completed;
}

async function settleLater(
  run: Run,
  place: Place,
  value: PromiseLike<unknown>,
  path: Path,
): Promise<unknown> {
  try {
    const resolved = await value;
    if (run.hasEnded) throw new Error('The execution has ended.');
    const completed = place.complete(run, resolved, path);
    return completed instanceof Promise ? await completed : completed;
  } catch (error) {
    return fail(run, place, error, path);
  }
}

/** Puts null in the place of what failed, or throws where null may not stand. */
function fail(run: Run, { field, type }: Place, thrown: unknown, path: Path): null {
  const error = locatedError(thrown, field.nodes, responsePathAsArray(path));
  if (isNonNullType(type)) throw error;
  run.errors.add(error, path);
  return null;
}

/** The straight way for as long as it goes. */
function compileRootType(field: PlannedField, type: GraphQLOutputType): Complete {
  const complete = compileType(field, type);
  const goStraight = compileStraight(field);
  if (goStraight === null) return complete;
  return (run, value, path) => {
    try {
      return goStraight(value);
    } catch {
      return complete(run, value, path);
    }
  };
}

function compileType(field: PlannedField, type: GraphQLOutputType): Complete {
  if (!isNonNullType(type)) return compileNullable(field, type);
  const complete = compileNullable(field, type.ofType);
  const name = `${field.parentType.name}.${field.definition.name}`;
  return (run, value, path) => {
    const completed = complete(run, value, path);
    if (completed !== null) return completed;
    throw new Error(`Cannot return null for non-nullable field ${name}.`);
  };
}

function compileNullable(field: PlannedField, type: GraphQLOutputType): Complete {
  const complete = compileNamed(field, type);
  return (run, value, path) => {
    if (value instanceof Error) throw value;
    return value === null || value === undefined ? null : complete(run, value, path);
  };
}

function compileNamed(field: PlannedField, type: GraphQLOutputType): Complete {
  if (isListType(type)) return compileList(field, type);
  if (isLeafType(type)) return compileLeaf(type);
  return compileFields(field.fields, compileType);
}

function compileLeaf(type: GraphQLLeafType): Complete {
  return (_run, value) => {
    const coerced = type.coerceOutputValue(value);
    if (coerced !== null && coerced !== undefined) return coerced;
    throw new Error(`${type.name} made nothing of a value.`);
  };
}

function compileList(field: PlannedField, list: GraphQLList<GraphQLOutputType>): Complete {
  const type = list.ofType;
  const place = { field, type, complete: compileType(field, type) };
  const name = `${field.parentType.name}.${field.definition.name}`;
  return (run, value, path) => {
    if (!isIterable(value)) {
      throw new GraphQLError(`Expected Iterable, but did not find one for field "${name}".`);
    }
    const items = Array.isArray(value) ? value : [...value];
    const completed: unknown[] = [];
    let waits = false;
    try {
      for (let at = 0; at < items.length; at += 1) {
        const item = completeItem(run, place, items[at], {
          prev: path,
          key: at,
          typename: undefined,
        });
        completed.push(item);
        if (item instanceof Promise) waits = true;
      }
    } catch (error) {
      abandon([...completed, ...items]);
      throw error;
    }
    return waits ? Promise.all(completed) : completed;
  };
}

function completeItem(run: Run, place: Place, item: unknown, path: Path): unknown {
  try {
    return settle(run, place, item, path);
  } catch (error) {
    return fail(run, place, error, path);
  }
}

interface Errors {
  readonly list: readonly GraphQLError[];
  /** Unless null stands already at the path or above it: what is below is not in the answer. */
  add(error: GraphQLError, path: Path | undefined): void;
  /** The data that is left, null. */
  addAtRoot(thrown: unknown): null;
}

function createErrors(): Errors {
  const list: GraphQLError[] = [];
  const nulled = new Set<Path | undefined>();
  const isNulled = (path: Path | undefined): boolean =>
    nulled.has(path) || (path !== undefined && isNulled(path.prev));
  const add = (error: GraphQLError, path: Path | undefined): void => {
    if (isNulled(path)) return;
    nulled.add(path);
    list.push(error);
  };
  return {
    list,
    add,
    addAtRoot(thrown) {
      add(thrown instanceof GraphQLError ? thrown : locatedError(thrown, undefined), undefined);
      return null;
    },
  };
}
