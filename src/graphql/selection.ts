// Reads selections: which fields an operation selects, and what of a WhatsAppNumber they need.

import {
  type FieldNode,
  type FragmentDefinitionNode,
  getDirectiveValues,
  GraphQLIncludeDirective,
  type GraphQLResolveInfo,
  GraphQLSkipDirective,
  Kind,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql';
import { type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import type { Projection } from '../numbers/projection.ts';

/** What a selection refers to. */
export interface SelectionScope {
  readonly fragments: Readonly<Record<string, FragmentDefinitionNode>>;
  /** The values that `@skip` and `@include` depend on. Without them, every field counts as included. */
  readonly variableValues?: GraphQLResolveInfo['variableValues'];
}

/**
 * The fields of these selection sets in document order. Fragments are replaced by their fields, each fragment once, as in
 * execution; a fragment that spreads itself or another one twice costs nothing extra. Type conditions are not checked: the
 * only interface, Node, has one implementation, so a fragment that passed validation always applies.
 */
export function collectFields(
  sets: readonly SelectionSetNode[],
  scope: SelectionScope,
): readonly FieldNode[] {
  const seen = new Set<FragmentDefinitionNode>();
  const collected: FieldNode[] = [];
  const collect = ({ selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (!isIncluded(selection, scope)) continue;
      if (selection.kind === Kind.FIELD) {
        collected.push(selection);
      } else if (selection.kind === Kind.INLINE_FRAGMENT) {
        collect(selection.selectionSet);
      } else {
        const fragment = scope.fragments[selection.name.value];
        if (fragment === undefined || seen.has(fragment)) continue;
        seen.add(fragment);
        collect(fragment.selectionSet);
      }
    }
  };
  sets.forEach(collect);
  return collected;
}

function isIncluded(selection: SelectionNode, { variableValues }: SelectionScope): boolean {
  if (variableValues === undefined || !selection.directives?.length) return true;
  const skip = getDirectiveValues(GraphQLSkipDirective, selection, variableValues);
  const include = getDirectiveValues(GraphQLIncludeDirective, selection, variableValues);
  return skip?.['if'] !== true && include?.['if'] !== false;
}

/** The selection sets of these fields. */
export function selectionSetsOf(fields: readonly FieldNode[]): readonly SelectionSetNode[] {
  return fields.flatMap(({ selectionSet }) => selectionSet ?? []);
}

/** By the name of each selected field, whatever its aliases, what is selected below it. */
type SelectionTree = ReadonlyMap<string, SelectionTree>;

function buildTree(fields: readonly FieldNode[], scope: SelectionScope): SelectionTree {
  const below = collectFields(selectionSetsOf(fields), scope);
  const byName = Map.groupBy(below, ({ name }) => name.value);
  return new Map([...byName].map(([name, same]) => [name, buildTree(same, scope)]));
}

function selectsAnywhere(tree: SelectionTree, name: string): boolean {
  return tree.has(name) || tree.values().some((below) => selectsAnywhere(below, name));
}

const blocks = Object.keys(metaBlocks) as MetaBlock[];

/** The blocks of Meta that a selection on a WhatsAppNumber needs; an empty list when it needs none. */
export function listSelectedBlocks(
  fields: readonly FieldNode[],
  scope: SelectionScope,
): readonly MetaBlock[] {
  const tree = buildTree(fields, scope);
  // Health is derived from the block of the phone number.
  return blocks.filter(
    (block) => tree.get('meta')?.has(block) === true || (block === 'phone' && tree.has('health')),
  );
}

// An executed plan passes the same array of nodes each time.
type KnownProjections = WeakMap<readonly FieldNode[], Projection>;
const projections: KnownProjections = new WeakMap();
const listProjections: KnownProjections = new WeakMap();

/** What the selection on a WhatsAppNumber shows. */
export function projectionOf(info: GraphQLResolveInfo): Projection {
  return findProjection(projections, info, () => info.fieldNodes);
}

/** What all fields `numbers` of the operation show together, since they share one list. */
export function listProjectionOf(info: GraphQLResolveInfo): Projection {
  return findProjection(listProjections, info, () =>
    collectFields([info.operation.selectionSet], info).filter(
      ({ name }) => name.value === 'numbers',
    ),
  );
}

/** What the selections of these fields on a WhatsAppNumber show together. */
export function projectionOfFields(
  fields: readonly FieldNode[],
  scope: SelectionScope,
): Projection {
  return toProjection(buildTree(fields, scope));
}

function findProjection(
  known: KnownProjections,
  info: GraphQLResolveInfo,
  listFields: () => readonly FieldNode[],
): Projection {
  const found = known.get(info.fieldNodes);
  if (found !== undefined) return found;
  const projection = projectionOfFields(listFields(), info);
  known.set(info.fieldNodes, projection);
  return projection;
}

// The members that every projection contains, those that are chosen one by one, and those that are read by themselves.
const plainMembers = new Set(
  `__typename id provider state isFullyConnected apiKeys health meta portfolio
  history timeline availability incident`.split(/\s+/),
);

function toProjection(tree: SelectionTree): Projection {
  const meta = tree.get('meta');
  return {
    details: tree.keys().some((name) => !plainMembers.has(name)),
    apiKeys: tree.has('apiKeys'),
    health: toHealthProjection(tree.get('health')),
    meta: meta === undefined ? null : blocks.filter((block) => meta.has(block)),
    portfolio: tree.has('portfolio'),
    ages: selectsAnywhere(tree, 'ageSeconds') || meta?.has('webhook') === true,
    nextReads: selectsAnywhere(tree, 'nextSyncAt'),
  };
}

function toHealthProjection(health: SelectionTree | undefined): Projection['health'] {
  if (health === undefined) return 'nothing';
  return health.has('sendability') || health.has('freshness') ? 'everything' : 'summary';
}
