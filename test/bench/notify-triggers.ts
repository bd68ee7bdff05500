// The database triggers that notify gateways of changes: listing them, and running without them.

import type { Client } from 'pg';
import { inTurn } from './in-turn.ts';

interface NotifyTrigger {
  readonly table: string;
  readonly trigger: string;
  /** `pg_trigger.tgenabled`: `O` fires in ordinary sessions, `A` always. */
  readonly enabled: 'O' | 'A';
}

/** Runs `work` with the triggers disabled. Throws if there are none. */
export async function withoutNotifyTriggers<T>(owner: Client, work: () => Promise<T>): Promise<T> {
  const triggers = await listNotifyTriggers(owner);
  const alter = async ({ table, trigger }: NotifyTrigger, how: string): Promise<void> => {
    await owner.query(`alter table ${table} ${how} trigger ${trigger}`);
  };
  await inTurn(triggers, (trigger) => alter(trigger, 'disable'));
  try {
    return await work();
  } finally {
    await inTurn(triggers, (trigger) =>
      alter(trigger, trigger.enabled === 'A' ? 'enable always' : 'enable'),
    );
  }
}

async function listNotifyTriggers(owner: Client): Promise<readonly NotifyTrigger[]> {
  const { rows } = await owner.query<NotifyTrigger>(
    `select t.tgrelid::regclass::text as "table", quote_ident(t.tgname) as trigger, t.tgenabled as enabled
     from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where not t.tgisinternal and t.tgenabled in ('O', 'A') and p.prosrc like '%pg_notify%'`,
  );
  if (rows.length === 0) throw new Error('The database has no trigger that notifies of changes.');
  return rows;
}
