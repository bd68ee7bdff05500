// The SQL of work that one process does for all: its lease, and the tenants in chunks.

import { sql } from 'kysely';
import type { Database } from './database.ts';

export interface ProcessLease {
  readonly name: string;
  /** Identifies this process among all. */
  readonly holder: string;
}

/** Takes or renews the lease. False while another process holds it. */
export async function claimLeaseAcrossTenants(
  database: Database,
  { name, holder, leaseMs }: ProcessLease & { readonly leaseMs: number },
): Promise<boolean> {
  const claim = sql`
    insert into process_lease as held (name, holder, expires_at)
    values (${name}, ${holder}, clock_timestamp() + ${leaseMs}::float8 * interval '1 millisecond')
    on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where held.holder = excluded.holder or held.expires_at <= clock_timestamp()
    returning name`;
  const { rows } = await database.acrossTenants((functions) => claim.execute(functions));
  return rows.length > 0;
}

/** Lets another process take the lease at once. */
export async function releaseLeaseAcrossTenants(
  database: Database,
  { name, holder }: ProcessLease,
): Promise<void> {
  const release = sql`delete from process_lease where name = ${name} and holder = ${holder}`;
  await database.acrossTenants((functions) => release.execute(functions));
}

const maxChunk = 1_000;
/** Far below the time limit of a statement. */
const chunkMs = 250;

/** Calls `work` with the ids of all tenants, in chunks as large as the time that the previous one took allows. */
export async function forTenantChunksAcrossTenants(
  database: Database,
  work: (tenantIds: readonly string[]) => Promise<void>,
): Promise<void> {
  const list = sql<{ id: string }>`select id from list_tenants() order by id`;
  const { rows } = await database.acrossTenants((functions) => list.execute(functions));
  let size = 50;
  for (let at = 0; at < rows.length;) {
    const chunk = rows.slice(at, at + size).map(({ id }) => id);
    const startedAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- the next chunk depends on how long this one takes
    await work(chunk);
    at += chunk.length;
    const affordable = (chunk.length * chunkMs) / (performance.now() - startedAt);
    size = Math.min(Math.max(1, Math.round(affordable)), maxChunk);
  }
}
