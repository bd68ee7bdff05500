// Computes the price of an operation, in the points of access/prices.ts.

import {
  type ExecutionResult,
  type FieldNode,
  getArgumentValues,
  type GraphQLObjectType,
  type ValidatedExecutionArgs,
} from 'graphql';
import { prices, toListPrice } from '../access/prices.ts';
import {
  defaultPageSize as defaultIncidents,
  maxPageSize as maxIncidents,
} from '../alerts/incidents.ts';
import { defaultPageSize, maxPageSize } from '../fleet/fleet.ts';
import { maxPageSize as maxChanges } from '../history/history.ts';
import { metaBlocks } from '../numbers/meta.ts';
import { defaultAccountCount, maxAccountCount } from '../sync/account-page.ts';
import { countFields, pageFields } from './fleet-selection.ts';
import { collectFields, listSelectedBlocks, selectionSetsOf } from './selection.ts';

export interface Price {
  /**
   * What the operation may cost, without retries upstream; the request's own point is included. Lists count with the size
   * that the tenant's list had last.
   */
  readonly requested: number;
  /** As `requested`, with a fixed price for every list, so that it depends on the operation alone. */
  readonly staticPoints: number;
  /** The points of one of the numbers that are read by their ids; the highest if they differ, 0 if there are none. */
  readonly perNumber: number;
  /** The part of `staticPoints` that does not depend on how many numbers are read by their ids. */
  readonly pointsWithoutIds: number;
  /** What was asked for, for metrics: one of few names, never the caller's words. */
  readonly operation: string;
  /** What the operation has cost. */
  toActual(result: ExecutionResult, upstreamCalls: number): number;
}

type PricedOperation = Pick<
  ValidatedExecutionArgs,
  'schema' | 'operation' | 'fragmentDefinitions' | 'variableValues'
>;

/** `listSize` is how many numbers the tenant's list had last; null when unknown. */
export function toPrice(priced: PricedOperation, listSize: number | null): Price {
  const { operation, fragmentDefinitions: fragments, variableValues } = priced;
  const fields = collectFields([operation.selectionSet], { fragments, variableValues });
  const parts = fields.map((field) => toPart(field, priced, listSize));
  const sumOf = (member: 'requested' | 'staticPoints' | 'fixed') =>
    parts.reduce<number>((points, part) => points + part[member], prices.request);
  return {
    requested: Math.ceil(sumOf('requested')),
    staticPoints: sumOf('staticPoints'),
    perNumber: Math.max(0, ...parts.map((part) => part.perNumber ?? 0)),
    pointsWithoutIds: parts.reduce<number>(
      (points, part) => points + (part.perNumber === undefined ? part.staticPoints : 0),
      prices.request,
    ),
    operation: toOperationName(parts),
    toActual: ({ data }, upstreamCalls) =>
      Math.ceil(sumOf('fixed') + toListedPoints(data) + upstreamCalls * prices.read),
  };
}

interface Part {
  readonly name: string;
  readonly requested: number;
  readonly staticPoints: number;
  /** The part of the price that does not depend on the result. */
  readonly fixed: number;
  /** Of a field that reads numbers by their ids, what each of them costs at most. */
  readonly perNumber?: number;
}

function toPart(field: FieldNode, priced: PricedOperation, listSize: number | null): Part {
  switch (field.name.value) {
    case 'number':
    case 'node':
      return toReadPart('number', field, priced, 1);
    case 'nodes':
      return toReadPart('number', field, priced, readArguments(field, priced).ids?.length ?? 0);
    case 'numbers': {
      const { ids } = readArguments(field, priced);
      if (ids) return toReadPart('numbers', field, priced, new Set(ids).size);
      return toListPart(field, priced, listSize);
    }
    case 'fleet':
      return toFixedPart('fleet', toFleetPrice(field, priced));
    case 'changes':
      return toFixedPart('changes', toChangesPrice(field, priced));
    case 'sync':
      return toFixedPart('sync', toSyncPrice(field, priced));
    case 'incidents':
      return toFixedPart('incidents', toIncidentsPrice(field, priced));
    case 'incident':
      return toFixedPart('incident', prices.incidents + prices.incident);
    case 'acknowledgeIncident':
    case 'muteNumber':
    case 'labelNumber':
    case 'refreshNumbers':
      return toFixedPart('operation', toOperationPrice(field, priced));
    case '__schema':
    case '__type':
      return toFixedPart('introspection', prices.introspection);
    default:
      return toFixedPart('typename', 0);
  }
}

/** Statements, nodes asked for, and the counts over all numbers. What a statement finds does not change the price. */
function toFleetPrice(field: FieldNode, priced: PricedOperation): number {
  const { fragmentDefinitions: fragments, variableValues } = priced;
  const fields = collectFields(selectionSetsOf([field]), { fragments, variableValues });
  const selects = (names: readonly string[]) =>
    fields.some(({ name }) => names.includes(name.value));
  const { first, last } = readArguments(field, priced);
  const size = Math.min(Math.max(0, first ?? last ?? defaultPageSize), maxPageSize);
  return (
    prices.fleet +
    (selects(pageFields)
      ? round(size * (prices.fleetNode + toPastPrice(nodesOf([field], priced), priced)))
      : 0) +
    (selects(countFields) ? prices.fleetCounts : 0)
  );
}

/** Of the accounts that are asked for, whether or not there are as many. */
function toSyncPrice(field: FieldNode, priced: PricedOperation): number {
  const sync = priced.schema.getType('Sync') as GraphQLObjectType;
  const counts = listBelow([field], ['accounts'], priced).map((accounts) => {
    const first = readArguments(accounts, priced, sync).first ?? defaultAccountCount;
    return Math.min(Math.max(0, first), maxAccountCount);
  });
  return counts.reduce((points, count) => points + round(count * prices.syncAccount), prices.sync);
}

/** With the number that the payload has. The planned calls of a refresh are charged when they are known. */
function toOperationPrice(field: FieldNode, priced: PricedOperation): number {
  if (field.name.value === 'refreshNumbers') return prices.operation;
  if (field.name.value === 'acknowledgeIncident') return prices.operation + prices.incident;
  const numbers = listBelow([field], ['number'], priced);
  return prices.operation + prices.number + toPastPrice(numbers, priced);
}

function toIncidentsPrice(field: FieldNode, priced: PricedOperation): number {
  const { first } = readArguments(field, priced);
  const size = Math.min(Math.max(0, first ?? defaultIncidents), maxIncidents);
  return prices.incidents + round(size * prices.incident);
}

/** Of a subscription, this is the price of its start: of a page with as many changes as any page has at most. */
function toChangesPrice(field: FieldNode, priced: PricedOperation): number {
  const first = readArguments(field, priced).first ?? maxChanges;
  const size = Math.min(Math.max(0, first), maxChanges);
  const perChange = toChangePrice(listBelow([field], ['changes'], priced), priced);
  return prices.changes + round(size * perChange);
}

/** What the number of each change costs in a page of a subscription; the page itself costs what every chunk does. */
export function toStreamedChangePrice(priced: PricedOperation): number {
  const { operation, fragmentDefinitions: fragments, variableValues } = priced;
  const fields = collectFields([operation.selectionSet], { fragments, variableValues });
  return toChangePrice(listBelow(fields, ['changes'], priced), priced) - prices.change;
}

/** What a change costs, with its number. */
function toChangePrice(changes: readonly FieldNode[], priced: PricedOperation): number {
  const numbers = listBelow(changes, ['number'], priced);
  if (numbers.length === 0) return prices.change;
  return prices.change + prices.fleetNode + toPastPrice(numbers, priced);
}

/** What the history, the timelines, the availability, the incident and the webhook of a number cost that its fields select. */
function toPastPrice(numbers: readonly FieldNode[], priced: PricedOperation): number {
  const selected = listBelow(numbers, ['history', 'timeline', 'availability', 'incident'], priced);
  const byKey = Map.groupBy(selected, ({ alias, name }) => (alias ?? name).value);
  // It is read once, whatever its aliases.
  const hasWebhook =
    listBelow(listBelow(numbers, ['meta'], priced), ['webhook'], priced).length > 0;
  const start = hasWebhook ? prices.webhook : 0;
  return [...byKey.values()].reduce(
    (points, fields) => points + toFieldPrice(fields, priced),
    start,
  );
}

/** Of one field of a number, selected once or several times. */
function toFieldPrice(fields: readonly FieldNode[], priced: PricedOperation): number {
  const [field] = fields as readonly [FieldNode, ...FieldNode[]];
  if (field.name.value === 'incident') return prices.incident;
  if (field.name.value === 'timeline') return prices.timeline;
  if (field.name.value === 'availability') return prices.availability;
  const number = priced.schema.getType('WhatsAppNumber') as GraphQLObjectType;
  const { first } = readArguments(field, priced, number);
  const size = Math.min(Math.max(0, first ?? maxChanges), maxChanges);
  return prices.history + round(size * toChangePrice(nodesOf(fields, priced), priced));
}

/** Products of tenths are not exact. */
function round(points: number): number {
  return Math.round(points * 10) / 10;
}

/** The nodes of connections. */
function nodesOf(fields: readonly FieldNode[], priced: PricedOperation): readonly FieldNode[] {
  const edges = listBelow(fields, ['edges'], priced);
  return [...listBelow(fields, ['nodes'], priced), ...listBelow(edges, ['node'], priced)];
}

/** The selected fields of these names. */
function listBelow(
  fields: readonly FieldNode[],
  names: readonly string[],
  { fragmentDefinitions: fragments, variableValues }: PricedOperation,
): readonly FieldNode[] {
  const below = collectFields(selectionSetsOf(fields), { fragments, variableValues });
  return below.filter(({ name }) => names.includes(name.value));
}

function toFixedPart(name: string, points: number): Part {
  return { name, requested: points, staticPoints: points, fixed: points };
}

/** How many numbers a list has whose size is not known. */
const assumedListSize = (prices.list - prices.number) / prices.listedNumber;

/** The list of all numbers. What is read of each number's past is not given back. */
function toListPart(field: FieldNode, priced: PricedOperation, listSize: number | null): Part {
  const past = toPastPrice([field], priced);
  const ofAll = round(past * (listSize ?? assumedListSize));
  return {
    name: 'numbers',
    requested: toListPrice(listSize) + ofAll,
    staticPoints: prices.list + round(past * assumedListSize),
    fixed: prices.number + ofAll,
  };
}

/** A field that reads numbers by their ids. */
function toReadPart(
  name: 'number' | 'numbers',
  field: FieldNode,
  priced: PricedOperation,
  count: number,
): Part {
  const blocks = countLiveBlocks(field, priced);
  const stored = prices.number + toPastPrice([field], priced);
  const perNumber = stored + blocks * prices.read;
  // Numbers in a list are counted once more when the list is returned.
  const listed = field.name.value === 'number' || field.name.value === 'node' ? 0 : count;
  return {
    ...toFixedPart(blocks > 0 ? `${name} live` : name, round(count * perNumber)),
    fixed: round(count * stored) - listed * prices.listedNumber,
    perNumber,
  };
}

interface ReadArguments {
  readonly ids?: readonly string[] | null;
  readonly refresh?: boolean | null;
  readonly first?: number | null;
  readonly last?: number | null;
}

/** Empty when the arguments are wrong: execution reports that, and reads nothing. */
function readArguments(
  field: FieldNode,
  { schema, operation, variableValues }: PricedOperation,
  parent = schema.getRootType(operation.operation)!,
): ReadArguments {
  // Validation has found the field.
  const definition = parent.getFields()[field.name.value]!;
  try {
    return getArgumentValues(definition, field, variableValues);
  } catch {
    return {};
  }
}

/** How many blocks of Meta are read live for each number of the field. */
function countLiveBlocks(field: FieldNode, priced: PricedOperation): number {
  if (readArguments(field, priced).refresh !== true) return 0;
  const { fragmentDefinitions: fragments, variableValues } = priced;
  const selected = listSelectedBlocks([field], { fragments, variableValues });
  return selected.length === 0 ? Object.keys(metaBlocks).length : selected.length;
}

function toListedPoints(data: ExecutionResult['data']): number {
  const lists = Object.values(data ?? {}).filter((value) => Array.isArray(value));
  return lists.reduce((points, list) => points + list.length * prices.listedNumber, 0);
}

function toOperationName(parts: readonly Part[]): string {
  const names = new Set(parts.map(({ name }) => name));
  if (names.size > 1) names.delete('typename');
  const [name = 'nothing'] = names;
  return names.size > 1 ? 'several' : name;
}
