// Reads what an operation selects of a fleet, so that one statement reads it.

import {
  type FieldNode,
  getArgumentValues,
  type GraphQLObjectType,
  type GraphQLResolveInfo,
} from 'graphql';
import { createInvalid } from '../fleet/filter.ts';
import { type FleetSelection, maxAccounts } from '../fleet/fleet.ts';
import { collectFields, projectionOfFields, selectionSetsOf } from './selection.ts';

/** The fields of a FleetConnection that need a page, and those that need the counts over all pages. */
export const pageFields = ['nodes', 'edges', 'pageInfo'];
export const countFields = ['totalCount', 'facets'];

export function fleetSelectionOf(info: GraphQLResolveInfo): FleetSelection {
  const below = (fields: readonly FieldNode[], ...names: readonly string[]) =>
    collectFields(selectionSetsOf(fields), info).filter(({ name }) => names.includes(name.value));
  const { fieldNodes } = info;
  const facets = below(fieldNodes, 'facets');
  const edges = below(fieldNodes, 'edges');
  const nodes = [...below(fieldNodes, 'nodes'), ...below(edges, 'node')];
  return {
    facets: below(fieldNodes, ...countFields).length > 0,
    wabas: findLargestFirst(below(facets, 'waba'), info),
    portfolios: findLargestFirst(below(facets, 'portfolio'), info),
    labels: findLargestFirst(below(facets, 'label'), info),
    feedPosition: below(fieldNodes, 'feedCursor').length > 0,
    page: below(fieldNodes, ...pageFields).length > 0,
    projection: nodes.length === 0 ? null : projectionOfFields(nodes, info),
  };
}

/** What the facet needs so that each of its aliases has as many as it asks for; null when it is not selected. */
function findLargestFirst(
  fields: readonly FieldNode[],
  { schema, variableValues }: GraphQLResolveInfo,
): number | null {
  if (fields.length === 0) return null;
  // Validation has found the fields.
  const facets = schema.getType('FleetFacets') as GraphQLObjectType;
  const sizes = fields.map((field) => {
    const definition = facets.getFields()[field.name.value]!;
    return Number(getArgumentValues(definition, field, variableValues)['first']);
  });
  if (sizes.some((size) => size < 0 || size > maxAccounts)) {
    throw createInvalid(`A facet has from 0 to ${maxAccounts} accounts, portfolios or labels.`);
  }
  return Math.max(...sizes);
}
