// The pauses of budgets: those that a read adds, and reads outside a refresh, which keep to the same budgets.

import type { Database } from '../database/database.ts';
import { listPauses, storePauses } from './budget-store.ts';
import type { Pause } from './provider.ts';

/** Runs `work` with the pauses of the tenant's accounts, and stores those that it adds, also when it fails. */
export async function withPauses<T>(
  database: Database,
  tenantId: string,
  work: (pauses: Map<string, Pause>) => Promise<T>,
): Promise<T> {
  const known = await listPauses(database, tenantId);
  const pauses = new Map(known);
  try {
    return await work(pauses);
  } finally {
    const added = withoutKnown(pauses, known);
    if (added.size > 0) await storePauses(database, tenantId, added);
  }
}

/** Those that were added to `known`, or replaced there. */
export function withoutKnown(
  pauses: ReadonlyMap<string, Pause>,
  known: ReadonlyMap<string, Pause>,
): ReadonlyMap<string, Pause> {
  return new Map(pauses.entries().filter(([account, pause]) => known.get(account) !== pause));
}
