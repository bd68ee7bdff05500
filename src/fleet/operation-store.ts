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

/** What the history has of a request: one change, in the transaction that makes the reads due. */
export interface RecordedRefresh {
  /** The only number that is read; null for several. */
  readonly numberId: string | null;
  readonly value: {
    readonly blocks: readonly string[];
    readonly acceptedCount: number;
    readonly plannedCalls: number;
  };
}

/** Makes the reads due. A trigger records the request in the history; see migrations/0039_choose_what_is_read.ts. */
export async function requestReads(
  database: Database,
  tenantId: string,
  plan: Pick<ReadPlan, 'request'>,
  requests: readonly ReadRequest[],
  { recorded, cause }: { readonly recorded: RecordedRefresh; readonly cause: TransactionCause },
): Promise<void> {
  if (requests.length === 0) return;
  const { numberId, value } = recorded;
  const setting = JSON.stringify({ numberId, value: JSON.stringify(value) });
  await database.withTenant(
    tenantId,
    async (transaction) => {
      await sql`select set_config('app.refresh_request', ${setting}, true)`.execute(transaction);
      await plan.request(transaction, tenantId, requests);
    },
    'numbers',
    cause,
  );
}
