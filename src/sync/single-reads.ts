// Reads what the list of an account does not have: numbers by their own ids, business profiles, and the account itself.

import { isDeepStrictEqual } from 'node:util';
import type { MetaBlock } from '../numbers/meta.ts';
import { type Numbers, toOperatorAccess } from '../numbers/numbers.ts';
import {
  deadToken,
  isRefusedByMeta,
  isUnknownId,
  type UpstreamFailure,
} from '../numbers/provider.ts';
import { freshnessAlone } from '../numbers/projection.ts';
import { maxTokens } from './list-reads.ts';
import { maxProfiles } from './plan.ts';
import { type AccountRun, fail } from './run-context.ts';
import { overBudget } from './run-result.ts';
import { readPhoneData, type DueRead, type SyncNumber } from './store.ts';
import { listReadable, listUsable, recordDead } from './token-refusals.ts';

/** NONE: there was nothing to read. READ: at least one was read. REFUSED: Meta refuses all. */
export type SingleOutcome = 'NONE' | 'READ' | 'REFUSED' | 'FAILED';

/** What was never read is the oldest. */
function timeOf(observedAt: Date | null): number {
  return observedAt?.getTime() ?? 0;
}

export function takeOldest(
  { plan }: AccountRun,
  numbers: readonly SyncNumber[],
): readonly SyncNumber[] {
  return numbers
    .toSorted((one, other) => timeOf(one.observedAt) - timeOf(other.observedAt))
    .slice(0, plan.singleReads);
}

export async function readPhones(
  account: AccountRun,
  kind: 'REQUEST' | 'HEALTH',
  numbers: readonly SyncNumber[],
): Promise<SingleOutcome> {
  const { options, subject, found } = account;
  const outcome = await readSingly(account, [kind], ['phone'], numbers.length, numbers);
  if (outcome !== 'READ') return outcome;
  const ids = numbers.flatMap(({ id, phone }) => (phone === null ? [] : [id]));
  const data = await readPhoneData(options.database, subject.tenantId, ids);
  found.hasChanged ||= numbers.some(
    ({ id, phone }) => phone !== null && data.has(id) && !isDeepStrictEqual(phone, data.get(id)),
  );
  return outcome;
}

export async function readProfiles(account: AccountRun): Promise<void> {
  const { options, run } = account;
  const readBefore = run.at.getTime() - options.settings.seconds.PROFILE * 1_000;
  const oldest = listReadable(account)
    .filter(({ profileObservedAt }) => timeOf(profileObservedAt) <= readBefore)
    .toSorted((one, other) => timeOf(one.profileObservedAt) - timeOf(other.profileObservedAt))
    .slice(0, maxProfiles);
  await readSingly(account, ['PROFILE'], ['profile'], oldest.length, oldest);
}

/** With one number of each token, until one can read it. */
export async function readAccountItself(account: AccountRun): Promise<void> {
  const numbers = listUsable(account)
    .slice(0, maxTokens)
    .flatMap((token) => token.numbers.slice(0, 1));
  const { found, run } = account;
  const kinds = run.due.map(({ kind }) => kind).filter((kind) => kind === 'ACCOUNT');
  const asked = found.left.readsAccount ? (['REQUEST'] as const) : [];
  const outcome = await readSingly(account, [...kinds, ...asked], ['waba'], 1, numbers);
  if (outcome !== 'FAILED') found.left = { ...found.left, readsAccount: false };
}

/** Reads blocks of numbers one by one, as callers do. */
export async function readSingly(
  account: AccountRun,
  kinds: readonly DueRead['kind'][],
  blocks: readonly MetaBlock[],
  calls: number,
  numbers: readonly SyncNumber[],
): Promise<SingleOutcome> {
  const { options, subject, budget, signal } = account;
  if (numbers.length === 0) return 'NONE';
  if (!(await budget.reserve(calls))) {
    fail(account, kinds, overBudget);
    return 'FAILED';
  }
  const access = toOperatorAccess(subject.tenantId);
  const requests = numbers.map(({ id }) => ({ id, refresh: blocks, projection: freshnessAlone }));
  const read = await options.numbers.getMany(access, requests, signal);
  const failures = new Map(
    read.flatMap((number) =>
      'freshness' in number
        ? blocks.map((block) => [number.id, number.freshness[block]?.error ?? null] as const)
        : [],
    ),
  );
  // Meta counts a call also when its answer comes too late.
  const isAnyLate = failures.values().some((failure) => failure?.code === 'META_TIMEOUT');
  budget.onCalls(Math.max(isAnyLate ? calls : 0, access.meter.upstreamCalls));
  await recordDeadTokens(account, failures);
  if (blocks.includes('phone')) recordUnknownIds(account, read);
  const all = [...failures.values()];
  if (all.length === 0) return 'NONE';
  if (all.includes(null)) return 'READ';
  // Refusals concern the ids, the permissions or the token of single numbers.
  const isRefused = all.every((failure) => isRefusedByMeta(failure?.code));
  const [first] = all;
  const reason = all.find((failure) => !isRefusedByMeta(failure?.code)) ?? first;
  const isOfKind = !isRefused || (!kinds.includes('HEALTH') && reason?.metaCode === deadToken);
  if (reason && isOfKind) fail(account, kinds, reason);
  return isRefused ? 'REFUSED' : 'FAILED';
}

/** What only a list can tell apart: an id that does not exist, and one that the token may not read. */
function recordUnknownIds(
  { found }: AccountRun,
  read: Awaited<ReturnType<Numbers['getMany']>>,
): void {
  for (const number of read) {
    if (!('freshness' in number)) continue;
    const { error, attemptedAt } = number.freshness.phone ?? {};
    const isUnknown = error && isUnknownId(error.metaCode, error.metaSubcode);
    if (isUnknown && attemptedAt) found.unknownIds.set(number.id, new Date(attemptedAt));
  }
}

/** A token is dead when Meta says so of one of its numbers and none of them was read. */
async function recordDeadTokens(
  account: AccountRun,
  failures: ReadonlyMap<string, UpstreamFailure | null>,
): Promise<void> {
  for (const token of account.tokens) {
    const own = token.numbers.map(({ id }) => failures.get(id));
    const dead = own.find((failure) => failure?.metaCode === deadToken);
    // oxlint-disable-next-line no-await-in-loop -- one token after the other
    if (dead && !own.includes(null)) await recordDead(account, token, dead);
  }
}
