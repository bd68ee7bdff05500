// The commands for the endpoints of alerts: what they print, and that they neither show nor accept secrets where others could
// read them.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from './command-line.ts';

let line: CommandLine;
let tenant: string;
beforeAll(async () => {
  line = await openCommandLine();
  tenant = await line.addTenant();
});
afterAll(() => line[Symbol.asyncDispose]());

interface Added {
  readonly id: string;
  readonly secret: string | null;
}

const url = 'https://hooks.example.com/services/T0CANARY';
const onTerminal = { tty: ['stdout'] } as const;
const add = (words = '', stdin = `${url}\n`) =>
  line.run<Added>(`alert add --tenant ${tenant} --url - ${words}`.trim(), { stdin });

describe('alert', () => {
  test('add prints these members, the secret only here, and never the path of the URL', async () => {
    const added = await add('--rule SENDABLE_LOST --rule ACCOUNT_BANNED');
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(added.json).toEqual({
      id: expect.stringMatching(/^ale_[0-9a-f]{32}$/),
      host: 'hooks.example.com',
      format: 'STANDARD',
      rules: ['SENDABLE_LOST', 'ACCOUNT_BANNED'],
      secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    });
    const listed = await line.run<Record<string, unknown>[]>(`alert list --tenant ${tenant}`);
    expect(listed.json.find(({ id }) => id === added.json.id)).toEqual({
      id: added.json.id,
      host: 'hooks.example.com',
      format: 'STANDARD',
      rules: ['SENDABLE_LOST', 'ACCOUNT_BANNED'],
      state: 'ON',
      offReason: null,
      failingSince: null,
      lastOutcome: null,
      lastAttemptAt: null,
      createdAt: expect.stringMatching(/^20\d\d-.*Z$/),
    });
    const table = await line.run(`alert list --tenant ${tenant}`, onTerminal);
    expect(table.stdout).toMatch(/^ID +HOST +FORMAT +STATE +LAST +RULES +ADDED/);
    for (const text of [added.stdout, listed.stdout, table.stdout]) {
      expect(text).not.toContain('T0CANARY');
    }
    for (const text of [listed.stdout, table.stdout]) {
      expect(text).not.toContain(added.json.secret);
    }
  });

  test('add on a terminal says what to do with the secret', async () => {
    const { code, stdout } = await line.run(`alert add --tenant ${tenant} --url -`, {
      ...onTerminal,
      stdin: url,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/\n {2}secret {2}whsec_\S+\n/);
    expect(stdout).toContain('shown only once');
    expect(stdout).toMatch(new RegExp(`Try it with: alert test ale_\\S+ --tenant ${tenant}\\n`));
  });

  test('add for Slack prints no secret', async () => {
    expect((await add('--format slack')).json).toMatchObject({ format: 'SLACK', secret: null });
  });

  test('add refuses rules for an endpoint that is sent every change', async () => {
    const { code, stderr } = await add('--format changes --rule SENDABLE_LOST');
    expect(code).toBe(2);
    expect(stderr).toContain('--rule chooses incidents, and the format changes sends every change');
  });

  test('add refuses a URL as an argument, and repeats nothing of it', async () => {
    const { code, stdout, stderr } = await line.run(`alert add --tenant ${tenant} --url ${url}`);
    expect(code).toBe(2);
    expect(stderr).toContain('--url takes the path of a file with the URL');
    expect(stdout + stderr).not.toContain('T0CANARY');
  });

  test.each([
    ['http', 'http://hooks.example.com/T0CANARY', 'must begin with https'],
    ['a private address', 'https://10.0.0.1/T0CANARY', 'is not public'],
    ['another port', 'https://hooks.example.com:22/T0CANARY', 'one of the ports 443, 8443'],
    ['no URL', 'T0CANARY', 'is not a valid URL'],
    ['nothing', '', 'is not a valid URL'],
  ])('add refuses %s', async (_, stdin, message) => {
    const { code, stdout, stderr } = await add('', stdin);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^INVALID_REQUEST: The URL of the endpoint /);
    expect(stderr).toContain(message);
    expect(stdout + stderr).not.toContain('T0CANARY');
  });

  test('add refuses a rule that does not exist, and lists those that do', async () => {
    const { code, stderr } = await add('--rule NO_RULE');
    expect(code).toBe(2);
    expect(stderr).toContain('SENDABLE_LOST, SENDABLE_REGAINED');
  });

  test('the command test says how it ended, and fails unless the endpoint accepted the message', async () => {
    const { json } = await add('', 'https://does-not-exist.invalid/T0CANARY');
    const result = await line.run(`alert test ${json.id} --tenant ${tenant}`);
    expect(result).toMatchObject({
      code: 1,
      json: { id: json.id, accepted: false, outcome: 'NAME_UNKNOWN', switchedOn: false },
    });
    expect(result.stderr).toMatch(/^NOT_ACCEPTED: .*NAME_UNKNOWN/);
  });

  test('rotate prints another secret, and remove removes the endpoint', async () => {
    const { json: added } = await add();
    const rotated = await line.run<Added>(
      `alert rotate ${added.id} --tenant ${tenant} --overlap 1h`,
    );
    expect(rotated.json.secret).toMatch(/^whsec_/);
    expect(rotated.json.secret).not.toBe(added.secret);
    const words = `alert remove ${added.id} --tenant ${tenant}`;
    expect((await line.run(words)).json).toEqual({ id: added.id });
    const again = await line.run(words);
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/^ENDPOINT_NOT_FOUND: /);
  });

  test('an endpoint of another tenant does not exist', async () => {
    const { json } = await add();
    const other = await line.addTenant();
    for (const verb of ['test', 'rotate', 'remove']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { stderr } = await line.run(`alert ${verb} ${json.id} --tenant ${other}`);
      expect(stderr).toMatch(/^ENDPOINT_NOT_FOUND: /);
    }
    expect((await line.run(`alert list --tenant ${other}`)).json).toEqual([]);
  });

  test('secrets are encrypted again with the first key', async () => {
    await add();
    const before = line.environment['ENCRYPTION_KEYS'] ?? '';
    const next = `next:${Buffer.alloc(32, 7).toString('base64')}`;
    const rotated = await line.run<{ failed: number; rotated: number }>('keys rotate-encryption', {
      environment: { ENCRYPTION_KEYS: `${next},${before}` },
    });
    expect(rotated.json.failed).toBe(0);
    const doctor = await line.run('doctor', { environment: { ENCRYPTION_KEYS: next } });
    expect(doctor.stdout).not.toContain('cannot be decrypted');
  });
});
