// Owns the question what a selection uses: the blocks of Meta, so that a live reading asks for those and no others, and
// what is shown, so that nothing else is read.

import {
  type FieldNode,
  type FragmentDefinitionNode,
  getDirectiveValues,
  GraphQLIncludeDirective,
  type GraphQLResolveInfo,
  GraphQLSkipDirective,
  Kind,
  type SelectionNode,
} from 'graphql';
import { type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import type { Projection } from '../numbers/number.ts';

/** Where fields stand: the part of a resolver's `info` that selections are read by. */
export type SelectionInfo = Pick<GraphQLResolveInfo, 'fieldNodes' | 'fragments' | 'variableValues'>;

/** The blocks that the selection on a WhatsAppNumber shows something of; an empty list when it shows none. */
export function listSelectedBlocks(info: SelectionInfo): readonly MetaBlock[] {
  const fields = listSubfields(info.fieldNodes, info);
  const details = listSubfields(
    fields.filter((field) => field.name.value === 'meta'),
    info,
  );
  const names = new Set(details.map((field) => field.name.value));
  // Health rests on the number's own node.
  if (fields.some((field) => field.name.value === 'health')) names.add('phone');
  return blocks.filter((block) => names.has(block));
}

const blocks = Object.keys(metaBlocks) as MetaBlock[];

/** What the selection on a WhatsAppNumber looks at. */
export function projectionOf(info: SelectionInfo): Projection {
  return remember(info, () => computeProjection(info));
}

// One array of nodes is one place of an operation, with everything that is skipped left out; a plan has the same ones
// each time.
const remembered = new WeakMap<SelectionInfo['fieldNodes'], Projection>();

function remember({ fieldNodes }: SelectionInfo, find: () => Projection): Projection {
  const known = remembered.get(fieldNodes);
  if (known !== undefined) return known;
  const projection = find();
  remembered.set(fieldNodes, projection);
  return projection;
}

function computeProjection(info: SelectionInfo): Projection {
  const fields = listSubfields(info.fieldNodes, info);
  const names = new Set(fields.map((field) => field.name.value));
  const listBelow = (name: string) =>
    listSubfields(
      fields.filter((field) => field.name.value === name),
      info,
    ).map((field) => field.name.value);
  return {
    details: fields.some((field) => !plain.has(field.name.value)),
    apiKeys: names.has('apiKeys'),
    health: healthProjectionOf(names.has('health') ? listBelow('health') : null),
    meta: names.has('meta') ? blocks.filter((block) => listBelow('meta').includes(block)) : null,
  };
}

/** The same for all aliases of the list together. */
export function listProjectionOf(
  info: SelectionInfo & Pick<GraphQLResolveInfo, 'operation'>,
): Projection {
  return remember(info, () => {
    const lists = listSubfields([info.operation], info).filter(
      (field) => field.name.value === 'numbers',
    );
    return computeProjection({ ...info, fieldNodes: lists });
  });
}

// The members that a number always has, and those that are relations.
const plain = new Set(
  '__typename id provider state isFullyConnected apiKeys health meta'.split(' '),
);

function healthProjectionOf(fields: readonly string[] | null): Projection['health'] {
  if (fields === null) return 'nothing';
  return fields.some((name) => name === 'sendability' || name === 'freshness')
    ? 'everything'
    : 'summary';
}

/** The fields right below these, with fragments put in and what is skipped left out. */
// All types are object types, so a fragment that passed validation always applies.
export function listSubfields(
  parents: readonly Pick<FieldNode, 'selectionSet'>[],
  info: Pick<SelectionInfo, 'fragments' | 'variableValues'>,
): readonly FieldNode[] {
  const seen = new Set<FragmentDefinitionNode>();
  const list = (selections: readonly SelectionNode[]): readonly FieldNode[] =>
    selections.flatMap((selection) => {
      if (!isIncluded(selection, info)) return [];
      if (selection.kind === Kind.FIELD) return [selection];
      if (selection.kind === Kind.INLINE_FRAGMENT) return list(selection.selectionSet.selections);
      const fragment = info.fragments[selection.name.value];
      // Fragments that spread fragments twice would otherwise double the work with each level.
      if (fragment === undefined || seen.has(fragment)) return [];
      seen.add(fragment);
      return list(fragment.selectionSet.selections);
    });
  return parents.flatMap((parent) => list(parent.selectionSet?.selections ?? []));
}

/** Whether its `@skip` and `@include` let it stand. */
export function isIncluded(
  selection: SelectionNode,
  { variableValues }: Pick<SelectionInfo, 'variableValues'>,
): boolean {
  if (!selection.directives?.length) return true;
  const skip = getDirectiveValues(GraphQLSkipDirective, selection, variableValues);
  const include = getDirectiveValues(GraphQLIncludeDirective, selection, variableValues);
  return skip?.['if'] !== true && include?.['if'] !== false;
}
