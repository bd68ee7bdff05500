// That a sealed secret opens for its owner alone, at its place alone, and as it was.

import { createSecretKey, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { createVault, type EncryptionKey, type SealedPlace } from '../src/secrets.ts';

const toKey = (id: string): EncryptionKey => ({ id, key: createSecretKey(randomBytes(32)) });

const place: SealedPlace = {
  table: 'number_credential',
  column: 'sealed',
  tenantId: 'ten_1',
  rowId: 'wa_1',
};
const [k0, k1] = [toKey('k0'), toKey('k1')];
const vault = createVault([k1, k0]);
/** Before there was a `k1`. */
const former = createVault([k0]);
const forged = 'unable to authenticate data';

const toBytes = (sealed: string): string =>
  sealed
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString('hex'))
    .join('.');

test('what was sealed opens as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2_000 }), (text) => {
      expect(vault.open(vault.seal(text, place), place)).toBe(text);
    }),
  );
});

test('a sealed value names its version and key and shows nothing of the text', () => {
  const sealed = vault.seal('EAAcanary', place);
  expect(sealed).toMatch(/^v1\.k1\.[\w-]+\.[\w-]+$/);
  expect(Buffer.from(sealed.split('.')[3] ?? '', 'base64url').toString('latin1')).not.toContain(
    'canary',
  );
});

test('the same text never looks the same', () => {
  expect(vault.seal('x', place)).not.toBe(vault.seal('x', place));
});

/** As `seal` leaves a value, and as a change of the encryption key leaves it. */
const ways = {
  sealed: (text: string) => vault.seal(text, place),
  rewrapped: (text: string) => vault.rewrap(former.seal(text, place), place),
};

test.each(Object.entries(ways))('each single bit that flips is noticed: %s', (_, seal) => {
  const sealed = seal('a secret of some length');
  const [version, keyId, ...parts] = sealed.split('.');
  for (const [index, part] of parts.entries()) {
    const raw = Buffer.from(part, 'base64url');
    for (let bit = 0; bit < raw.length * 8; bit += 1) {
      const flipped = Buffer.from(raw);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const changed = parts.with(index, flipped.toString('base64url'));
      expect(() => vault.open([version, keyId, ...changed].join('.'), place)).toThrow(forged);
    }
  }
});

test.each(Object.entries(ways))('whatever else is done is noticed: %s', (_, seal) => {
  const sealed = seal('a secret');
  const at = fc.nat({ max: sealed.length });
  fc.assert(
    fc.property(at, at, fc.string({ maxLength: 40 }), (from, to, text) => {
      const changed = sealed.slice(0, from) + text + sealed.slice(to);
      fc.pre(changed !== sealed);
      // Spellings of the same bytes are the same value.
      fc.pre(toBytes(changed) !== toBytes(sealed) || !changed.startsWith('v1.k1.'));
      expect(() => vault.open(changed, place)).toThrow(/./);
    }),
    { numRuns: 1_000 },
  );
});

const tagLengths = [0, 4, 8, 12, 13, 14, 15];

test.each(Object.entries(ways))('a tag that was cut short is refused: %s', (_, seal) => {
  const [version, keyId, wrapped = '', sealed = ''] = seal('').split('.');
  for (const length of tagLengths) {
    // A nonce of 12 bytes and, as the text is empty, the tag alone, which begins like the right one.
    const short = Buffer.from(sealed, 'base64url').subarray(0, 12 + length);
    const value = [version, keyId, wrapped, short.toString('base64url')].join('.');
    expect(() => vault.open(value, place)).toThrow('too short');
    // A data key has 32 bytes between the two.
    const shortKey = Buffer.from(wrapped, 'base64url').subarray(0, 12 + 32 + length);
    const cut = [version, keyId, shortKey.toString('base64url'), sealed].join('.');
    for (const use of [vault.open, vault.rewrap]) expect(() => use(cut, place)).toThrow(/./);
  }
});

test.each(['table', 'column', 'tenantId', 'rowId'] as const)(
  'a sealed value cannot be moved to another %s',
  (part) => {
    for (const seal of Object.values(ways)) {
      const sealed = seal('a secret');
      const elsewhere = { ...place, [part]: 'other' };
      expect(() => vault.open(sealed, elsewhere)).toThrow(forged);
      // Nor can it be by wrapping it anew over there.
      expect(() => vault.rewrap(sealed, elsewhere)).toThrow(forged);
      expect(vault.open(sealed, place)).toBe('a secret');
    }
  },
);

test('no two places are the same place, whatever their names are made of', () => {
  const names = ['', 'a', '|', 'a|', '%7C'];
  const places = names.flatMap((table) =>
    names.flatMap((column) =>
      names.map((tenantId) => ({ table, column, tenantId, rowId: 'wa_1' })),
    ),
  );
  const sealed = places.map((one) => vault.seal('a secret', one));
  const opening = sealed.map((value) =>
    places.filter((other) => {
      try {
        return vault.open(value, other) === 'a secret';
      } catch {
        return false;
      }
    }),
  );
  expect(opening).toEqual(places.map((one) => [one]));
});

test('the data key of one value does not open another one', () => {
  const [version, keyId, , sealed] = vault.seal('a secret', place).split('.');
  const [, , wrapped] = vault.seal('another one', place).split('.');
  expect(() => vault.open([version, keyId, wrapped, sealed].join('.'), place)).toThrow(forged);
});

test('the first key seals, all of them open', () => {
  const [before, after] = [toKey('before'), toKey('after')];
  const old = createVault([before]).seal('a secret', place);
  const rotated = createVault([after, before]);
  expect(rotated.open(old, place)).toBe('a secret');
  expect(rotated.seal('a secret', place)).toMatch(/^v1\.after\./);
});

test('a value under a key that is no longer configured is refused by that reason', () => {
  const sealed = createVault([toKey('gone')]).seal('a secret', place);
  expect(() => vault.open(sealed, place)).toThrow('not in ENCRYPTION_KEYS');
});

test('wrapping anew changes the key alone: the text opens, and its sealed part stays as it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2_000 }), (text) => {
      const old = former.seal(text, place);
      const rewrapped = vault.rewrap(old, place);
      expect(vault.open(rewrapped, place)).toBe(text);
      expect([vault.isCurrent(old), vault.isCurrent(rewrapped)]).toEqual([false, true]);
      expect(rewrapped.split('.')[3]).toBe(old.split('.')[3]);
      expect(createVault([k1]).open(rewrapped, place)).toBe(text);
      expect(() => former.open(rewrapped, place)).toThrow('not in ENCRYPTION_KEYS');
      expect(vault.rewrap(old, place)).not.toBe(rewrapped);
    }),
  );
});

test('nothing is wrapped anew whose key is not there, or that is no sealed value', () => {
  const lost = createVault([toKey('gone')]).seal('a secret', place);
  expect(() => vault.rewrap(lost, place)).toThrow('not in ENCRYPTION_KEYS');
  expect(() => vault.rewrap('a secret', place)).toThrow('not a sealed value');
});

test('another key of the same name does not open', () => {
  const sealed = createVault([toKey('k1')]).seal('a secret', place);
  expect(() => vault.open(sealed, place)).toThrow(forged);
});

test.each(['', 'v1', 'v1.k1', 'v1.k1.AAAA', 'v2.k1.AAAA.AAAA', 'v1.k1.AAAA.AAAA.AAAA', 'a secret'])(
  '%o is no sealed value, and the refusal does not repeat it',
  (value) => {
    expect(() => vault.open(value, place)).toThrow(/^[^A]*$/);
  },
);

test('there is no vault without a key', () => {
  expect(() => createVault([])).toThrow('at least one');
});
