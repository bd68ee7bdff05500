// The format of API keys, whose checksum refuses typing errors and guesses without a query.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createKey, isKey, toFingerprint, toKeyHash, toKeyHint } from '../../src/access/key.ts';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array));

test('a new key is ps_ and 49 characters of base62, and is well-formed', () => {
  fc.assert(
    fc.property(bytes, (secret) => {
      const key = createKey(secret);
      expect(key).toMatch(/^ps_[0-9A-Za-z]{49}$/);
      expect(isKey(key)).toBe(true);
    }),
  );
});

test('the same bytes make the same key, also the smallest and the largest bytes', () => {
  for (const fill of [0, 255]) {
    const secret = Buffer.alloc(32, fill);
    expect(createKey(secret)).toBe(createKey(Buffer.from(secret)));
    expect(isKey(createKey(secret))).toBe(true);
  }
});

test('different bytes make different keys', () => {
  fc.assert(
    fc.property(bytes, bytes, (one, other) => {
      expect(createKey(one) === createKey(other)).toBe(one.equals(other));
    }),
  );
});

test('a fingerprint is the SHA-256 of the key', () => {
  // https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values
  expect(toFingerprint('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0');
});

test('random keys differ', () => {
  expect(new Set(Array.from({ length: 1_000 }, () => createKey())).size).toBe(1_000);
});

test('a key with one changed character is malformed', () => {
  const position = fc.nat({ max: 'ps_'.length + 48 });
  const replacement = fc.constantFrom(...alphabet);
  fc.assert(
    fc.property(bytes, position, replacement, (secret, at, character) => {
      const key = createKey(secret);
      fc.pre(key[at] !== character);
      expect(isKey(key.slice(0, at) + character + key.slice(at + 1))).toBe(false);
    }),
    { numRuns: 1_000 },
  );
});

test('a key with two transposed characters is malformed', () => {
  fc.assert(
    fc.property(bytes, fc.integer({ min: 3, max: 50 }), (secret, at) => {
      const key = createKey(secret);
      const [one = '', other = ''] = [key[at], key[at + 1]];
      fc.pre(one !== other);
      expect(isKey(key.slice(0, at) + other + one + key.slice(at + 2))).toBe(false);
    }),
  );
});

test('any other text is malformed', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary', maxLength: 80 })), (text) => {
      expect(isKey(text)).toBe(false);
    }),
  );
});

test.each(['', ' ', '\n', 'x', 'ps_'])(
  'a key before or after %o is malformed unless that is empty',
  (more) => {
    const key = createKey();
    expect(isKey(key + more)).toBe(more === '');
    expect(isKey(more + key)).toBe(more === '');
  },
);

test('a hint contains the first seven and the last four characters', () => {
  const key = createKey(Buffer.alloc(32, 1));
  const hint = toKeyHint(key);
  expect(hint).toEqual({ keyPrefix: key.slice(0, 7), keyLast4: key.slice(-4) });
  expect(hint.keyPrefix).toMatch(/^ps_.{4}$/);
});

test('a hash has 256 bits and depends on the key and on the pepper', () => {
  const [key, other] = [createKey(), createKey()];
  const hash = toKeyHash(key, 'pepper');
  expect(hash).toHaveLength(32);
  expect(hash).toEqual(toKeyHash(key, 'pepper'));
  expect(hash).not.toEqual(toKeyHash(key, 'other pepper'));
  expect(hash).not.toEqual(toKeyHash(other, 'pepper'));
});
