// When the lists of an account are evidence that it has lost a number.

import { expect, test } from 'vitest';
import { findMissing } from '../../src/sync/missing-numbers.ts';
import type { Run, SyncNumber } from '../../src/sync/store.ts';

const startedAt = Date.parse('2026-11-29T12:00:00Z');
const after = (ms: number) => new Date(startedAt + ms);

const number: SyncNumber = {
  id: 'a',
  number: '5511999999999',
  phoneNumberId: '1',
  credentials: { sealed: 'x', credentialId: null },
  phone: null,
  failure: null,
  metaCode: null,
  metaSubcode: null,
  observedAt: null,
  attemptedAt: null,
  profileObservedAt: null,
};
const refused: SyncNumber = {
  ...number,
  failure: 'META_ACCESS_DENIED',
  metaCode: 100,
  metaSubcode: 33,
  attemptedAt: after(1),
};

/** What a list without numbers says, so many milliseconds after the first one. */
const find = (at: number, of: SyncNumber, missing: Readonly<Record<string, number>>) => {
  const run = { at: after(at), state: { missing }, numbers: [of] } as unknown as Run;
  const { since, evident, untried, readable } = findMissing(run, { phones: new Map() }, [of], 300);
  return { since, evident: evident.length, untried: untried.length, readable: readable.length };
};

test('a second list that lacks a number, half an interval after the first, makes it read by its own id', () => {
  const since = { 1: startedAt };
  expect(find(0, number, {})).toEqual({ since, evident: 0, untried: 0, readable: 0 });
  expect(find(149_000, number, since)).toEqual({ since, evident: 0, untried: 0, readable: 0 });
  expect(find(150_000, number, since)).toEqual({ since, evident: 0, untried: 1, readable: 0 });
});

test('such a list is evidence if Meta has said since the first one that it does not know the id', () => {
  const since = { 1: startedAt };
  expect(find(1_700, refused, since).evident).toBe(0);
  expect(find(150_000, refused, since)).toEqual({ since, evident: 1, untried: 0, readable: 1 });
  const missing = { ...refused, failure: 'META_NUMBER_MISSING' };
  expect(find(150_000, missing, since)).toEqual({ since, evident: 0, untried: 0, readable: 1 });
});

test('a number that the token may not read is not missing', () => {
  const denied = { ...refused, metaCode: 200, metaSubcode: null };
  expect(find(150_000, denied, { 1: startedAt })).toMatchObject({ evident: 0, readable: 1 });
});

test('a number that was read since is not missing, and one whose read failed for a moment is tried again', () => {
  const since = { 1: startedAt };
  const read: SyncNumber = { ...number, observedAt: after(1), attemptedAt: after(1) };
  expect(find(300_000, read, since)).toEqual({ since, evident: 0, untried: 0, readable: 1 });
  const failing: SyncNumber = { ...number, failure: 'META_UNAVAILABLE', attemptedAt: after(1) };
  expect(find(300_000, failing, since)).toEqual({ since, evident: 0, untried: 1, readable: 0 });
});

test('what lists said of one id at Meta says nothing of another one', () => {
  const other: SyncNumber = { ...refused, phoneNumberId: '2' };
  const since = { 2: startedAt + 300_000 };
  expect(find(300_000, other, { 1: startedAt })).toMatchObject({ since, evident: 0 });
});
