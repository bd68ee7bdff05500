// The SQL of what people who operate a fleet do with its numbers.

import { sql } from 'kysely';
import type { Database, TransactionCause } from '../database/database.ts';
import type { ReadPlan, ReadRequest } from './refresh-requests.ts';

export interface OperatedColumns {
  readonly labels?: string[];
  readonly muted_until?: Date | null;
  readonly mute_note?: string | null;
}

/** A trigger records what differs in the history. Returns false when there is no such number. */
export async function updateOperated(
  database: Database,
  tenantId: string,
  numberId: string,
  columns: OperatedColumns,
  cause: TransactionCause,
): Promise<boolean> {
  return await database.withTenant(
    tenantId,
    async (transaction) => {
      const stored = await transaction
        .selectFrom('whatsapp_number')
        .select(['labels', 'muted_until', 'mute_note'])
        .where('tenant_id', '=', tenantId)
        .where('id', '=', numberId)
        .forNoKeyUpdate()
        .executeTakeFirst();
      if (stored === undefined) return false;
      const isUnchanged = JSON.stringify(stored) === JSON.stringify({ ...stored, ...columns });
      if (isUnchanged) return true;
      await transaction
        .updateTable('whatsapp_number')
        .set({ ...columns, updated_at: sql<Date>`clock_timestamp()` })
        .where('tenant_id', '=', tenantId)
        .where('id', '=', numberId)
        .execute();
      return true;
    },
    'numbers',
    cause,
  );
}

export async function requestReads(
  database: Database,
  tenantId: string,
  plan: Pick<ReadPlan, 'request'>,
  requests: readonly ReadRequest[],
): Promise<void> {
  if (requests.length === 0) return;
  await database.withTenant(
    tenantId,
    (transaction) => plan.request(transaction, tenantId, requests),
    'nothing',
  );
}
