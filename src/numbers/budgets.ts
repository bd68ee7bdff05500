// Keeps reads outside a refresh within the same budgets as refreshes.

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
    const added = pauses.entries().filter(([account, pause]) => known.get(account) !== pause);
    const rows = new Map(added);
    if (rows.size > 0) await storePauses(database, tenantId, rows);
  }
}
