// Generates valid operations over a schema, and resolvers that fail in every way that a resolver can.

import {
  buildSchema,
  getNamedType,
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLInterfaceType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  isEnumType,
  isInterfaceType,
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

/** Makes its decisions from these numbers, and takes the first option each time when they are used up. */
export function createTape(numbers: readonly number[]): Chance {
  let at = 0;
  const below = (limit: number): number => (numbers[at++] ?? 0) % limit;
  return {
    below,
    // The index is below the length.
    pick: <T>(options: readonly T[]) => options[below(options.length)] as T,
    percent: (share) => below(100) >= 100 - share,
  };
}

/** The variables that operations may use, with their types. */
const variableTypes: Readonly<Record<string, string>> = {
  id: 'ID!',
  refresh: 'Boolean',
  left: 'Boolean!',
  right: 'Boolean!',
  yes: 'Boolean = true',
};

const maxDepth = 6;
/** Validation rejects deeply nested introspection. */
const maxIntrospectionDepth = 3;

/** A document with one operation or two. The one to execute is named `Main`. */
export function createOperation(schema: GraphQLSchema, chance: Chance): string {
  const writing: Writing = { chance, fragments: new Map(), variables: new Set(), open: 0 };
  const root = schema.getQueryType() as GraphQLObjectType;
  const selection = writeSelection(writing, root, 1);
  const variables = [...writing.variables].map((name) => `$${name}: ${variableTypes[name]}`);
  const head = variables.length > 0 ? `(${variables.join(', ')})` : '';
  const other = chance.percent(10) ? ['query Other { __typename }'] : [];
  const fragments = [...writing.fragments.values()].flat().map(({ text }) => text);
  return [`query Main${head} ${selection}`, ...other, ...fragments].join('\n');
}

interface Writing {
  readonly chance: Chance;
  /** By the name of their types. */
  readonly fragments: Map<string, { readonly name: string; readonly text: string }[]>;
  readonly variables: Set<string>;
  /** How many fragments are being written. */
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
  // Only a finished fragment is used again, so that none spreads itself.
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
  const bound = isIntrospectionType(type) ? maxIntrospectionDepth : maxDepth;
  const isTooDeep = (field: GraphQLField<unknown, unknown>) =>
    depth >= bound && isObjectType(getNamedType(field.type));
  const fields = Object.values(type.getFields()).filter((field) => !isTooDeep(field));
  if (depth === 1) fields.push(SchemaMetaFieldDef, TypeMetaFieldDef);
  if (fields.length === 0 || chance.percent(10)) return '__typename';
  const field = chance.pick(fields);
  const { text, mark } = writeArguments(writing, field);
  // Fields with the same response name must have the same arguments.
  const alias = mark !== '' || chance.percent(20) ? `${field.name}_${mark}: ` : '';
  const named = getNamedType(field.type);
  const below = isObjectType(named)
    ? ` ${writeSelection(writing, named, depth + 1)}`
    : isInterfaceType(named)
      ? ` ${writeNodeSelection(writing, type, depth)}`
      : '';
  return `${alias}${field.name}${text}${writeDirectives(writing)}${below}`;
}

/** The selection on a Node, whose only implementation is the type that `numbers` lists. */
function writeNodeSelection(writing: Writing, query: GraphQLObjectType, depth: number): string {
  const implementation = getNamedType(query.getFields()['numbers']!.type) as GraphQLObjectType;
  const selection = writeSelection(writing, implementation, depth + 1);
  return `{ id ... on ${implementation.name} ${selection} }`;
}

/** By the name of the field. */
const queryArguments: Readonly<Record<string, readonly string[]>> = {
  numbers: ['', '(ids: ["a", "b", "a"])', '(ids: [], refresh: $left)', '(ids: null)'],
  node: ['(id: "a")', '(id: $id)'],
  nodes: ['(ids: ["a", "b"])', '(ids: [$id])'],
  incidents: ['', '(state: OPEN)', '(first: 2)'],
  incident: ['(id: "a")', '(id: $id)'],
  timeline: [
    '(field: STATE, from: "2026-01-01T00:00:00Z")',
    '(field: VERDICT, from: "2026-01-01T00:00:00Z", to: null)',
  ],
};

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
  const ofQuery = queryArguments[name];
  if (ofQuery !== undefined && args.length > 0) return ofQuery;
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

/** Values for the variables of every operation; some are omitted. */
export function createVariables(chance: Chance): Readonly<Record<string, unknown>> {
  return {
    id: chance.pick<unknown>(['a', 'b', 7]),
    left: chance.percent(50),
    right: chance.percent(50),
    ...(chance.percent(50) && { yes: chance.percent(50) }),
    ...(chance.percent(50) && { refresh: chance.pick([true, false, null]) }),
  };
}

/** What a resolver was called with, in a comparable form. */
export interface Call {
  readonly path: readonly (string | number)[];
  readonly args: unknown;
  readonly info: unknown;
}

/** The context of an execution over a faulty schema. */
export interface Faults {
  readonly seed: number;
  /** How many percent of the values are faulty. */
  readonly share: number;
  /** How many percent of the values are promises. */
  readonly late: number;
  readonly calls: Call[];
}

/**
 * The types of a schema with resolvers that return some value of the right type, or fail. What they do depends only on the
 * seed and on the path in the result. `simple`: below the root they use only their source, as those of the real schema.
 */
export function createFaultySchema(original: GraphQLSchema, simple = false): GraphQLSchema {
  const schema = buildSchema(printSchema(original));
  for (const type of Object.values(schema.getTypeMap())) {
    if (isInterfaceType(type)) {
      const [implementation] = schema.getPossibleTypes(type);
      implementations.set(type, implementation!);
      type.resolveType = () => implementation!.name;
    }
    if (!isObjectType(type) || isIntrospectionType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      // Other fields have no resolver, like most of the real schema.
      const isRead = type.name !== 'Query' && field.name.length % 3 === 0;
      if (!isRead) field.resolve = simple && type.name !== 'Query' ? toReader(field.name) : resolve;
    }
  }
  return schema;
}

/** The only implementation of each interface. */
const implementations = new WeakMap<GraphQLInterfaceType, GraphQLObjectType>();

function toReader(name: string): GraphQLFieldResolver<unknown, Faults> {
  return (source) => {
    const member = (source as Readonly<Record<string, unknown>>)[name];
    return typeof member === 'function' ? member() : member;
  };
}

const resolve: GraphQLFieldResolver<unknown, Faults> = (_source, args, faults, info) => {
  const path = responsePathAsArray(info.path);
  faults.calls.push({ path, args: { ...args }, info: toComparable(info) });
  return createValue(info.returnType, createPathChance(faults, path), faults);
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

/** Makes the same decisions for the same path. */
function createPathChance({ seed }: Faults, path: readonly (string | number)[]): Chance {
  let state = seed;
  for (const letter of path.join('.')) {
    state = Math.imul(state ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  }
  return createChance(state);
}

type Shares = Pick<Faults, 'share' | 'late'>;

function createValue(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  if (chance.percent(shares.share)) return createFault(chance);
  const value = createRightValue(type, chance, shares);
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

function createFault(chance: Chance): unknown {
  return chance.pick(faults)(chance);
}

/** Settles after some microtasks, or in the next turn of the event loop. */
async function later(value: unknown, chance: Chance): Promise<unknown> {
  const turns = chance.below(6);
  if (turns === 5) await new Promise((done) => void setImmediate(done));
  // oxlint-disable-next-line no-await-in-loop -- one microtask after the other
  for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
  if (value instanceof Error) throw value;
  return value;
}

function createRightValue(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  if (isNonNullType(type)) return createRightValue(type.ofType, chance, shares);
  if (isListType(type)) {
    const items = Array.from({ length: chance.below(4) }, () =>
      createItem(type.ofType, chance, shares),
    );
    return chance.percent(10) ? new Set(items) : items;
  }
  if (isInterfaceType(type)) return createObject(implementations.get(type)!, chance, shares);
  if (isObjectType(type)) return createObject(type, chance, shares);
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

// An item cannot throw, but it can be an error. A promise may reject before its list is completed.
function createItem(type: GraphQLOutputType, chance: Chance, shares: Shares): unknown {
  try {
    const value = createValue(type, chance, shares);
    if (value instanceof Promise) value.catch(() => undefined);
    return value;
  } catch (error) {
    return error;
  }
}

/** Has members for the fields without a resolver. A member may be a method, and a getter may throw. */
function createObject(type: GraphQLObjectType, chance: Chance, shares: Shares): unknown {
  const object = {};
  for (const { name, resolve: resolver, type: ofField } of Object.values(type.getFields())) {
    if (resolver === resolve) continue;
    const seed = chance.below(2 ** 31);
    const get = () => createValue(ofField, createChance(seed), shares);
    const member = chance.percent(20) ? { value: get } : { get };
    Object.defineProperty(object, name, { ...member, enumerable: true });
  }
  return object;
}
