// The database triggers that notify gateways of changes, and those that record history: running without them.

import type { Client } from 'pg';
import { inTurn } from './in-turn.ts';

interface Trigger {
  readonly table: string;
  readonly trigger: string;
  /** `pg_trigger.tgenabled`: `O` fires in ordinary sessions, `A` always. */
  readonly enabled: 'O' | 'A';
}

/** Runs `work` with the triggers disabled that notify. Throws if there are none. */
export async function withoutNotifyTriggers<T>(owner: Client, work: () => Promise<T>): Promise<T> {
  const triggers = await listTriggers(owner, 'pg_notify');
  await disable(owner, triggers);
  try {
    return await work();
  } finally {
    await inTurn(triggers, (trigger) =>
      alter(owner, trigger, trigger.enabled === 'A' ? 'enable always' : 'enable'),
    );
  }
}

/** Nothing is recorded from then on. Throws if there are no such triggers. */
export async function disableHistory(owner: Client): Promise<void> {
  await disable(owner, await listTriggers(owner, 'number_change'));
}

async function disable(owner: Client, triggers: readonly Trigger[]): Promise<void> {
  await inTurn(triggers, (trigger) => alter(owner, trigger, 'disable'));
}

async function alter(owner: Client, { table, trigger }: Trigger, how: string): Promise<void> {
  await owner.query(`alter table ${table} ${how} trigger ${trigger}`);
}

/** Those whose functions contain the word. */
async function listTriggers(owner: Client, word: string): Promise<readonly Trigger[]> {
  const { rows } = await owner.query<Trigger>(
    `select t.tgrelid::regclass::text as "table", quote_ident(t.tgname) as trigger, t.tgenabled as enabled
     from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where not t.tgisinternal and t.tgenabled in ('O', 'A') and strpos(p.prosrc, $1) > 0`,
    [word],
  );
  if (rows.length === 0) throw new Error(`The database has no trigger with ${word}.`);
  return rows;
}
