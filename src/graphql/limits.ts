// Limits the size of documents before they are validated, because the work of validation grows with the square of some counts.

import {
  type DefinitionNode,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  Kind,
  parse,
  type ParseOptions,
  type Source,
  visit,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import type { GraphQLLimits } from '../config.ts';
import { GatewayError } from '../errors.ts';
import { collectFields, selectionSetsOf, type SelectionScope } from './selection.ts';

/** Limits that are not configurable: far beyond what people write or tools generate. */
const fixedLimits = {
  definitions: 50,
  fragmentSpreads: 100,
  variables: 100,
  valueDepth: 20,
  inlineFragments: 100,
  /** Fields with a response name that their selection set has already; validation compares each pair of them. */
  repeatedFields: 60,
  /** Fields of all operations and fragments, after fragments were replaced by their fields. */
  fields: 10_000,
  /** The standard introspection query selects `ofType` nine levels deep. */
  introspectionDepth: 16,
} as const;

/** Fields of introspection that list types; nesting them multiplies the result. */
const introspectionLists: ReadonlySet<string> = new Set([
  'fields',
  'inputFields',
  'interfaces',
  'possibleTypes',
]);

export type ParseWithinLimits = (source: string | Source, options?: ParseOptions) => DocumentNode;

/**
 * Returns graphql-js's `parse` with limits: a document beyond one of them throws QUERY_TOO_COMPLEX. Invalid documents, such
 * as those with cyclic fragments, are left to validation.
 */
export function createParse(limits: GraphQLLimits): ParseWithinLimits {
  return (source, options) => {
    const document = parseWithinTokens(source, limits.tokens, options);
    assertSize(document, limits);
    assertSelections(document, limits);
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
    // The parser is recursive, so deep nesting overflows the stack.
    if (error instanceof RangeError) {
      throw createTooComplex('The document is nested too deeply to be parsed.', { cause: error });
    }
    // Other syntax errors may quote the document.
    if (!String(error).startsWith('Syntax Error: Document contains more than')) throw error;
    throw createTooComplex(`The document has more than ${maxTokens} tokens.`, { cause: error });
  }
}

function createTooComplex(
  message: string,
  options: ConstructorParameters<typeof GatewayError>[2],
): GatewayError {
  return new GatewayError('QUERY_TOO_COMPLEX', message, options);
}

function assertWithin(subject: string, count: number, limit: number): void {
  if (count <= limit) return;
  const message = `The document has ${subject}: ${count}, and the limit is ${limit}.`;
  throw createTooComplex(message, { details: { subject, count, limit } });
}

/** Counts all that is written, used or not, because validation visits all of it. */
function assertSize(document: DocumentNode, limits: GraphQLLimits): void {
  const counts = { directives: 0, spreads: 0, inline: 0, variables: 0, depth: 0, maxDepth: 0 };
  const nested = {
    enter: () => void (counts.maxDepth = Math.max(counts.maxDepth, (counts.depth += 1))),
    leave: () => void (counts.depth -= 1),
  };
  visit(document, {
    Directive: () => void (counts.directives += 1),
    FragmentSpread: () => void (counts.spreads += 1),
    InlineFragment: () => void (counts.inline += 1),
    VariableDefinition: () => void (counts.variables += 1),
    ListValue: nested,
    ObjectValue: nested,
    ListType: nested,
  });
  assertWithin('directives', counts.directives, limits.directives);
  assertWithin('operations and fragments', document.definitions.length, fixedLimits.definitions);
  assertWithin('uses of fragments', counts.spreads, fixedLimits.fragmentSpreads);
  assertWithin('inline fragments', counts.inline, fixedLimits.inlineFragments);
  assertWithin('variables', counts.variables, fixedLimits.variables);
  assertWithin('values within values', counts.maxDepth, fixedLimits.valueDepth);
}

/** Checks each operation as it would be executed, and each fragment by itself, because validation visits both. */
function assertSelections(document: DocumentNode, limits: GraphQLLimits): void {
  const fragments: Record<string, FragmentDefinitionNode> = Object.create(null);
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments[definition.name.value] = definition;
  }
  const scope = { fragments };
  const total = { fields: 0 };
  for (const definition of document.definitions) {
    const isOperation = definition.kind === Kind.OPERATION_DEFINITION;
    if (!isOperation && definition.kind !== Kind.FRAGMENT_DEFINITION) continue;
    const check: Check = { limits, scope, total, counts: { aliases: 0, repeated: 0 } };
    const fields = collectFields([definition.selectionSet], scope);
    if (isOperation) assertWithin('fields at the root', fields.length, limits.rootFields);
    const introspectionDepth = isOnIntrospection(definition) ? 1 : 0;
    assertFields(check, fields, { depth: 1, introspectionDepth, lists: 0 });
  }
}

// A fragment by itself says which type it is for, but not how deep it is used.
function isOnIntrospection(definition: DefinitionNode): boolean {
  return (
    definition.kind === Kind.FRAGMENT_DEFINITION &&
    definition.typeCondition.name.value.startsWith('__')
  );
}

interface Check {
  readonly limits: GraphQLLimits;
  readonly scope: SelectionScope;
  /** Of the whole document. */
  readonly total: { fields: number };
  /** Of this operation or fragment. */
  readonly counts: { aliases: number; repeated: number };
}

interface Level {
  readonly depth: number;
  /** The depth below `__schema` or `__type`; 0 outside of them. */
  readonly introspectionDepth: number;
  /** How many of the fields above are lists of types. */
  readonly lists: number;
}

function assertFields(check: Check, fields: readonly FieldNode[], level: Level): void {
  const { limits, counts, total, scope } = check;
  total.fields += fields.length;
  counts.aliases += fields.filter((field) => field.alias !== undefined).length;
  const byKey = Map.groupBy(fields, ({ alias, name }) => (alias ?? name).value);
  counts.repeated += fields.length - byKey.size;
  assertWithin('aliases', counts.aliases, limits.aliases);
  assertWithin('repeated fields', counts.repeated, fixedLimits.repeatedFields);
  assertWithin('fields', total.fields, fixedLimits.fields);
  if (level.introspectionDepth === 0) assertWithin('levels', level.depth, limits.depth);
  for (const sameKey of byKey.values()) {
    const sets = selectionSetsOf(sameKey);
    if (sets.length === 0) continue;
    const levels = sameKey.map((field) => toLevelBelow(field, level));
    const strictest = levels.reduce((a, b) => (b.lists > a.lists ? b : a));
    assertFields(check, collectFields(sets, scope), strictest);
  }
}

function toLevelBelow({ name: { value: name } }: FieldNode, level: Level): Level {
  const isInside = level.introspectionDepth > 0 || name === '__schema' || name === '__type';
  const introspectionDepth = isInside ? level.introspectionDepth + 1 : 0;
  const lists = level.lists + (isInside && introspectionLists.has(name) ? 1 : 0);
  assertWithin('levels of introspection', introspectionDepth, fixedLimits.introspectionDepth);
  assertWithin('lists of types within lists of types', lists, 1);
  return { depth: level.depth + 1, introspectionDepth, lists };
}

/** A longer document is never cached. */
const maxCachedLength = 10_000;

/** Keeps the documents that were used last. `maxSize` is in tokens. */
export function createDocumentCache(
  maxSize = 50_000,
): Pick<LRUCache<string, DocumentNode>, 'get' | 'set'> {
  return new LRUCache<string, DocumentNode>({
    maxSize,
    sizeCalculation: (document, text) =>
      text.length > maxCachedLength ? maxSize + 1 : toSize(document, text),
  });
}

// A document keeps its nodes, about one for each token, and its text in memory.
function toSize(document: DocumentNode, text: string): number {
  return (document.tokenCount ?? text.length) + Math.ceil(text.length / 100);
}
