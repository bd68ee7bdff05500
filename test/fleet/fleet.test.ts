// Tests of the fleet over GraphQL.

import { describe, expect, test } from 'vitest';
import { type DatabaseKind, openTestGateway } from '../harness.ts';
import { compareWithBruteForce } from './brute-force.ts';

// test/faults/fleet.faults.ts compares thousands on each kind of database. PGlite takes four times as long for one.
const fleetsOf: readonly (readonly [DatabaseKind, number])[] = [
  ['PGlite', 3],
  ['PostgreSQL', 12],
];

describe.each(fleetsOf)('on %s', (kind, fleets) => {
  test.each([true, false])(
    'random filters and orders give what a computation over all numbers gives; with a session engine: %s',
    async (hasEngine) => {
      const options = { kind, hasEngine, fleets, queriesOfFleet: 8 };
      expect(await compareWithBruteForce(options)).toBe(fleets * 8);
    },
    60_000,
  );
});

test('a search finds names and digits, whatever the letters and however the digits are grouped', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const names = ['Loja 24/7', '𝐀𝐜𝐦𝐞 Ⅳ', 'ΜΟΥΣΑ', 'Straße', 'İstanbul', 'DIYARBAKIR', '🛍️ Shop'];
  for (const [at, name] of names.entries()) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of creation
    await tenant.addNumber({ name, number: `55110000000${at}` });
  }
  await tenant.addNumber({ name: 'Digits', number: '5511247000' });
  const find = async (search: string) => {
    const query = `query ($search: String) {
      fleet(filter: {search: $search}, orderBy: {field: CREATED_AT, direction: ASC}) { nodes { name } } }`;
    const { body, text } = await tenant.graphql<{ fleet: { nodes: { name: string }[] } }>(query, {
      variables: { search },
    });
    if (!body.data) throw new Error(text);
    return body.data.fleet.nodes.map(({ name }) => name);
  };
  expect(await find('24/7')).toEqual(['Loja 24/7', 'Digits']);
  expect(await find('247')).toEqual(['Digits']);
  expect(await find('+55 (11) 247')).toEqual(['Digits']);
  expect(await find('acme iv')).toEqual(['𝐀𝐜𝐦𝐞 Ⅳ']);
  expect(await find('μους')).toEqual(['ΜΟΥΣΑ']);
  expect(await find('STRASSE')).toEqual(['Straße']);
  expect(await find('istan')).toEqual(['İstanbul']);
  expect(await find('diyarbakır')).toEqual(['DIYARBAKIR']);
  expect(await find('🛍️'.repeat(50))).toEqual([]);
});
