// Tests of the commands that follow, compare and list changes, and of the one that begins a new epoch.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type CommandLine, openCommandLine, type RunOptions } from './command-line.ts';

interface Change {
  readonly cursor: string;
  readonly numberId: string | null;
  readonly kind: string;
  readonly field: string | null;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

let line: CommandLine;
const onTerminal = { tty: ['stdout'] } as const;

beforeAll(async () => {
  line = await openCommandLine();
});
afterAll(() => line[Symbol.asyncDispose]());

let count = 0;

async function addNumber(tenant: string, name: string): Promise<string> {
  count += 1;
  const { json, stderr } = await line.run<{ id: string }>([
    ...`number add --tenant ${tenant} --number ${5_511_900_000_000 + count}`.split(' '),
    ...`--name ${name} --provider PILOT_STATUS --instance i${count} --state OPEN`.split(' '),
  ]);
  if (json === undefined) throw new Error(stderr);
  return json.id;
}

async function setState(id: string, state: string): Promise<void> {
  await line.run(`number set-state ${id} ${state}`);
}

/** Runs `fleet watch` until the test ends it. */
function startWatch(tenant: string | null, words = '', options: RunOptions = {}) {
  const ending = new AbortController();
  onTestFinished(() => ending.abort());
  const seen = { stdout: '', stderr: '' };
  const ended = line.run(`fleet watch ${tenant === null ? '' : `--tenant ${tenant}`} ${words}`, {
    ...options,
    signal: ending.signal,
    onStdout: (part) => void (seen.stdout += part),
    onStderr: (part) => void (seen.stderr += part),
  });
  return {
    seen,
    changes: () =>
      seen.stdout
        .split('\n')
        .filter(Boolean)
        .map((json) => JSON.parse(json) as Change),
    /** As Ctrl+C does. */
    async end() {
      ending.abort(new Error('Stopped by SIGINT.'));
      return await ended;
    },
  };
}

/** Runs `serve` until the test ends it. */
async function startServing(environment: Readonly<Record<string, string>> = {}) {
  const ending = new AbortController();
  onTestFinished(() => ending.abort());
  const listening = Promise.withResolvers<string>();
  const ended = line.run('serve', {
    environment: { ANSWER_CACHE_MB: '1', ...environment },
    signal: ending.signal,
    onStdout: (part) => {
      const [url] = /http:[^"]+/.exec(part) ?? [];
      if (url !== undefined) listening.resolve(url);
    },
  });
  return {
    url: await listening.promise,
    async end() {
      ending.abort();
      await ended;
    },
  };
}

const cursorOf = async (tenant: string) => {
  const { json } = await line.run<{ cursor: string }>(`fleet diff --tenant ${tenant} --since 1h`);
  return json.cursor;
};

describe('fleet watch', () => {
  test('prints a line of JSON for each change in a pipe, and Ctrl+C ends it with 0', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    const after = await cursorOf(tenant);
    await setState(id, 'CLOSE');
    const watch = startWatch(tenant, `--after ${after}`);
    await vi.waitUntil(() => watch.changes().some(({ newValue }) => newValue === 'CLOSE'), 10_000);
    await setState(id, 'OPEN');
    await vi.waitUntil(() => watch.changes().some(({ newValue }) => newValue === 'OPEN'), 10_000);
    expect(await watch.end()).toMatchObject({ code: 0, stderr: '' });
    const states = watch.changes().filter(({ field }) => field === 'STATE');
    expect(states.map(({ newValue, source }) => [newValue, source])).toEqual([
      ['CLOSE', 'COMMAND_LINE'],
      ['OPEN', 'COMMAND_LINE'],
    ]);
    // The cursor of a line leads to what follows it.
    const again = startWatch(tenant, `--after ${states[0]!.cursor} --json`, onTerminal);
    await vi.waitUntil(() => again.changes().some(({ newValue }) => newValue === 'OPEN'), 10_000);
    expect(again.seen.stdout).not.toContain('"newValue":"CLOSE"');
  });

  test('prints a table on a terminal, whose columns stay where they are', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    const watch = startWatch(tenant, '', { ...onTerminal, columns: 100 });
    await vi.waitUntil(() => watch.seen.stdout.startsWith('TIME'), 10_000);
    await line.query(`update whatsapp_number set name = 'Longer name' where id = '${id}'`);
    await vi.waitUntil(() => watch.seen.stdout.includes('Longer name'), 10_000);
    await setState(id, 'CLOSE');
    await vi.waitUntil(() => watch.seen.stdout.includes('CLOSE'), 10_000);
    const { code, stdout } = await watch.end();
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    const [head = ''] = lines;
    const rename = lines.find((it) => it.includes('NAME')) ?? '';
    const close = lines.find((it) => /STATE.*CLOSE/.test(it)) ?? '';
    for (const row of [rename, close]) {
      expect(row.indexOf('Longer name')).toBe(head.indexOf('NUMBER'));
      expect(row.length).toBeLessThanOrEqual(100);
    }
    expect(close.indexOf('CLOSE')).toBe(head.indexOf('TO'));
    expect(lines.filter((it) => it.startsWith('TIME'))).toHaveLength(1);
    expect(stdout).not.toContain('…');
  });

  test('goes on after the connections to the database were lost', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    const watch = startWatch(tenant, `--after ${await cursorOf(tenant)}`);
    await setState(id, 'CLOSE');
    await vi.waitUntil(() => watch.changes().length > 0, 10_000);
    await line.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    );
    await setState(id, 'CONNECTING');
    const isSeen = () => watch.changes().some(({ newValue }) => newValue === 'CONNECTING');
    await vi.waitUntil(isSeen, 15_000);
    expect((await watch.end()).code).toBe(0);
  });

  test('ends with 0 when its reader has ended, as head does', async () => {
    const tenant = await line.addTenant();
    const after = await cursorOf(tenant);
    const id = await addNumber(tenant, 'Alpha');
    const args = [main, 'fleet', 'watch', '--tenant', tenant, '--after', after];
    const watch = spawn(process.execPath, args, { env: { ...line.environment } });
    onTestFinished(() => void watch.kill());
    const errors = text(watch.stderr);
    const [first] = (await once(watch.stdout, 'data')) as [Buffer];
    expect(String(first)).toContain('"kind":"ADDED"');
    watch.stdout.destroy();
    await setState(id, 'CLOSE');
    expect(await once(watch, 'exit')).toEqual([0, null]);
    expect(await errors).toBe('');
  });

  test('follows a gateway that runs, over HTTP: through a restart, with names, and from a cursor', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    const { json } = await line.run<{ key: string }>(`key create --tenant ${tenant} --name Watch`);
    const environment = { GATEWAY_KEY: json.key };
    let serving = await startServing();
    const after = await cursorOf(tenant);
    const table = { ...onTerminal, environment };
    const watch = startWatch(null, `--url ${serving.url} --after ${after}`, { environment });
    const seen = startWatch(null, `--url ${serving.url}`, table).seen;
    await vi.waitUntil(() => seen.stdout.startsWith('TIME'), 10_000);
    await setState(id, 'CLOSE');
    await vi.waitUntil(() => watch.changes().some(({ newValue }) => newValue === 'CLOSE'), 10_000);
    const { port } = new URL(serving.url);
    await serving.end();
    await setState(id, 'CONNECTING');
    serving = await startServing({ PORT: port });
    const isSeen = () => watch.changes().some(({ newValue }) => newValue === 'CONNECTING');
    await vi.waitUntil(isSeen, 20_000);
    await vi.waitUntil(() => /Alpha .*CONNECTING/.test(seen.stdout), 10_000);
    expect(seen.stdout).toMatch(/Alpha .*CLOSE/);
    expect(await watch.end()).toMatchObject({ code: 0, stderr: '' });
    await serving.end();
  });

  test('says what is wrong with a URL, a key, and no choice', async () => {
    const serving = await startServing();
    for (const [words, code, message] of [
      ['', 1, /^INVALID_REQUEST: Give either --tenant ID, or --url/],
      [`--url ${serving.url} --tenant ten_a`, 1, /^INVALID_REQUEST: Give either --tenant/],
      ['--url http://example.com', 2, /an https URL, or an http URL on a loopback address/],
      [`--url ${serving.url}`, 1, /^UNAUTHENTICATED: /],
    ] as const) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const result = await line.run(`fleet watch ${words}`, {
        environment: { GATEWAY_KEY: 'ps_wrong' },
      });
      expect([result.code, result.stderr]).toEqual([code, expect.stringMatching(message)]);
    }
    await serving.end();
  });

  test.each([
    ['--after c1.x', 'INVALID_CURSOR'],
    [`--after c1.${'0'.repeat(32)}.1`, 'CURSOR_UNKNOWN'],
  ])('refuses %s', async (words, code) => {
    const result = await line.run(`fleet watch --tenant ${await line.addTenant()} ${words}`);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(new RegExp(`^${code}: `));
  });
});

describe('fleet diff', () => {
  interface Diff {
    readonly since: string;
    readonly cursor: string;
    readonly differences: readonly {
      readonly numberId: string | null;
      readonly name: string | null;
      readonly change: string;
      readonly fields: readonly Change[];
    }[];
  }

  test('has the first and the last value of each field, and nothing that has changed back', async () => {
    const tenant = await line.addTenant();
    const [changed, back, removed] = [
      await addNumber(tenant, 'Alpha'),
      await addNumber(tenant, 'Beta'),
      await addNumber(tenant, 'Gamma'),
    ];
    // Its verdict is known from then on.
    await setState(back, 'CLOSE');
    await setState(back, 'OPEN');
    const since = await cursorOf(tenant);
    await setState(changed, 'CONNECTING');
    await setState(changed, 'CLOSE');
    await setState(back, 'CLOSE');
    await setState(back, 'OPEN');
    await line.run(`number remove ${removed} --yes`);
    const added = await addNumber(tenant, 'Delta');
    const passing = await addNumber(tenant, 'Passing');
    await line.run(`number remove ${passing} --yes`);
    const { json } = await line.run<Diff>(`fleet diff --tenant ${tenant} --since ${since}`);
    expect(json.since).toBe(since);
    const summary = json.differences.map(({ numberId, name, change }) => [numberId, name, change]);
    expect(summary).toEqual([
      [changed, 'Alpha', 'CHANGED'],
      [removed, null, 'REMOVED'],
      [added, 'Delta', 'ADDED'],
    ]);
    expect(json.differences[0]!.fields.find(({ field }) => field === 'STATE')).toMatchObject({
      kind: 'FIELD',
      previousValue: 'OPEN',
      newValue: 'CLOSE',
    });
    const table = await line.run(`fleet diff --tenant ${tenant} --since ${since}`, onTerminal);
    const lines = table.stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^NUMBER +ID +DIFFERENT$/);
    expect(lines[1]).toContain('STATE OPEN → CLOSE');
    expect(lines.slice(2).map((it) => it.split(/ {2,}/))).toEqual([
      ['-', removed, 'removed'],
      ['Delta', added, 'added'],
    ]);
    const none = `fleet diff --tenant ${tenant} --since ${json.cursor}`;
    expect((await line.run(none, onTerminal)).stdout).toBe('Nothing is different.\n');
  });

  test('begins at a time, and says when that is before the history', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    await line.query(
      `update feed_position set created_at = created_at - interval '3 days' where tenant_id = '${tenant}'`,
    );
    await line.query(
      `update number_change set recorded_at = recorded_at - interval '2 days' where tenant_id = '${tenant}'`,
    );
    await setState(id, 'CLOSE');
    const diff = async (since: string) =>
      await line.run<Diff>(`fleet diff --tenant ${tenant} --since ${since}`);
    const day = await diff('24h');
    expect(day.json.differences).toMatchObject([{ numberId: id, change: 'CHANGED' }]);
    expect(day.stderr).toBe('');
    const days = await diff(new Date(Date.now() - 2.5 * 86_400_000).toISOString());
    expect(days.json.differences).toMatchObject([{ numberId: id, change: 'ADDED' }]);
    expect(days.stderr).toBe('');
    const weeks = await diff('30d');
    expect(weeks).toMatchObject({ code: 0, json: days.json });
    expect(weeks.stderr).toMatch(/^HISTORY_INCOMPLETE: /);
    await line.query(`update feed_position set first = last where tenant_id = '${tenant}'`);
    expect((await diff('60h')).stderr).toMatch(/^HISTORY_INCOMPLETE: /);
  });

  test.each(['', '--since yesterday', '--since 2030-02-30', '--since 24'])(
    'refuses %j',
    async (words) => {
      const { code, stderr } = await line.run(`fleet diff --tenant ten_x ${words}`);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^INVALID_REQUEST: /);
    },
  );
});

describe('number history', () => {
  test('lists the changes, newest first, with a limit and of given fields', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    await setState(id, 'CLOSE');
    await line.query(`update whatsapp_number set name = 'Beta' where id = '${id}'`);
    const list = async (words = '') =>
      (await line.run<readonly Change[]>(`number history ${id} ${words}`)).json;
    const all = await list();
    expect(all[0]).toMatchObject({ field: 'NAME', previousValue: 'Alpha', newValue: 'Beta' });
    expect(all.at(-1)).toMatchObject({ numberId: id, kind: 'ADDED' });
    expect(await list('--limit 1')).toEqual(all.slice(0, 1));
    expect(await list('--field STATE,NAME --limit 5')).toEqual(
      all.filter(({ field }) => field === 'NAME' || field === 'STATE'),
    );
    // As a trigger of the database writes it.
    await line.query(
      `insert into number_change (tenant_id, number_id, kind, new_value, source, occurred_at)
       values ('${tenant}', '${id}', 'REFRESH', '{"blocks":["PHONE","PROFILE"],"acceptedCount":1,"plannedCalls":2}', 'API', now())`,
    );
    const { stdout } = await line.run(`number history ${id}`, onTerminal);
    expect(stdout).toMatch(
      /^TIME +WHAT +FROM +TO +SOURCE\n\S+Z +REFRESH +- +1 number: PHONE, PROFILE +API\n\S+Z +NAME +Alpha +Beta +EXTERNAL\n/,
    );
    expect(stdout).toMatch(/\n\S+Z +ADDED +- +- +COMMAND_LINE\n$/);
  });

  test('lists more changes than a page has', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    await line.query(
      `do $$ begin for i in 1..450 loop update whatsapp_number set name = i::text where id = '${id}'; end loop; end $$`,
    );
    const { json } = await line.run<readonly Change[]>(
      `number history ${id} --field NAME --limit 425`,
    );
    expect(json.map(({ newValue }) => Number(newValue))).toEqual(
      Array.from({ length: 425 }, (_, index) => 450 - index),
    );
  });

  test('lists those of a number that was removed, and knows no other', async () => {
    const tenant = await line.addTenant();
    const id = await addNumber(tenant, 'Alpha');
    await line.run(`number remove ${id} --yes`);
    const { json } = await line.run<readonly Change[]>(`number history ${id}`);
    expect([json[0]?.kind, json.at(-1)?.kind]).toEqual(['REMOVED', 'ADDED']);
    const unknown = await line.run('number history wa_none');
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/^NUMBER_NOT_FOUND: /);
    expect((await line.run(`number history ${id} --field COLOUR`)).code).toBe(2);
  });
});

describe('feed new-epoch', () => {
  test('makes the cursors of one tenant, or of all, unknown, and keeps the changes', async () => {
    const [one, other] = [await line.addTenant(), await line.addTenant()];
    const id = await addNumber(one, 'Alpha');
    const cursors = [await cursorOf(one), await cursorOf(other)];
    const codes = async () =>
      await Promise.all(
        [one, other].map(async (tenant, index) => {
          const words = `fleet diff --tenant ${tenant} --since ${cursors[index]}`;
          return (await line.run(words)).stderr.split(':')[0];
        }),
      );
    expect(await codes()).toEqual(['', '']);
    const { json } = await line.run(`feed new-epoch --tenant ${one}`);
    expect(json).toEqual({ tenants: [one] });
    expect(await codes()).toEqual(['CURSOR_UNKNOWN', '']);
    const { stdout } = await line.run('feed new-epoch', onTerminal);
    expect(stdout).toMatch(/^The cursors of \d+ tenant\(s\) are unknown from now on\./);
    expect(await codes()).toEqual(['CURSOR_UNKNOWN', 'CURSOR_UNKNOWN']);
    expect((await line.run(`number history ${id}`)).json).not.toEqual([]);
    expect((await line.run('feed new-epoch --tenant ten_none')).stderr).toMatch(
      /^TENANT_NOT_FOUND: /,
    );
  });
});
