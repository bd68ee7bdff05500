// The edges of the simulated Graph API that list nodes: pages, cursors, and who may read them.

import { describe, expect, test } from 'vitest';
import { createTestSimulator } from './simulator.ts';

const wabaId = '102290129340398';
const phones = Array.from({ length: 130 }, (_, index) => ({
  id: String(106_540_352_000_000 + index),
  wabaId,
  fields: { verified_name: `Shop ${index}` },
  profile: null,
}));

function open() {
  return createTestSimulator({
    wabas: [
      { id: wabaId, fields: {} },
      { id: '102290129340399', fields: {} },
    ],
    phones,
    tokens: [
      { token: 'good', wabaIds: 'all' },
      { token: 'messaging', wabaIds: 'all', scopes: ['whatsapp_business_messaging'] },
      { token: 'foreign', wabaIds: [] },
    ],
  });
}

type Opened = ReturnType<typeof open>;

async function read({ fetch }: Opened, path: string, token = 'good'): Promise<any> {
  const response = await fetch(`https://graph.facebook.com/v26.0/${path}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return await response.json();
}

const numbers = `${wabaId}/phone_numbers`;

describe('the numbers of an account', () => {
  test('come in pages of 25 by default and 100 at most, in order, each once', async () => {
    await using simulator = open();
    expect((await read(simulator, numbers)).data).toHaveLength(25);
    const seen: string[] = [];
    let after = '';
    const sizes: number[] = [];
    do {
      // oxlint-disable-next-line no-await-in-loop -- each page has the cursor of the next one
      const page = await read(simulator, `${numbers}?limit=1000&fields=id${after}`);
      sizes.push(page.data.length);
      seen.push(...page.data.map(({ id }: { id: string }) => id));
      after = page.paging.next === undefined ? '' : `&after=${page.paging.cursors.after}`;
    } while (after !== '');
    expect(sizes).toEqual([100, 30]);
    expect(seen).toEqual(phones.map(({ id }) => id));
  });

  test('name the next page by an address with the token, so that following it shows', async () => {
    await using simulator = open();
    const { paging } = await read(simulator, `${numbers}?limit=10&fields=verified_name`);
    expect(new URL(paging.next).searchParams.get('access_token')).toBe('good');
  });

  test('of an empty account are an empty list without cursors', async () => {
    await using simulator = open();
    expect(await read(simulator, '102290129340399/phone_numbers')).toEqual({ data: [] });
  });

  test('may be an empty page that others follow', async () => {
    await using simulator = open();
    simulator.setFault(wabaId, { kind: 'empty-data', times: 1 });
    const empty = await read(simulator, `${numbers}?limit=100`);
    expect(empty.data).toEqual([]);
    const next = await read(simulator, `${numbers}?limit=100&after=${empty.paging.cursors.after}`);
    expect(next.data).toHaveLength(100);
  });

  test('have the fields that were asked for', async () => {
    await using simulator = open();
    const { data } = await read(simulator, `${numbers}?limit=1&fields=verified_name`);
    expect(data).toEqual([{ verified_name: 'Shop 0', id: '106540352000000' }]);
    const refused = await read(simulator, `${numbers}?fields=nonsense`);
    expect(refused.error.message).toContain('nonexisting field (nonsense)');
  });

  test.each([
    ['messaging', numbers, { code: 200 }],
    ['foreign', numbers, { code: 100, error_subcode: 33 }],
    ['good', `${numbers}?limit=0`, { code: 100 }],
    ['good', `${numbers}?after=x`, { code: 100 }],
    ['good', '106540352000000/phone_numbers', { code: 100 }],
  ])('with the token %s are refused for %s', async (token, path, error) => {
    await using simulator = open();
    expect(await read(simulator, path, token)).toMatchObject({ error });
  });
});
