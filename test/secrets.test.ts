// Sealed secrets: they open only with their key and at their location, and any alteration is detected.

import { createSecretKey, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { createVault, type EncryptionKey, type SealedLocation } from '../src/secrets.ts';

const createEncryptionKey = (id: string): EncryptionKey => ({
  id,
  key: createSecretKey(randomBytes(32)),
});

const location: SealedLocation = {
  table: 'number_credential',
  column: 'sealed',
  tenantId: 'ten_1',
  rowId: 'wa_1',
};
const [k0, k1] = [createEncryptionKey('k0'), createEncryptionKey('k1')];
const vault = createVault([k1, k0]);
/** The vault before `k1` was added. */
const former = createVault([k0]);
const forged = 'unable to authenticate data';

const toBytes = (sealed: string): string =>
  sealed
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString('hex'))
    .join('.');

test('opening a sealed value returns its text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2_000 }), (text) => {
      expect(vault.open(vault.seal(text, location), location)).toBe(text);
    }),
  );
});

test('a sealed value contains its version and key id, and nothing of the text', () => {
  const sealed = vault.seal('EAAcanary', location);
  expect(sealed).toMatch(/^v1\.k1\.[\w-]+\.[\w-]+$/);
  expect(Buffer.from(sealed.split('.')[3] ?? '', 'base64url').toString('latin1')).not.toContain(
    'canary',
  );
});

test('sealing a text twice gives different values', () => {
  expect(vault.seal('x', location)).not.toBe(vault.seal('x', location));
});

/** As `seal` returns a value, and as `rewrap` returns it. */
const ways = {
  sealed: (text: string) => vault.seal(text, location),
  rewrapped: (text: string) => vault.rewrap(former.seal(text, location), location),
};

test.each(Object.entries(ways))('every flipped bit is detected: %s', (_, seal) => {
  const sealed = seal('a secret of some length');
  const [version, keyId, ...parts] = sealed.split('.');
  for (const [index, part] of parts.entries()) {
    const raw = Buffer.from(part, 'base64url');
    for (let bit = 0; bit < raw.length * 8; bit += 1) {
      const flipped = Buffer.from(raw);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const changed = parts.with(index, flipped.toString('base64url'));
      expect(() => vault.open([version, keyId, ...changed].join('.'), location)).toThrow(forged);
    }
  }
});

test.each(Object.entries(ways))('any other alteration is detected: %s', (_, seal) => {
  const sealed = seal('a secret');
  const at = fc.nat({ max: sealed.length });
  fc.assert(
    fc.property(at, at, fc.string({ maxLength: 40 }), (from, to, text) => {
      const changed = sealed.slice(0, from) + text + sealed.slice(to);
      fc.pre(changed !== sealed);
      // Different encodings of the same bytes are the same value.
      fc.pre(toBytes(changed) !== toBytes(sealed) || !changed.startsWith('v1.k1.'));
      expect(() => vault.open(changed, location)).toThrow(/./);
    }),
    { numRuns: 1_000 },
  );
});

const tagLengths = [0, 4, 8, 12, 13, 14, 15];

test.each(Object.entries(ways))('a truncated tag is refused: %s', (_, seal) => {
  const [version, keyId, wrapped = '', sealed = ''] = seal('').split('.');
  for (const length of tagLengths) {
    // A nonce of 12 bytes and a truncated tag, since the text is empty.
    const short = Buffer.from(sealed, 'base64url').subarray(0, 12 + length);
    const value = [version, keyId, wrapped, short.toString('base64url')].join('.');
    expect(() => vault.open(value, location)).toThrow('too short');
    // A data key has 32 bytes between nonce and tag.
    const shortKey = Buffer.from(wrapped, 'base64url').subarray(0, 12 + 32 + length);
    const cut = [version, keyId, shortKey.toString('base64url'), sealed].join('.');
    for (const use of [vault.open, vault.rewrap]) expect(() => use(cut, location)).toThrow(/./);
  }
});

test.each(['table', 'column', 'tenantId', 'rowId'] as const)(
  'a sealed value cannot be moved to another %s',
  (part) => {
    for (const seal of Object.values(ways)) {
      const sealed = seal('a secret');
      const elsewhere = { ...location, [part]: 'other' };
      expect(() => vault.open(sealed, elsewhere)).toThrow(forged);
      // Rewrapping it there does not move it either.
      expect(() => vault.rewrap(sealed, elsewhere)).toThrow(forged);
      expect(vault.open(sealed, location)).toBe('a secret');
    }
  },
);

test('no two locations are equal, whatever characters their names contain', () => {
  const names = ['', 'a', '|', 'a|', '%7C'];
  const locations = names.flatMap((table) =>
    names.flatMap((column) =>
      names.map((tenantId) => ({ table, column, tenantId, rowId: 'wa_1' })),
    ),
  );
  const sealed = locations.map((one) => vault.seal('a secret', one));
  const opening = sealed.map((value) =>
    locations.filter((other) => {
      try {
        return vault.open(value, other) === 'a secret';
      } catch {
        return false;
      }
    }),
  );
  expect(opening).toEqual(locations.map((one) => [one]));
});

test('the data key of one value does not open another value', () => {
  const [version, keyId, , sealed] = vault.seal('a secret', location).split('.');
  const [, , wrapped] = vault.seal('another one', location).split('.');
  expect(() => vault.open([version, keyId, wrapped, sealed].join('.'), location)).toThrow(forged);
});

test('the first key encrypts, and all keys decrypt', () => {
  const [before, after] = [createEncryptionKey('before'), createEncryptionKey('after')];
  const old = createVault([before]).seal('a secret', location);
  const rotated = createVault([after, before]);
  expect(rotated.open(old, location)).toBe('a secret');
  expect(rotated.seal('a secret', location)).toMatch(/^v1\.after\./);
});

test('opening a value fails with the reason when its key is not configured', () => {
  const sealed = createVault([createEncryptionKey('gone')]).seal('a secret', location);
  expect(() => vault.open(sealed, location)).toThrow('not in ENCRYPTION_KEYS');
});

test('rewrapping changes the data key only: the encrypted text stays as it is, and still opens', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2_000 }), (text) => {
      const old = former.seal(text, location);
      const rewrapped = vault.rewrap(old, location);
      expect(vault.open(rewrapped, location)).toBe(text);
      expect([vault.isCurrent(old), vault.isCurrent(rewrapped)]).toEqual([false, true]);
      expect(rewrapped.split('.')[3]).toBe(old.split('.')[3]);
      expect(createVault([k1]).open(rewrapped, location)).toBe(text);
      expect(() => former.open(rewrapped, location)).toThrow('not in ENCRYPTION_KEYS');
      expect(vault.rewrap(old, location)).not.toBe(rewrapped);
    }),
  );
});

test('rewrapping refuses a value whose key is missing, and text that is no sealed value', () => {
  const lost = createVault([createEncryptionKey('gone')]).seal('a secret', location);
  expect(() => vault.rewrap(lost, location)).toThrow('not in ENCRYPTION_KEYS');
  expect(() => vault.rewrap('a secret', location)).toThrow('not a sealed value');
});

test('another key with the same id does not open a value', () => {
  const sealed = createVault([createEncryptionKey('k1')]).seal('a secret', location);
  expect(() => vault.open(sealed, location)).toThrow(forged);
});

test.each(['', 'v1', 'v1.k1', 'v1.k1.AAAA', 'v2.k1.AAAA.AAAA', 'v1.k1.AAAA.AAAA.AAAA', 'a secret'])(
  '%o is refused as a sealed value, without repeating it',
  (value) => {
    expect(() => vault.open(value, location)).toThrow(/^[^A]*$/);
  },
);

test('a vault requires a key', () => {
  expect(() => createVault([])).toThrow('at least one');
});
