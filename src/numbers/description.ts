// Describes numbers for messages about them: what they are called, and why they cannot send.

import { type Numbers, toOperatorAccess } from './numbers.ts';

export interface NumberDescription {
  readonly name: string;
  /** Digits. */
  readonly number: string;
  /** The most severe first. */
  readonly reasons: readonly { readonly text: string; readonly solution: string | null }[];
}

/** Those of the numbers that exist, by id. */
export function createDescribeNumbers(numbers: Pick<Numbers, 'getMany'>) {
  return async (
    tenantId: string,
    ids: readonly string[],
  ): Promise<ReadonlyMap<string, NumberDescription>> => {
    const requests = ids.map((id) => ({ id, refresh: null }));
    const found = await numbers.getMany(toOperatorAccess(tenantId), requests, AbortSignal.any([]));
    const entries = found.flatMap((it) => {
      if (it instanceof Error) return [];
      const reasons = it.health.sendability.reasons
        .filter(({ effect }) => effect !== 'INFORMS')
        .map(({ text, solution }) => ({ text, solution }));
      return [[it.id, { name: it.name, number: it.number, reasons }] as const];
    });
    return new Map(entries);
  };
}
