// The commands for the endpoints of webhooks: what they print, and that they neither show nor accept secrets where others
// could read them.

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
  readonly path: string;
  readonly verifyToken: string;
  readonly proof: string;
}

const onTerminal = { tty: ['stdout'] } as const;
const appSecret = '0123456789abcdef0123456789abcdef';
const add = (options: { stdin?: string } = {}) =>
  line.run<Added>(`webhook meta add --tenant ${tenant} --secrets -`, {
    stdin: JSON.stringify({ appSecret }),
    ...options,
  });

describe('webhook meta', () => {
  test('add prints these members, the verify token only here, and never the app secret', async () => {
    const added = await add();
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(added.json).toEqual({
      id: expect.stringMatching(/^whe_[0-9a-f]{32}$/),
      path: expect.stringMatching(/^\/v1\/webhooks\/meta\/[\w-]{22}$/),
      verifyToken: expect.stringMatching(/^[\w-]{22}$/),
      proof: 'SIGNED',
    });
    expect(Object.keys(added.json)).toEqual(['id', 'path', 'verifyToken', 'proof']);
    const { id, path, verifyToken } = added.json;
    const listed = await line.run<Record<string, unknown>[]>(
      `webhook meta list --tenant ${tenant}`,
    );
    const time = expect.stringMatching(/^20\d\d-.*Z$/);
    expect(listed.json.find((it) => it['id'] === id)).toEqual({
      id,
      path,
      proof: 'SIGNED',
      appSecrets: 1,
      createdAt: time,
      updatedAt: time,
    });
    const table = await line.run(`webhook meta list --tenant ${tenant}`, onTerminal);
    expect(table.stdout).toMatch(/^ID +PATH +PROOF +SECRETS +CREATED +CHANGED/);
    for (const text of [added.stdout.replace(verifyToken, ''), listed.stdout, table.stdout]) {
      expect(text).not.toContain(verifyToken);
      expect(text).not.toContain(appSecret);
    }
  });

  test('add on a terminal says what to do with the verify token', async () => {
    const words = `webhook meta add --tenant ${tenant} --proof key`;
    const { code, stdout } = await line.run(words, onTerminal);
    expect(code).toBe(0);
    expect(stdout).toContain('accepts what is sent with an API key of the scope webhooks.');
    expect(stdout).toMatch(
      /\n {2}path +\/v1\/webhooks\/meta\/[\w-]{22}\n {2}verify token +[\w-]{22}\n/,
    );
    expect(stdout).toContain('shown only once');
  });

  test('rotate replaces the token and the secrets, and keeps the path', async () => {
    const { json: added } = await add();
    const rotated = await line.run<Added>(
      `webhook meta rotate ${added.id} --tenant ${tenant} --keep --secrets -`,
      { stdin: '{"appSecrets": ["one", "two"]}' },
    );
    expect(rotated.json).toEqual({ ...added, verifyToken: expect.stringMatching(/^[\w-]{22}$/) });
    expect(rotated.json.verifyToken).not.toBe(added.verifyToken);
    const { json } = await line.run<Record<string, unknown>[]>(
      `webhook meta list --tenant ${tenant}`,
    );
    expect(json.find((it) => it['id'] === added.id)).toMatchObject({ appSecrets: 3 });
  });

  test('remove says so, and a second time that there is none', async () => {
    const { json } = await add();
    const words = `webhook meta remove ${json.id} --tenant ${tenant}`;
    expect((await line.run(words)).json).toEqual({ id: json.id });
    const again = await line.run(words);
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/^WEBHOOK_NOT_FOUND: /);
  });

  test('an endpoint of another tenant does not exist', async () => {
    const { json } = await add();
    const other = await line.addTenant();
    for (const words of [
      `webhook meta remove ${json.id} --tenant ${other}`,
      `webhook meta rotate ${json.id} --tenant ${other}`,
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await line.run(words)).stderr).toMatch(/^WEBHOOK_NOT_FOUND: /);
    }
    expect((await line.run(`webhook meta list --tenant ${other}`)).json).toEqual([]);
  });

  test.each([
    ['no JSON', 'secret'],
    ['a list', '["secret"]'],
    ['no secret', '{}'],
    ['a secret that is no text', '{"appSecret": 7}'],
    ['a secret with a space', '{"appSecret": "my secret"}'],
    ['another member', '{"appSecret": "secret", "accessToken": "secret"}'],
  ])('add refuses %s and repeats nothing of it', async (_, stdin) => {
    const { code, stderr } = await add({ stdin });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^INVALID_REQUEST: The secrets are not valid\. Expected /);
    expect(stderr.replaceAll(/appSecrets?/g, '')).not.toContain('my secret');
  });

  test.each([
    ['signed without a secret', '', /needs the app secret .* --secrets/],
    ['key with a secret', '--proof key --secrets -', /has no app secrets/],
  ])('add refuses the proof %s', async (_, words, message) => {
    const stdin = JSON.stringify({ appSecret });
    const result = await line.run(`webhook meta add --tenant ${tenant} ${words}`, { stdin });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
  });

  test('add refuses secrets as an argument', async () => {
    for (const given of [appSecret, '{"appSecret":"x"}']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const result = await line.run([
        'webhook',
        'meta',
        'add',
        '--tenant',
        tenant,
        '--secrets',
        given,
      ]);
      expect(result.code).toBe(2);
      expect(result.stderr).toContain('--secrets takes the path of a JSON file');
      expect(result.stderr).not.toContain(given);
    }
  });
});

test('secrets are encrypted again with the first key, and then opened without the older one', async () => {
  const { json: added } = await add();
  const before = line.environment['ENCRYPTION_KEYS'] ?? '';
  const next = `next:${Buffer.alloc(32, 7).toString('base64')}`;
  const rotated = await line.run<{ failed: number }>('keys rotate-encryption', {
    environment: { ENCRYPTION_KEYS: `${next},${before}` },
  });
  expect(rotated.json.failed).toBe(0);
  const listed = await line.run<Added[]>(`webhook meta list --tenant ${tenant}`, {
    environment: { ENCRYPTION_KEYS: next },
  });
  expect(listed.json.find(({ id }) => id === added.id)?.path).toBe(added.path);
});
