// Owns the straight way through a value: that of one in which nothing has to be waited for and nothing is wrong, as nearly
// all are. It makes the members of the answer and nothing beside them, neither paths nor places for errors. What it meets
// that is out of the ordinary it leaves to compiled.ts, which then begins with that value anew.

import {
  defaultFieldResolver,
  GraphQLBoolean,
  GraphQLID,
  type GraphQLLeafType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  GraphQLString,
  isLeafType,
  isListType,
  isNonNullType,
  TypeNameMetaFieldDef,
} from 'graphql';
import type { PlannedField } from './plan.ts';
import { abandon } from './promises.ts';

/** The completed value. Throws whatever it likes where that takes more than the straight way. */
export type GoStraight = (value: unknown) => unknown;

/**
 * How the value of this field is completed. Null where the selection on it needs the context, arguments or `info`: those
 * are given to resolvers on the other way alone.
 */
export function compileStraight({ definition, fields }: PlannedField): GoStraight | null {
  return compileType(definition.type, fields);
}

const beyond = new Error('The value is left to the other way.');

/** The other way may be given another value in the place of this one, in which case nobody waits for what is in it. */
function giveUp(value: unknown): never {
  // Other iterables stay as they are: some can be gone through only once, and the other way has yet to do it.
  const isList = Array.isArray(value) || value instanceof Set;
  abandon(isList ? [...value] : [value]);
  throw beyond;
}

type Fields = readonly PlannedField[];

function compileType(type: GraphQLOutputType, fields: Fields): GoStraight | null {
  if (isNonNullType(type)) {
    const complete = compileNullable(type.ofType, fields);
    return (
      complete &&
      ((value) => {
        if (value === null || value === undefined) throw beyond;
        return complete(value);
      })
    );
  }
  const complete = compileNullable(type, fields);
  return complete && ((value) => (value === null || value === undefined ? null : complete(value)));
}

/** Of a value that is there. */
function compileNullable(type: GraphQLOutputType, fields: Fields): GoStraight | null {
  if (isLeafType(type)) return compileLeaf(type);
  return isListType(type) ? compileList(type.ofType, fields) : compileObject(fields);
}

const kinds = new Map<GraphQLLeafType, string>([
  [GraphQLString, 'string'],
  [GraphQLID, 'string'],
  [GraphQLBoolean, 'boolean'],
]);

function compileLeaf(type: GraphQLLeafType): GoStraight {
  // Values of this kind are what the type makes of them.
  const kind = kinds.get(type);
  return (value) => {
    if (typeof value === kind) return value;
    // Nothing that a promise or an error could be.
    if (typeof value === 'object' || typeof value === 'function') giveUp(value);
    return type.coerceOutputValue(value) ?? giveUp(value);
  };
}

function compileList(type: GraphQLOutputType, fields: Fields): GoStraight | null {
  const complete = compileType(type, fields);
  if (complete === null) return null;
  return (value) => {
    if (!Array.isArray(value)) return giveUp(value);
    const items: unknown[] = [];
    try {
      for (let at = 0; at < value.length; at += 1) items.push(complete(value[at]));
    } catch {
      return giveUp(value);
    }
    return items;
  };
}

type Members = Record<string, unknown>;

function compileObject(fields: Fields): GoStraight | null {
  const members: { readonly key: string; readonly complete: GoStraight }[] = [];
  for (const field of fields) {
    const complete = compileField(field);
    if (complete === null) return null;
    members.push({ key: field.key, complete });
  }
  return (value) => {
    if (!isPlain(value)) return giveUp(value);
    const completed: Members = {};
    for (const { key, complete } of members) completed[key] = complete(value);
    return completed;
  };
}

function isPlain(value: unknown): value is Members {
  return (
    typeof value === 'object' &&
    value !== null &&
    !(value instanceof Error) &&
    typeof (value as Members)['then'] !== 'function'
  );
}

/** Of an object that has the field. */
function compileField(field: PlannedField): GoStraight | null {
  const { definition, parentType, fields } = field;
  const typename = parentType.name;
  if (definition === TypeNameMetaFieldDef) return () => typename;
  const { name, resolve = defaultFieldResolver, args } = definition;
  const complete = compileType(definition.type, fields);
  if (complete === null || args.length > 0) return null;
  if (resolve === defaultFieldResolver) return (source) => complete((source as Members)[name]);
  // It looks at its source and at nothing else.
  if (resolve.length !== 1) return null;
  return (source) => complete(resolve(source, noArguments, undefined, noInfo));
}

const noArguments = {};
// The resolvers that could look at it are not called.
const noInfo = undefined as unknown as GraphQLResolveInfo;
