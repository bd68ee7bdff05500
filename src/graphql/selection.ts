// Owns the question which blocks of Meta a selection uses, so that a live reading asks for those and no others.

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
  const skip = getDirectiveValues(GraphQLSkipDirective, selection, variableValues);
  const include = getDirectiveValues(GraphQLIncludeDirective, selection, variableValues);
  return skip?.['if'] !== true && include?.['if'] !== false;
}
