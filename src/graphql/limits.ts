// Owns how large a document and its operations may be, so that none costs more than it is worth. All of it is decided
// before validation, whose own work grows with the square of some of these counts, and none of it depends on who asks.

import {
  type DefinitionNode,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  Kind,
  parse,
  type ParseOptions,
  type SelectionNode,
  type SelectionSetNode,
  type Source,
  visit,
} from 'graphql';
import type { GraphQLLimits } from '../config.ts';
import { GatewayError } from '../errors.ts';
import { createMemory, type Memory } from './memory.ts';

/** Far beyond what anybody writes by hand or generates; they only bound our own work and that of validation. */
const bounds = {
  definitions: 50,
  fragmentSpreads: 100,
  variables: 100,
  valueDepth: 20,
  inlineFragments: 100,
  /** Fields that are written twice at one place, for which each pair is compared. */
  repeatedFields: 60,
  /** Fields after all fragments were put in their places. */
  fields: 10_000,
  /** The standard introspection query asks nine times for `ofType`. */
  introspectionDepth: 16,
} as const;

/** Lists of types that lead from one type to the next, and so in circles. */
const introspectionLists: ReadonlySet<string> = new Set([
  'fields',
  'inputFields',
  'interfaces',
  'possibleTypes',
]);

export type ParseWithinLimits = (source: string | Source, options?: ParseOptions) => DocumentNode;

/**
 * As graphql-js, with QUERY_TOO_COMPLEX for what is larger than the limits; a document that is too long is not read to
 * its end. Cycles of fragments and the like are left to validation, and cost no more than the limits here.
 */
export function createParse(limits: GraphQLLimits): ParseWithinLimits {
  return (source, options) => {
    const document = parseWithinTokens(source, limits.tokens, options);
    assertSize(document, limits);
    assertOperations(document, limits);
    return document;
  };
}

function parseWithinTokens(
  source: string | Source,
  maxTokens: number,
  options?: ParseOptions,
): DocumentNode {
  try {
    return parse(source, { ...options, maxTokens });
  } catch (error) {
    // A stack that was full of brackets; graphql-js reads them by recursion.
    if (error instanceof RangeError) throw toTooDeep(error);
    // Any other syntax error may repeat what the document says.
    if (!String(error).startsWith('Syntax Error: Document contains more than')) throw error;
    const message = `The document has more than ${maxTokens} tokens.`;
    throw new GatewayError('QUERY_TOO_COMPLEX', message, { cause: error });
  }
}

function toTooDeep(cause: RangeError): GatewayError {
  const message = 'The document nests deeper than it can be read.';
  return new GatewayError('QUERY_TOO_COMPLEX', message, { cause });
}

function assertWithin(subject: string, count: number, limit: number): void {
  if (count <= limit) return;
  const message = `The document has ${subject}: ${count}, and the limit is ${limit}.`;
  throw new GatewayError('QUERY_TOO_COMPLEX', message, { details: { subject, count, limit } });
}

/** Counts what is written, used or not: validation looks at all of it. */
function assertSize(document: DocumentNode, limits: GraphQLLimits): void {
  const counts = { directives: 0, spreads: 0, inline: 0, variables: 0, depth: 0, deepest: 0 };
  const value = {
    enter: () => void (counts.deepest = Math.max(counts.deepest, (counts.depth += 1))),
    leave: () => void (counts.depth -= 1),
  };
  visit(document, {
    Directive: () => void (counts.directives += 1),
    FragmentSpread: () => void (counts.spreads += 1),
    InlineFragment: () => void (counts.inline += 1),
    VariableDefinition: () => void (counts.variables += 1),
    ListValue: value,
    ObjectValue: value,
    ListType: value,
  });
  assertWithin('directives', counts.directives, limits.directives);
  assertWithin('operations and fragments', document.definitions.length, bounds.definitions);
  assertWithin('uses of fragments', counts.spreads, bounds.fragmentSpreads);
  assertWithin('inline fragments', counts.inline, bounds.inlineFragments);
  assertWithin('variables', counts.variables, bounds.variables);
  assertWithin('values within values', counts.deepest, bounds.valueDepth);
}

/** Walks each operation as it would be executed; and each fragment, which validation looks at by itself too. */
function assertOperations(document: DocumentNode, limits: GraphQLLimits): void {
  const fragments = new Map(
    document.definitions
      .filter((definition) => definition.kind === Kind.FRAGMENT_DEFINITION)
      .map((fragment) => [fragment.name.value, fragment]),
  );
  const budget = { fields: 0 };
  for (const definition of document.definitions) {
    const isOperation = definition.kind === Kind.OPERATION_DEFINITION;
    if (!isOperation && definition.kind !== Kind.FRAGMENT_DEFINITION) continue;
    const walk: Walk = { limits, fragments, budget, counts: { aliases: 0, repeated: 0 } };
    const fields = collectFields([definition.selectionSet], fragments);
    if (isOperation) assertWithin('fields at the root', fields.length, limits.rootFields);
    const introspectionDepth = isOnIntrospection(definition) ? 1 : 0;
    walkFields(walk, fields, { depth: 1, introspectionDepth, lists: 0 });
  }
}

// A fragment by itself does not say how deep it is used, only in what.
function isOnIntrospection(definition: DefinitionNode): boolean {
  return (
    definition.kind === Kind.FRAGMENT_DEFINITION &&
    definition.typeCondition.name.value.startsWith('__')
  );
}

interface Walk {
  readonly limits: GraphQLLimits;
  readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  /** Of the whole document. */
  readonly budget: { fields: number };
  readonly counts: { aliases: number; repeated: number };
}

interface Place {
  readonly depth: number;
  /** Fields within `__schema` or `__type`; 0 outside. */
  readonly introspectionDepth: number;
  /** How many of them list types. */
  readonly lists: number;
}

function walkFields(walk: Walk, fields: readonly FieldNode[], place: Place): void {
  const { limits, counts, budget, fragments } = walk;
  budget.fields += fields.length;
  counts.aliases += fields.filter((field) => field.alias !== undefined).length;
  const byName = Map.groupBy(fields, ({ alias, name }) => (alias ?? name).value);
  counts.repeated += fields.length - byName.size;
  assertWithin('aliases', counts.aliases, limits.aliases);
  assertWithin('repeated fields', counts.repeated, bounds.repeatedFields);
  assertWithin('fields', budget.fields, bounds.fields);
  if (place.introspectionDepth === 0) assertWithin('levels', place.depth, limits.depth);
  for (const ofName of byName.values()) {
    const sets = ofName.flatMap(({ selectionSet }) => selectionSet ?? []);
    if (sets.length === 0) continue;
    const below = ofName.map((field) => toPlace(field, place));
    const deepest = below.reduce((a, b) => (b.lists > a.lists ? b : a));
    walkFields(walk, collectFields(sets, fragments), deepest);
  }
}

function toPlace({ name: { value: name } }: FieldNode, place: Place): Place {
  const isInside = place.introspectionDepth > 0 || name === '__schema' || name === '__type';
  const introspectionDepth = isInside ? place.introspectionDepth + 1 : 0;
  const lists = place.lists + (isInside && introspectionLists.has(name) ? 1 : 0);
  assertWithin('levels of introspection', introspectionDepth, bounds.introspectionDepth);
  assertWithin('lists of types within lists of types', lists, 1);
  return { depth: place.depth + 1, introspectionDepth, lists };
}

/** The fields of these selection sets with fragments put in, each fragment once, as execution does it. */
function collectFields(
  sets: readonly SelectionSetNode[],
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): readonly FieldNode[] {
  const seen = new Set<string>();
  const collect = (selections: readonly SelectionNode[]): readonly FieldNode[] =>
    selections.flatMap((selection) => {
      if (selection.kind === Kind.FIELD) return [selection];
      if (selection.kind === Kind.INLINE_FRAGMENT)
        return collect(selection.selectionSet.selections);
      const name = selection.name.value;
      if (seen.has(name)) return [];
      seen.add(name);
      return collect(fragments.get(name)?.selectionSet.selections ?? []);
    });
  return sets.flatMap((set) => collect(set.selections));
}

/** Remembers the documents that were used last, as far as their tokens fit; a long one is never remembered. */
export function createDocumentCache(
  maxTokens = 50_000,
  maxLength = 10_000,
): Memory<string, DocumentNode> {
  const documents = createMemory(maxTokens, toWeight);
  return {
    get: documents.get,
    set(text, document) {
      if (text.length <= maxLength) documents.set(text, document);
    },
  };
}

// What a document keeps in memory are its nodes, some for each token, and its text.
function toWeight(document: DocumentNode, text: string): number {
  return (document.tokenCount ?? text.length) + Math.ceil(text.length / 100);
}
