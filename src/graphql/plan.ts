// Owns what an operation comes down to once its fragments and conditions are settled: a tree of fields, each with what
// is known of it before anything is read. How a plan is executed is compiled.ts's.

import {
  defaultFieldResolver,
  type FieldNode,
  type FragmentDefinitionNode,
  getArgumentValues,
  getNamedType,
  GraphQLError,
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLObjectType,
  type InlineFragmentNode,
  isLeafType,
  isObjectType,
  Kind,
  OperationTypeNode,
  type SelectionSetNode,
  type ValidatedExecutionArgs,
  visit,
} from 'graphql';
import { isIncluded } from './selection.ts';

export interface Plan {
  readonly fields: readonly PlannedField[];
  /** How many fields there are in the whole tree. */
  readonly size: number;
}

export interface PlannedField {
  /** Its name in the answer. */
  readonly key: string;
  /** Each place at which the document asks for it. */
  readonly nodes: FieldNodes;
  readonly parentType: GraphQLObjectType;
  readonly definition: GraphQLField<unknown, unknown>;
  readonly resolve: GraphQLFieldResolver<unknown, unknown> | undefined;
  /** Its arguments where no variable is in them; null where they have to be read each time. */
  readonly fixedArguments: Arguments | null;
  /** What is asked of its value, or of each if it is a list; empty for a leaf. */
  readonly fields: readonly PlannedField[];
}

export type FieldNodes = readonly [FieldNode, ...FieldNode[]];
export type Arguments = Readonly<Record<string, unknown>>;

/** Beyond it a plan would take more memory than it is worth. */
const maxSize = 1_000;

/**
 * Merges fields, puts in fragments and leaves out what is skipped exactly as graphql-js does, for these values of
 * variables in `@skip` and `@include` alone. Null when it would be larger than 1,000 fields, and for what our schema has
 * not: other operations than queries, interfaces and unions, resolvers for all fields at once.
 */
export function createPlan(validated: ValidatedExecutionArgs): Plan | null {
  const { schema, operation, fieldResolver, errorPropagation, hooks } = validated;
  const queryType = schema.getQueryType();
  const isOurs =
    operation.operation === OperationTypeNode.QUERY &&
    fieldResolver === defaultFieldResolver &&
    errorPropagation &&
    hooks === undefined;
  if (!isOurs || !queryType) return null;
  const planning: Planning = { validated, size: 0 };
  try {
    const fields = planFields(planning, queryType, [operation.selectionSet]);
    const [only] = fields;
    const isAlone = only !== undefined && fields.length === 1;
    return { fields: isAlone ? [toAlone(only)] : fields, size: planning.size };
  } catch (error) {
    // What is wrong with the document is told by graphql-js.
    if (error === unplannable || error instanceof GraphQLError) return null;
    throw error;
  }
}

/** The resolver that a field has for when nothing else of the operation could be read together with it, if it has one. */
function toAlone(field: PlannedField): PlannedField {
  const { resolveAlone = field.resolve } = field.definition.extensions as Alone;
  return { ...field, resolve: resolveAlone };
}

/** The extensions of a field whose resolver reads for several at once. */
export interface Alone {
  /** Gives what the resolver would give. */
  readonly resolveAlone?: PlannedField['resolve'];
}

const unplannable = new Error('The operation is left to graphql-js.');

interface Planning {
  readonly validated: ValidatedExecutionArgs;
  size: number;
}

function planFields(
  planning: Planning,
  parentType: GraphQLObjectType,
  sets: readonly SelectionSetNode[],
): readonly PlannedField[] {
  const collected: Collected = new Map();
  const seen = new Set<FragmentDefinitionNode>();
  for (const set of sets) collectFields(planning, parentType, set, collected, seen);
  return [...collected].flatMap(([key, nodes]) => planField(planning, parentType, key, nodes));
}

function planField(
  planning: Planning,
  parentType: GraphQLObjectType,
  key: string,
  nodes: FieldNodes,
): PlannedField | readonly [] {
  const { schema } = planning.validated;
  const [first] = nodes;
  const definition = schema.getField(parentType, first.name.value);
  if (definition === undefined) return [];
  planning.size += 1;
  // Answers are objects with a prototype, which this key would set.
  if (planning.size > maxSize || key === '__proto__') throw unplannable;
  const type = getNamedType(definition.type);
  const sets = nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
  if (!isLeafType(type) && !(isObjectType(type) && type.isTypeOf === undefined)) throw unplannable;
  const fields = isLeafType(type) ? [] : planFields(planning, type, sets);
  const fixedArguments = toFixedArguments(definition, first);
  const { resolve } = definition;
  return { key, nodes, parentType, definition, resolve, fixedArguments, fields };
}

type Collected = Map<string, [FieldNode, ...FieldNode[]]>;

/** Groups the fields by their names in the answer, in the order in which the names are met first. */
function collectFields(
  planning: Planning,
  type: GraphQLObjectType,
  { selections }: SelectionSetNode,
  collected: Collected,
  seen: Set<FragmentDefinitionNode>,
): void {
  const { fragmentDefinitions, variableValues } = planning.validated;
  for (const selection of selections) {
    if (!isIncluded(selection, { variableValues })) continue;
    if (selection.kind === Kind.FIELD) {
      const key = (selection.alias ?? selection.name).value;
      const nodes = collected.get(key);
      if (nodes === undefined) collected.set(key, [selection]);
      else nodes.push(selection);
      continue;
    }
    const isSpread = selection.kind === Kind.FRAGMENT_SPREAD;
    const fragment = isSpread ? fragmentDefinitions[selection.name.value] : selection;
    if (fragment === undefined || !isFor(type, fragment)) continue;
    if (fragment.kind === Kind.FRAGMENT_DEFINITION) {
      if (seen.has(fragment)) continue;
      seen.add(fragment);
    }
    collectFields(planning, type, fragment.selectionSet, collected, seen);
  }
}

// All types are object types, so there is no other that it could be for.
function isFor(
  type: GraphQLObjectType,
  { typeCondition }: FragmentDefinitionNode | InlineFragmentNode,
): boolean {
  return typeCondition === undefined || typeCondition.name.value === type.name;
}

function toFixedArguments(
  definition: PlannedField['definition'],
  node: FieldNode,
): Arguments | null {
  let isFixed = true;
  for (const argument of node.arguments ?? []) {
    visit(argument, { Variable: () => void (isFixed = false) });
  }
  return isFixed ? Object.freeze(getArgumentValues(definition, node)) : null;
}
