// Owns the price of an operation: what it asks for, with its variables and arguments, in the points of allowance.ts.

import {
  type ArgumentNode,
  type ExecutionResult,
  type FieldNode,
  getArgumentValues,
  type OperationDefinitionNode,
  type ValidatedExecutionArgs,
  visit,
} from 'graphql';
import { prices } from '../access/rate-limit.ts';
import { metaBlocks } from '../numbers/meta.ts';
import { listSelectedBlocks, listSubfields } from './selection.ts';

export interface Price {
  /** What the operation may cost at most, retries upstream aside; the request's own point is part of it. */
  readonly requested: number;
  /** One of few names for what is asked, for metrics: never a word of the caller's. */
  readonly operation: string;
  /** What it has cost. */
  toActual(result: ExecutionResult, upstreamCalls: number): number;
}

type Validated = Pick<
  ValidatedExecutionArgs,
  'schema' | 'operation' | 'fragmentDefinitions' | 'variableValues'
>;

/** The price of each field at the root, fragments put in and skipped ones left out. */
export function toPrice(validated: Validated): Price {
  const { operation } = validated;
  const price = known.get(operation);
  if (price !== undefined) return price ?? computePrice(validated);
  const first = computePrice(validated);
  known.set(operation, isFixed(validated) ? first : null);
  return first;
}

// Null for those whose price differs with their variables.
const known = new WeakMap<OperationDefinitionNode, Price | null>();

/** Whether no variable decides what it costs: they say which number is meant, and nothing is read live. */
function isFixed({ operation, fragmentDefinitions }: Validated): boolean {
  if (!operation.variableDefinitions?.length) return true;
  let fixed = true;
  const places = {
    VariableDefinition: () => false as const,
    Argument({ name }: ArgumentNode) {
      if (name.value === 'refresh') fixed = false;
      return name.value === 'id' ? (false as const) : undefined;
    },
    Variable: () => void (fixed = false),
  };
  for (const node of [operation, ...Object.values(fragmentDefinitions)]) visit(node, places);
  return fixed;
}

function computePrice(validated: Validated): Price {
  const { operation, fragmentDefinitions: fragments, variableValues } = validated;
  const parts = listSubfields([operation], { fragments, variableValues }).map((field) =>
    toPart(field, validated),
  );
  return sumUp(parts);
}

// By itself, so that a price, which is kept as long as its document, sees the parts and not the request.
function sumUp(parts: readonly Part[]): Price {
  const sum = (toPoints: (part: Part) => number) =>
    parts.reduce<number>((points, part) => points + toPoints(part), prices.request);
  return {
    requested: sum((part) => part.requested),
    operation: toOperation(parts),
    toActual: ({ data }, upstreamCalls) =>
      Math.ceil(sum((part) => part.fixed) + toListed(data) + upstreamCalls * prices.read),
  };
}

interface Part {
  readonly name: string;
  readonly requested: number;
  /** The part of it that is spent whatever comes back. */
  readonly fixed: number;
}

function toPart(field: FieldNode, validated: Validated): Part {
  switch (field.name.value) {
    case 'number': {
      const blocks = countBlocks(field, validated);
      const { number: fixed } = prices;
      const name = blocks > 0 ? 'number live' : 'number';
      return { name, requested: fixed + blocks * prices.read, fixed };
    }
    case 'numbers':
      return { name: 'numbers', requested: prices.list, fixed: prices.number };
    case '__schema':
    case '__type':
      return {
        name: 'introspection',
        requested: prices.introspection,
        fixed: prices.introspection,
      };
    default:
      return { name: 'typename', requested: 0, fixed: 0 };
  }
}

/** The blocks that are read live for it. */
function countBlocks(
  field: FieldNode,
  { schema, fragmentDefinitions: fragments, variableValues }: Validated,
): number {
  // Validation has found it.
  const definition = schema.getQueryType()!.getFields()[field.name.value]!;
  try {
    const { refresh } = getArgumentValues(definition, field, variableValues);
    if (refresh !== true) return 0;
  } catch {
    // Execution says what is wrong with the arguments, and reads nothing.
    return 0;
  }
  const selected = listSelectedBlocks({ fieldNodes: [field], fragments, variableValues });
  return selected.length === 0 ? Object.keys(metaBlocks).length : selected.length;
}

function toListed(data: ExecutionResult['data']): number {
  const lists = Object.values(data ?? {}).filter((value) => Array.isArray(value));
  return lists.reduce((points, list) => points + list.length * prices.listedNumber, 0);
}

function toOperation(parts: readonly Part[]): string {
  const names = new Set(parts.map(({ name }) => name));
  if (names.size > 1) names.delete('typename');
  const [name = 'nothing'] = names;
  return names.size > 1 ? 'several' : name;
}
