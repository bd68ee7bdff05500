// Computes the price of an operation, in the points of access/rate-limit.ts.

import {
  type ExecutionResult,
  type FieldNode,
  getArgumentValues,
  type ValidatedExecutionArgs,
} from 'graphql';
import { prices, toListPrice } from '../access/rate-limit.ts';
import { metaBlocks } from '../numbers/meta.ts';
import { collectFields, listSelectedBlocks } from './selection.ts';

export interface Price {
  /**
   * What the operation may cost, without retries upstream; the request's own point is included. Lists count with the size
   * that the tenant's list had last.
   */
  readonly requested: number;
  /** As `requested`, with the same price for every list, so that it depends on the operation alone. */
  readonly nominal: number;
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
  const sumOf = (member: 'requested' | 'nominal' | 'fixed') =>
    parts.reduce<number>((points, part) => points + part[member], prices.request);
  return {
    requested: Math.ceil(sumOf('requested')),
    nominal: sumOf('nominal'),
    operation: toOperationName(parts),
    toActual: ({ data }, upstreamCalls) =>
      Math.ceil(sumOf('fixed') + toListedPoints(data) + upstreamCalls * prices.read),
  };
}

interface Part {
  readonly name: string;
  readonly requested: number;
  readonly nominal: number;
  /** The part of the price that does not depend on the result. */
  readonly fixed: number;
}

function toPart(field: FieldNode, priced: PricedOperation, listSize: number | null): Part {
  switch (field.name.value) {
    case 'number': {
      const blocks = countLiveBlocks(field, priced);
      const points = prices.number + blocks * prices.read;
      return {
        ...toFixedPart(blocks > 0 ? 'number live' : 'number', points),
        fixed: prices.number,
      };
    }
    case 'numbers': {
      const requested = toListPrice(listSize);
      return { name: 'numbers', requested, nominal: prices.list, fixed: prices.number };
    }
    case '__schema':
    case '__type':
      return toFixedPart('introspection', prices.introspection);
    default:
      return toFixedPart('typename', 0);
  }
}

function toFixedPart(name: string, points: number): Part {
  return { name, requested: points, nominal: points, fixed: points };
}

/** How many blocks of Meta are read live for the field. */
function countLiveBlocks(
  field: FieldNode,
  { schema, fragmentDefinitions: fragments, variableValues }: PricedOperation,
): number {
  // Validation has found the field.
  const definition = schema.getQueryType()!.getFields()[field.name.value]!;
  try {
    const { refresh } = getArgumentValues(definition, field, variableValues);
    if (refresh !== true) return 0;
  } catch {
    // Execution reports what is wrong with the arguments, and reads nothing.
    return 0;
  }
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
