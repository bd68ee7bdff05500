// The commands of what operators note: mutes of numbers, and incidents that somebody looks after.

import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { insertIncident } from '../alerts/insert-incident.ts';
import { type CommandLine, openCommandLine } from './command-line.ts';

let line: CommandLine;
let tenant: string;
let number: string;
let owner: Client;
beforeAll(async () => {
  line = await openCommandLine();
  owner = new Client({ connectionString: line.database.ownerUrl });
  await owner.connect();
  tenant = await line.addTenant();
  const added = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name Shop --number 5511999999999 --provider PILOT_STATUS --instance shop`,
  );
  number = added.json.id;
});
afterAll(async () => {
  await owner.end();
  await line[Symbol.asyncDispose]();
});

const onTerminal = { tty: ['stdout'] } as const;

describe('number', () => {
  test('mute silences it until a time, with a note, and unmute ends that', async () => {
    const until = new Date(Date.now() + 86_400_000).toISOString();
    const muted = await line.run(`number mute ${number} --until ${until} --note planned`);
    expect(muted).toMatchObject({ code: 0, stderr: '' });
    expect(muted.json).toMatchObject({ id: number, mutedUntil: until, muteNote: 'planned' });
    const shown = await line.run(`number mute ${number} --until ${until}`, onTerminal);
    expect(shown.stdout).toMatch(/^Silent until .*: number wa_/);
    const unmuted = await line.run(`number unmute ${number}`);
    expect(unmuted).toMatchObject({ code: 0, json: { mutedUntil: null, muteNote: null } });
    const changes = await owner.query(
      `select source from number_change where number_id = $1 and kind = 'MUTE' order by id`,
      [number],
    );
    // The note was taken away in between.
    expect(changes.rows).toEqual(Array.from({ length: 3 }, () => ({ source: 'COMMAND_LINE' })));
  });

  test('mute refuses a time that is missing, past or too far, and a number that does not exist', async () => {
    expect((await line.run(`number mute ${number}`)).code).toBe(2);
    expect((await line.run(`number mute ${number} --until 2020-01-01`)).code).toBe(2);
    expect((await line.run(`number mute ${number} --until 2999-01-01`)).code).toBe(1);
    const unknown = await line.run('number unmute wa_none');
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('NUMBER_NOT_FOUND') });
  });
});

describe('incident', () => {
  test('list shows those that are open, unless asked otherwise, and acknowledge notes who looks after one', async () => {
    const at = Date.now();
    const database = {
      query: async (text: string, values: unknown[] = []) => (await owner.query(text, values)).rows,
    };
    const open = await insertIncident(database, tenant, { subject: number, at });
    const closed = await insertIncident(database, tenant, { at: at - 1_000, closedAt: at });
    const list = async (words = '') =>
      (await line.run<{ id: string }[]>(`incident list --tenant ${tenant}${words}`)).json.map(
        ({ id }) => id,
      );
    expect(await list()).toEqual([open]);
    expect(await list(' --state closed')).toEqual([closed]);
    expect(await list(' --state all')).toEqual([open, closed]);
    expect(await list(' --state all --limit 1')).toEqual([open]);
    const done = await line.run(`incident acknowledge ${open} --tenant ${tenant} --note seen`);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.json).toMatchObject({
      id: open,
      acknowledgedBy: { type: 'COMMAND_LINE', key: null },
      note: 'seen',
    });
    const table = await line.run(`incident list --tenant ${tenant}`, onTerminal);
    expect(table.stdout).toMatch(/^ID +SEVERITY +RULE +ABOUT/);
    expect(table.stdout).toContain('Shop');
    const unknown = await line.run(`incident acknowledge inc_none --tenant ${tenant}`);
    expect(unknown.stderr).toContain('INCIDENT_NOT_FOUND');
  });
});
