// Owns the triggers that tell gateways of changes: which there are, and doing without them for a while.

import type { Client } from 'pg';
import { inTurn } from './in-turn.ts';

interface Announcer {
  readonly table: string;
  readonly trigger: string;
  /** As PostgreSQL names it: in ordinary sessions, or always. */
  readonly enabled: 'O' | 'A';
}

/** Runs `work` while nobody is told of what changes. Throws when there is no such trigger. */
export async function withoutAnnouncers<T>(owner: Client, work: () => Promise<T>): Promise<T> {
  const announcers = await listAnnouncers(owner);
  const alter = async ({ table, trigger }: Announcer, how: string): Promise<void> => {
    await owner.query(`alter table ${table} ${how} trigger ${trigger}`);
  };
  await inTurn(announcers, (announcer) => alter(announcer, 'disable'));
  try {
    return await work();
  } finally {
    await inTurn(announcers, (announcer) =>
      alter(announcer, announcer.enabled === 'A' ? 'enable always' : 'enable'),
    );
  }
}

async function listAnnouncers(owner: Client): Promise<readonly Announcer[]> {
  const { rows } = await owner.query<Announcer>(
    `select t.tgrelid::regclass::text as "table", quote_ident(t.tgname) as trigger, t.tgenabled as enabled
     from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where not t.tgisinternal and t.tgenabled in ('O', 'A') and p.prosrc like '%pg_notify%'`,
  );
  if (rows.length === 0) throw new Error('No trigger tells of changes.');
  return rows;
}
