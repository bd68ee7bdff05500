// Tests how the board is served: its page, its files, its policy, and when it is not there. What it does in a browser is tested in
// page.test.ts.

import { hash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway } from '../harness.ts';

const keys = [{ tenantName: 'Acme "&" Söhne', key: 'ps_the_key_of_the_demo' }];

describe('the board', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ boardKeys: keys, plantsLeaks: true });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const read = async (path: string, headers: Readonly<Record<string, string>> = {}) => {
    const reply = await gateway.fetch(path, { headers });
    return { status: reply.status, headers: reply.headers, text: await reply.text() };
  };
  const readFiles = async () => {
    const { text } = await read('/board');
    return [...text.matchAll(/"(\/board\/[0-9a-f]{16}\/[^"]+)"/g)].map(([, path = '']) => path);
  };

  test('is one page, also at the address of a number and with a slash at the end, and needs no key', async () => {
    const page = await read('/board');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('cache-control')).toBe('private, no-cache');
    for (const path of ['/board/numbers/wa_x?verdict=NO', '/board/', '/board/incidents/']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await read(path)).text).toBe(page.text);
    }
  });

  test('has a policy that allows its own files, one import map and nothing else', async () => {
    const { headers, text } = await read('/board');
    const [, importMap = ''] = /<script type="importmap">(.*?)<\/script>/.exec(text) ?? [];
    const policy = headers.get('content-security-policy')?.split('; ');
    expect(policy).toEqual([
      "default-src 'none'",
      `script-src 'self' 'sha256-${hash('sha256', importMap, 'base64')}'`,
      "style-src 'self'",
      'img-src data:',
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ]);
    expect(text).not.toMatch(/<script(?! type="(importmap|module)")|\son\w+=|<style|style=/);
    expect(headers.get('referrer-policy')).toBe('no-referrer');
  });

  test('serves every file that the page names, without types, to be kept for ever', async () => {
    const paths = await readFiles();
    expect(paths.length).toBeGreaterThan(20);
    for (const path of paths) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const file = await read(path);
      const type = path.endsWith('.css') ? 'text/css' : 'text/javascript';
      expect([path, file.status, file.headers.get('content-type')]).toEqual([
        path,
        200,
        `${type}; charset=utf-8`,
      ]);
      expect(file.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(file.text).not.toMatch(/^import type|: readonly |sourceMappingURL/m);
    }
  });

  test('compresses its files', async () => {
    const [path = ''] = await readFiles();
    const { headers } = await read(path, { 'accept-encoding': 'br' });
    expect(headers.get('content-encoding')).toBe('br');
  });

  test('is a 304 for a browser that has the page', async () => {
    const etag = (await read('/board')).headers.get('etag') ?? '';
    expect(etag).not.toBe('');
    expect((await read('/board', { 'if-none-match': etag })).status).toBe(304);
  });

  test.each([
    '/board/nothing',
    '/board/numbers/',
    '/board/numbers/a/b',
    '/board/0123456789abcdef/main.ts',
    '/board/0123456789abcdef/../../../package.json',
    '/boards',
  ])('has nothing at %s', async (path) => {
    const { status, text } = await read(path);
    expect([status, JSON.parse(text)]).toEqual([
      404,
      { error: expect.any(String), code: 'NOT_FOUND', requestId: expect.any(String) },
    ]);
  });

  test.each(['main.tsx', 'tsconfig.json', '..%2Fboard.ts', 'toString', 'packages/react.js'])(
    'has no file %s in its version',
    async (name) => {
      const [path = ''] = await readFiles();
      const version = path.split('/')[2];
      expect((await read(`/board/${version}/${name}`)).status).toBe(404);
    },
  );

  test.each(['/board', '/board/numbers/wa_x'])('is only read: POST %s', async (path) => {
    const reply = await gateway.fetch(path, { method: 'POST', body: '{}' });
    expect([reply.status, reply.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  test.each([
    'localhost',
    'localhost:4000',
    '127.0.0.1:4000',
    '127.9.9.9',
    '[::1]:4000',
    'LOCALHOST:1',
  ])('has the keys of the demo for the host %s', async (host) => {
    const { text } = await read('/board', { host });
    const [, content = ''] = /name="board-keys" content="([^"]*)"/.exec(text) ?? [];
    const unescaped = content.replaceAll(/&#(\d+);/g, (_, code: string) =>
      String.fromCharCode(Number(code)),
    );
    expect(JSON.parse(unescaped)).toEqual(keys);
  });

  test.each([
    'board.example.com',
    'localhost.example.com',
    '127.0.0.1.example.com',
    '10.0.0.1:4000',
    'localhost:4000@example.com',
    'xlocalhost',
    '',
  ])('has no key for the host %j', async (host) => {
    const { text } = await read('/board', { host });
    expect(text.includes('ps_') || text.includes('board-keys')).toBe(false);
  });
});

test('BOARD=off removes the board', async () => {
  await using gateway = await openTestGateway({ environment: { BOARD: 'off' } });
  for (const path of ['/board', '/board/numbers/wa_x', '/board/0123456789abcdef/main.ts']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect(await gateway.rest(path)).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
  }
});

test('a gateway without keys of a demo has none in the page, for any host', async () => {
  await using gateway = await openTestGateway();
  const reply = await gateway.fetch('/board', { headers: { host: 'localhost:4000' } });
  expect(await reply.text()).not.toContain('board-keys');
});
