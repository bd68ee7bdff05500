// One run of an account: reads what is due of it, stores what changed, and says when it is due again.

import { recordPhones } from '../numbers/listed-phones.ts';
import { deadToken } from '../numbers/provider.ts';
import {
  type AccountList,
  completePhone,
  differs,
  isComplete,
  type ListResult,
} from './account-list.ts';
import { maxSingleReads, planAccount } from './plan.ts';
import { readFirstList } from './list-reads.ts';
import { findMissing, type MissingNumbers, toMissingPhones } from './missing-numbers.ts';
import { followNewNumbers } from './new-numbers.ts';
import { readRequestedPhones, readRequestedProfiles } from './requested-reads.ts';
import { createRunBudget } from './run-budget.ts';
import { type AccountRun, fail, isWhole, type RunOptions } from './run-context.ts';
import { accessDenied, nothingLeft, overBudget, toRunResult } from './run-result.ts';
import { readAccountItself, readPhones, readProfiles, takeOldest } from './single-reads.ts';
import { deleteSubject, endRun, type Run, type Subject, type SyncNumber } from './store.ts';
import {
  areAllDead,
  isRefusedLately,
  listDoubtful,
  listReadable,
  listSingle,
} from './token-refusals.ts';
import { listTokens } from './tokens.ts';

export async function readAccount(
  options: RunOptions,
  subject: Subject,
  holder: string,
  run: Run,
  signal: AbortSignal,
): Promise<void> {
  const { database, vault, settings } = options;
  if (run.numbers.length === 0) return await deleteSubject(database, subject, holder);
  // What Meta refused once may be granted later.
  const readsHealth = run.state.readsHealth || run.due.some(({ kind }) => kind === 'ACCOUNT');
  const plan = planAccount(settings, { ...run.state, numbers: run.numbers.length, readsHealth });
  const account: AccountRun = {
    options,
    subject,
    run,
    plan,
    signal,
    tokens: listTokens(vault, subject.tenantId, run.numbers),
    budget: createRunBudget(database, subject, { ...run, budget: plan.budget }),
    found: {
      readsHealth,
      list: null,
      listedWith: null,
      dead: new Set(),
      refusal: null,
      missing: null,
      unknownIds: new Map(),
      hasChanged: false,
      isSpent: false,
      unknownNumbers: null,
      left: run.due.find(({ kind }) => kind === 'REQUEST') ?? nothingLeft,
      failures: new Map(),
    },
  };
  await readDue(account);
  for (const { kind } of run.due) options.onRead(account.found.failures.get(kind)?.code ?? 'ok');
  await endRun(database, subject, holder, toRunResult(account));
}

async function readDue(account: AccountRun): Promise<void> {
  const { run, tokens, found } = account;
  const kinds = run.due.map(({ kind }) => kind);
  if (tokens.length === 0) {
    found.refusal = 'TOKENS';
    return fail(account, kinds, accessDenied);
  }
  await readRequestedPhones(account);
  if (isListDue(account)) await readNumbers(account);
  // Nothing else can be read without a token.
  if (found.refusal === 'TOKENS') return;
  if (kinds.includes('ACCOUNT') || found.left.readsAccount) await readAccountItself(account);
  if (kinds.includes('PROFILE')) await readProfiles(account);
  await readRequestedProfiles(account);
}

function isListDue(account: AccountRun): boolean {
  return (
    isWhole(account) || account.run.due.some(({ kind }) => kind === 'SWEEP' || kind === 'HEALTH')
  );
}

type ListKind = 'REQUEST' | 'SWEEP' | 'HEALTH';

async function readNumbers(account: AccountRun): Promise<void> {
  const { run, found } = account;
  const isHealthDue = isWhole(account) || run.due.some(({ kind }) => kind === 'HEALTH');
  const kinds = listKindsOf(account);
  // The list is tried again with the next sweep.
  if (run.isListRefused && kinds.every((kind) => kind === 'HEALTH'))
    return await readAllSingly(account);
  let result = await readFirstList(account, isHealthDue && found.readsHealth ? 'ALL' : 'PLAIN');
  if (result?.ok !== true) return await recordRefusal(account, kinds, result);
  let changed = listChanged(account, result.list);
  // The list without the health shows that something changed; the one with it is stored.
  if (changed.length > 0 && found.readsHealth && !isComplete(result.list)) {
    result = await readFirstList(account, 'ALL');
    if (result?.ok !== true) return await recordRefusal(account, kinds, result);
    changed = listChanged(account, result.list);
  }
  found.list = result.list;
  if (isWhole(account)) found.left = { ...found.left, phones: [] };
  const added = await followNewNumbers(account.options, {
    ...account,
    list: result.list,
    token: found.listedWith,
  });
  found.unknownNumbers = added.unknown;
  // An account that has changed is read more often, and the new numbers with it.
  found.hasChanged ||= added.imported > 0;
  const missing = findMissing(
    run,
    result.list,
    found.listedWith?.numbers ?? [],
    account.plan.seconds.SWEEP,
  );
  const isPlanned = run.due.some(({ kind }) => kind === 'SWEEP' || kind === 'HEALTH');
  if (isPlanned) found.missing = missing.since;
  if (isComplete(result.list)) await recordList(account, result.list);
  const single = [
    ...(isComplete(result.list) ? [] : changed.filter((it) => !isRefusedLately(account, it))),
    ...(isPlanned ? missing.untried : []),
    ...listDoubtful(account),
    ...(isHealthDue ? takeOldest(account, listHealthless(account, result.list, missing)) : []),
  ];
  await readPhones(account, 'HEALTH', [...new Set(single)].slice(0, maxSingleReads));
  if (isPlanned) await recordMissing(account, missing);
}

/** Numbers whose health the list does not have, those that it lacks among them. */
function listHealthless(
  account: AccountRun,
  list: AccountList,
  { readable }: MissingNumbers,
): readonly SyncNumber[] {
  const absent = readable.filter((number) => !isRefusedLately(account, number));
  if (isComplete(list)) return absent;
  const listed = listSingle(account).filter((it) => list.phones.has(it.phoneNumberId ?? ''));
  return [...absent, ...listed];
}

/** After the reads of this run, which may have confirmed it. */
async function recordMissing(
  { options, subject, run, found }: AccountRun,
  { evident, untried }: MissingNumbers,
): Promise<void> {
  const confirmed = untried.filter(({ id }) => found.unknownIds.has(id));
  const confirmedAt = confirmed.map(({ id }) => found.unknownIds.get(id)!.getTime());
  await recordPhones(options.database, {
    tenantId: subject.tenantId,
    observedAt: new Date(Math.max(run.at.getTime(), ...confirmedAt)),
    phones: toMissingPhones([...evident, ...confirmed]),
  });
}

function listKindsOf({ run }: AccountRun): readonly ListKind[] {
  return (['REQUEST', 'SWEEP', 'HEALTH'] as const).filter((kind) =>
    run.due.some((read) => read.kind === kind),
  );
}

function listChanged(account: AccountRun, list: AccountList): readonly SyncNumber[] {
  return listReadable(account).filter((number) => {
    const listed = list.phones.get(number.phoneNumberId ?? '');
    return listed !== undefined && differs(number, listed, list.unknown);
  });
}

async function recordList(account: AccountRun, list: AccountList): Promise<void> {
  const { options, subject, run, found } = account;
  const changed = listChanged(account, list);
  found.hasChanged ||= changed.some(({ phone }) => phone !== null);
  const phones = listReadable(account).flatMap((number) => {
    const { id, phoneNumberId } = number;
    const listed = list.phones.get(phoneNumberId ?? '');
    if (listed === undefined || phoneNumberId === null) return [];
    const phone = completePhone(listed, number, list.unknown);
    return [{ id, phoneNumberId, result: { phone } }];
  });
  await recordPhones(options.database, {
    tenantId: subject.tenantId,
    observedAt: run.at,
    phones,
  });
}

async function recordRefusal(
  account: AccountRun,
  kinds: readonly ListKind[],
  result: Extract<ListResult, { ok: false }> | null,
): Promise<void> {
  const { run, found } = account;
  if (result === null) return fail(account, kinds, overBudget);
  const { failure } = result;
  fail(account, kinds, failure);
  if (failure.code !== 'META_ACCESS_DENIED') return;
  if (areAllDead(account)) {
    found.refusal = 'TOKENS';
    const all = run.due.map(({ kind }) => kind);
    return fail(account, all, failure);
  }
  // Further tokens are tried next time.
  if (failure.metaCode === deadToken) return;
  found.readsHealth = false;
  found.refusal = 'LIST';
  await readAllSingly(account);
}

/** Instead of the list, which Meta refuses. */
async function readAllSingly(account: AccountRun): Promise<void> {
  const { found } = account;
  const outcome = await readPhones(account, 'HEALTH', takeOldest(account, listSingle(account)));
  if (outcome === 'READ') found.failures.delete('HEALTH');
  if (outcome !== 'REFUSED' && outcome !== 'NONE') return;
  found.refusal = 'READS';
  fail(account, ['HEALTH'], accessDenied);
}
