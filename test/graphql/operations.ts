// Valid operations over a schema, made from what chance says, and resolvers that fail in every way that a resolver can.

import {
  buildSchema,
  getNamedType,
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  isEnumType,
  isIntrospectionType,
  isListType,
  isNonNullType,
  isObjectType,
  printSchema,
  responsePathAsArray,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
} from 'graphql';
import { type Chance, createChance } from '../http/hostile-requests.ts';

/** Takes its decisions from these numbers, and the first option each time when they have run out. */
export function toChance(numbers: readonly number[]): Chance {
  let at = 0;
  const below = (limit: number): number => (numbers[at++] ?? 0) % limit;
  return {
    below,
    // The index is below the length.
    pick: <T>(options: readonly T[]) => options[below(options.length)] as T,
    percent: (share) => below(100) >= 100 - share,
  };
}

/** The variables that operations may use, each with its type; `$yes` has a default value. */
const variableTypes: Readonly<Record<string, string>> = {
  id: 'ID!',
  refresh: 'Boolean',
  left: 'Boolean!',
  right: 'Boolean!',
  yes: 'Boolean = true',
};

const deepest = 6;
/** Validation refuses introspection that goes in circles. */
const deepestIntrospection = 3;

/** A document with one operation, two sometimes; the one to execute is named `Asked`. */
export function createOperation(schema: GraphQLSchema, chance: Chance): string {
  const writing: Writing = { chance, fragments: new Map(), variables: new Set(), open: 0 };
  const root = schema.getQueryType() as GraphQLObjectType;
  const selection = writeSelection(writing, root, 1);
  const variables = [...writing.variables].map((name) => `$${name}: ${variableTypes[name]}`);
  const head = variables.length > 0 ? `(${variables.join(', ')})` : '';
  const other = chance.percent(10) ? ['query Other { __typename }'] : [];
  const fragments = [...writing.fragments.values()].flat().map(({ text }) => text);
  return [`query Asked${head} ${selection}`, ...other, ...fragments].join('\n');
}

interface Writing {
  readonly chance: Chance;
  /** By the name of their type. */
  readonly fragments: Map<string, { readonly name: string; readonly text: string }[]>;
  readonly variables: Set<string>;
  /** Fragments that are being written. */
  open: number;
}

function writeSelection(writing: Writing, type: GraphQLObjectType, depth: number): string {
  const { chance } = writing;
  const count = 1 + chance.below(depth === 1 ? 4 : 6);
  const parts = Array.from({ length: count }, () => writePart(writing, type, depth));
  return `{ ${parts.join(' ')} }`;
}

function writePart(writing: Writing, type: GraphQLObjectType, depth: number): string {
  const { chance } = writing;
  if (chance.percent(12)) {
    const condition = chance.percent(50) ? ` on ${type.name}` : '';
    return `...${condition}${writeDirectives(writing)} ${writeSelection(writing, type, depth)}`;
  }
  if (chance.percent(15) && writing.open < 3) {
    return `...${writeFragment(writing, type, depth)}${writeDirectives(writing)}`;
  }
  return writeField(writing, type, depth);
}

function writeFragment(writing: Writing, type: GraphQLObjectType, depth: number): string {
  const written = writing.fragments.get(type.name) ?? [];
  // One that is written is closed, so that none uses itself.
  if (written.length > 0 && depth < 3 && writing.chance.percent(60)) {
    return writing.chance.pick(written).name;
  }
  writing.open += 1;
  const selection = writeSelection(writing, type, depth);
  writing.open -= 1;
  const closed = writing.fragments.get(type.name) ?? [];
  const name = `${type.name.replaceAll('_', '')}${closed.length}`;
  const text = `fragment ${name} on ${type.name} ${selection}`;
  writing.fragments.set(type.name, [...closed, { name, text }]);
  return name;
}

function writeField(writing: Writing, type: GraphQLObjectType, depth: number): string {
  const { chance } = writing;
  const bound = isIntrospectionType(type) ? deepestIntrospection : deepest;
  const isTooDeep = (field: GraphQLField<unknown, unknown>) =>
    depth >= bound && isObjectType(getNamedType(field.type));
  const fields = Object.values(type.getFields()).filter((field) => !isTooDeep(field));
  if (depth === 1) fields.push(SchemaMetaFieldDef, TypeMetaFieldDef);
  if (fields.length === 0 || chance.percent(10)) return '__typename';
  const field = chance.pick(fields);
  const { text, mark } = writeArguments(writing, field);
  // Fields with one name in the answer have to be one field with one set of arguments.
  const alias = mark !== '' || chance.percent(20) ? `${field.name}_${mark}: ` : '';
  const named = getNamedType(field.type);
  const below = isObjectType(named) ? ` ${writeSelection(writing, named, depth + 1)}` : '';
  return `${alias}${field.name}${text}${writeDirectives(writing)}${below}`;
}

const numberArguments = [
  '(id: "a")',
  '(id: "b", refresh: true)',
  '(id: "c", refresh: null)',
  '(id: $id)',
  '(refresh: $refresh, id: $id)',
  '(id: 7, refresh: $left)',
];

function writeArguments(
  writing: Writing,
  field: GraphQLField<unknown, unknown>,
): { readonly text: string; readonly mark: string } {
  const options = toArguments(field);
  const at = writing.chance.below(options.length);
  const text = options[at] ?? '';
  useVariables(writing, text);
  return { text, mark: options.length > 1 ? String(at) : '' };
}

function toArguments({ name, args }: GraphQLField<unknown, unknown>): readonly string[] {
  if (args.some((argument) => argument.name === 'refresh')) return numberArguments;
  if (name === '__type')
    return ['(name: "WhatsAppNumber")', '(name: "Provider")', '(name: "Nope")'];
  if (args.some((argument) => argument.name === 'includeDeprecated')) {
    return ['', '(includeDeprecated: true)', '(includeDeprecated: $left)'];
  }
  return [''];
}

function writeDirectives(writing: Writing): string {
  const { chance } = writing;
  if (!chance.percent(20)) return '';
  const condition = () => chance.pick(['$left', '$right', '$yes', 'true', 'false']);
  const include = () => ` @include(if: ${condition()})`;
  const skip = () => ` @skip(if: ${condition()})`;
  const text = chance.pick([include, skip, () => skip() + include(), () => include() + skip()])();
  useVariables(writing, text);
  return text;
}

function useVariables(writing: Writing, text: string): void {
  for (const [, name = ''] of text.matchAll(/\$(\w+)/g)) writing.variables.add(name);
}

/** Values for the variables of every operation; some are left to their defaults. */
export function createVariables(chance: Chance): Readonly<Record<string, unknown>> {
  return {
    id: chance.pick<unknown>(['a', 'b', 7]),
    left: chance.percent(50),
    right: chance.percent(50),
    ...(chance.percent(50) && { yes: chance.percent(50) }),
    ...(chance.percent(50) && { refresh: chance.pick([true, false, null]) }),
  };
}

/** What a resolver was called with, in a form that can be compared. */
export interface Call {
  readonly path: readonly (string | number)[];
  readonly args: unknown;
  readonly info: unknown;
}

/** The context of an execution on a faulty schema. */
export interface Faults {
  readonly seed: number;
  /** How many of a hundred values are wrong. */
  readonly share: number;
  /** How many of a hundred values are promised. */
  readonly late: number;
  readonly calls: Call[];
}

/**
 * The types of a schema, with resolvers that give any value of the right type, or fail. What they do depends on the seed
 * and on the place in the answer alone. `simple`: below the root they look at their source alone, as ours do.
 */
export function toFaultySchema(original: GraphQLSchema, simple = false): GraphQLSchema {
  const schema = buildSchema(printSchema(original));
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || isIntrospectionType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      // Some fields are read from their object instead, as ours mostly are.
      const isRead = type.name !== 'Query' && field.name.length % 3 === 0;
      if (!isRead) field.resolve = simple && type.name !== 'Query' ? toReader(field.name) : resolve;
    }
  }
  return schema;
}

function toReader(name: string): GraphQLFieldResolver<unknown, Faults> {
  return (source) => {
    const member = (source as Readonly<Record<string, unknown>>)[name];
    return typeof member === 'function' ? member() : member;
  };
}

const resolve: GraphQLFieldResolver<unknown, Faults> = (_source, args, faults, info) => {
  const path = responsePathAsArray(info.path);
  faults.calls.push({ path, args: { ...args }, info: toComparable(info) });
  return toValue(info.returnType, toSource(faults, path), faults);
};

function toComparable(info: GraphQLResolveInfo): unknown {
  const { fieldName, fieldNodes, returnType, parentType, fragments, variableValues } = info;
  return {
    fieldName,
    nodes: fieldNodes.map((node) => node.loc?.start),
    type: String(returnType),
    parent: String(parentType),
    fragments: Object.keys(fragments),
    variables: { ...variableValues.coerced },
    schema: info.schema.getQueryType()?.name,
    operation: info.operation.name?.value,
    typenames: toTypenames(info.path),
  };
}

function toTypenames(path: GraphQLResolveInfo['path'] | undefined): readonly unknown[] {
  return path === undefined ? [] : [...toTypenames(path.prev), path.typename];
}

/** Chance that is the same at the same place. */
function toSource({ seed }: Faults, path: readonly (string | number)[]): Chance {
  let state = seed;
  for (const letter of path.join('.')) {
    state = Math.imul(state ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  }
  return createChance(state);
}

type Shares = Pick<Faults, 'share' | 'late'>;

function toValue(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  if (chance.percent(shares.share)) return toFault(chance);
  const value = toRightValue(type, chance, shares);
  if (chance.percent(shares.late)) return later(value, chance);
  return value;
}

const faults: readonly ((chance: Chance) => unknown)[] = [
  () => null,
  () => undefined,
  () => {
    throw new Error('Thrown.');
  },
  () => {
    throw Object.assign(new Error('Thrown with more.'), { extensions: { code: 'X' } });
  },
  () => {
    // oxlint-disable-next-line no-throw-literal -- resolvers may
    throw 'no error';
  },
  () => new Error('Returned.'),
  (chance) => later(new Error('Rejected.'), chance),
  (chance) => later(null, chance),
  () => 'a word of no enum',
  () => ({ an: 'object' }),
  () => Number.NaN,
];

function toFault(chance: Chance): unknown {
  return chance.pick(faults)(chance);
}

/** After some microtasks, or after a turn of the event loop. */
async function later(value: unknown, chance: Chance): Promise<unknown> {
  const turns = chance.below(6);
  if (turns === 5) await new Promise((done) => void setImmediate(done));
  // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
  if (value instanceof Error) throw value;
  return value;
}

function toRightValue(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  if (isNonNullType(type)) return toRightValue(type.ofType, chance, shares);
  if (isListType(type)) {
    const items = Array.from({ length: chance.below(4) }, () =>
      toItem(type.ofType, chance, shares),
    );
    return chance.percent(10) ? new Set(items) : items;
  }
  if (isObjectType(type)) return toObject(type, chance, shares);
  if (isEnumType(type)) return chance.pick(type.getValues()).value;
  switch (type.name) {
    case 'Boolean':
      return chance.percent(50);
    case 'Int':
      return chance.below(100);
    default:
      return chance.pick<unknown>(['text', '', 7, '2026-06-30T09:18:33.000Z']);
  }
}

// An item cannot throw, but it can be what was thrown. One that rejects may do so before its list has arrived.
function toItem(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  try {
    const value = toValue(type, chance, shares);
    if (value instanceof Promise) value.catch(() => undefined);
    return value;
  } catch (error) {
    return error;
  }
}

/** With members for the fields that have no resolver; a member may be a method, and a getter may throw. */
function toObject(type: GraphQLObjectType, chance: Chance, shares: Shares): unknown {
  const object = {};
  for (const { name, resolve: resolver, type: ofField } of Object.values(type.getFields())) {
    if (resolver === resolve) continue;
    const seed = chance.below(2 ** 31);
    const get = () => toValue(ofField, createChance(seed), shares);
    const member = chance.percent(20) ? { value: get } : { get };
    Object.defineProperty(object, name, { ...member, enumerable: true });
  }
  return object;
}
