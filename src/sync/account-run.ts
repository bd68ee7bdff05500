// One run of an account: reads what is due of it, stores what changed, and says when it is due again.

import type { Database } from '../database/database.ts';
import type { SyncSettings } from '../config.ts';
import type { AccountReader } from '../fleet/account-reader.ts';
import { withoutKnown, withPauses } from '../numbers/budgets.ts';
import { missingInAccount, recordPhones } from '../numbers/listed-phones.ts';
import type { MetaBlock } from '../numbers/meta.ts';
import { type Numbers, toOperatorAccess } from '../numbers/numbers.ts';
import type { UpstreamFailure } from '../numbers/provider.ts';
import type { Vault } from '../secrets.ts';
import { type AccountList, differs, type ListResult, readList } from './account-list.ts';
import { findMissing, toMissingPhones } from './missing-numbers.ts';
import { followNewNumbers, type NewNumbersOptions } from './new-numbers.ts';
import { type AccountPlan, maxProfiles, maxSingleReads, planAccount } from './plan.ts';
import { selectRequested } from './requested-numbers.ts';
import {
  deleteSubject,
  type DueRead,
  endRun,
  type Subject,
  type SubjectState,
  type SyncNumber,
  type Run,
} from './store.ts';
import { type AccountToken, listTokens } from './tokens.ts';
import { createRunBudget, type RunBudget } from './run-budget.ts';
import { deadToken, noToken, overBudget, type ReadFailure, toRunResult } from './run-result.ts';

export interface RunOptions extends NewNumbersOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly reader: Pick<AccountReader, 'listPhones'>;
  /** Whose reads are in the background. */
  readonly numbers: Pick<Numbers, 'getMany'> & NewNumbersOptions['numbers'];
  readonly settings: SyncSettings;
  /** Called once for each kind of read, with the code of its failure. */
  readonly onRead: (outcome: string) => void;
}

export interface AccountRun {
  readonly options: RunOptions;
  readonly subject: Subject;
  readonly run: Run;
  readonly tokens: readonly AccountToken[];
  readonly plan: AccountPlan;
  readonly budget: RunBudget;
  readonly signal: AbortSignal;
  /** What the run finds. */
  readonly found: {
    readsHealth: boolean;
    list: AccountList | null;
    /** The token that has read the list. */
    listedWith: AccountToken | null;
    /** Since when the lists lack which numbers; null when no list says so. */
    missing: SubjectState['missing'] | null;
    hasChanged: boolean;
    /** Whether Meta has said that most of a rate limit is used. */
    isSpent: boolean;
    /** Numbers of the account that the tenant does not have; null when the list was not read. */
    unknownNumbers: number | null;
    readonly failures: Map<DueRead['kind'], ReadFailure>;
  };
}

export async function readAccount(
  options: RunOptions,
  subject: Subject,
  holder: string,
  run: Run,
  signal: AbortSignal,
): Promise<void> {
  const { database, vault, settings } = options;
  if (run.numbers.length === 0) return await deleteSubject(database, subject);
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
      missing: null,
      hasChanged: false,
      isSpent: false,
      unknownNumbers: null,
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
  if (tokens.length === 0) return fail(account, kinds, noToken);
  await readRequest(account);
  if (isListDue(account)) await readNumbers(account);
  // Nothing else can be read with a dead token.
  const dead = found.failures.values().find(({ metaCode }) => metaCode === deadToken);
  if (dead !== undefined) return fail(account, kinds, dead);
  if (kinds.includes('ACCOUNT') || isWhole(account)) {
    await readSingly(account, 'ACCOUNT', ['waba'], 1);
  }
  if (kinds.includes('PROFILE')) await readProfiles(account);
}

function findRequest({ run }: AccountRun): DueRead | undefined {
  return run.due.find(({ kind }) => kind === 'REQUEST');
}

/** Whether a request is for the account and all its numbers. */
function isWhole(account: AccountRun): boolean {
  const request = findRequest(account);
  return request !== undefined && selectRequested(account.run.numbers, request.phones) === null;
}

function isListDue(account: AccountRun): boolean {
  return (
    isWhole(account) || account.run.due.some(({ kind }) => kind === 'SWEEP' || kind === 'HEALTH')
  );
}

/** The numbers that a request names. */
async function readRequest(account: AccountRun): Promise<void> {
  const request = findRequest(account);
  if (request === undefined) return;
  const named = selectRequested(account.run.numbers, request.phones);
  if (named !== null) await readPhones(account, 'REQUEST', named);
}

type ListKind = 'REQUEST' | 'SWEEP' | 'HEALTH';

async function readNumbers(account: AccountRun): Promise<void> {
  const { run, found } = account;
  const isHealthDue = isWhole(account) || run.due.some(({ kind }) => kind === 'HEALTH');
  const kinds = listKindsOf(account);
  let result = await readFirstList(account, isHealthDue && found.readsHealth ? 'ALL' : 'PLAIN');
  if (result === null) return fail(account, kinds, overBudget);
  if (!result.ok) return await recordRefusal(account, kinds, result.failure);
  let changed = listChanged(account, result.list);
  // The list without the health shows that something changed; the one with it is stored.
  if (changed.length > 0 && found.readsHealth && !isComplete(result.list)) {
    result = await readFirstList(account, 'ALL');
    if (result === null) return fail(account, kinds, overBudget);
    if (!result.ok) return await recordRefusal(account, kinds, result.failure);
    changed = listChanged(account, result.list);
  }
  found.list = result.list;
  const added = await followNewNumbers(account.options, {
    ...account,
    list: result.list,
    token: found.listedWith,
  });
  found.unknownNumbers = added.unknown;
  // An account that has changed is read more often, and the new numbers with it.
  found.hasChanged = added.imported > 0;
  const unlisted = await recordMissing(account, result.list);
  if (isComplete(result.list)) {
    await recordList(account, result.list);
    return await readPhones(account, 'HEALTH', isHealthDue ? takeOldest(account, unlisted) : []);
  }
  const listed = listReadable(account).filter(({ id }) => !isMissing(account, id));
  const single = isHealthDue
    ? [...changed, ...takeOldest(account, listed)]
    : changed.filter((it) => !hasRefusedToken(it));
  await readPhones(account, 'HEALTH', [...new Set(single)].slice(0, maxSingleReads));
}

/** Returns the numbers that can be read although the list lacks them. */
async function recordMissing(
  { options, subject, run, found }: AccountRun,
  list: AccountList,
): Promise<readonly SyncNumber[]> {
  // Two lists that were asked for within seconds are no more than one.
  const isPlanned = run.due.some(({ kind }) => kind === 'SWEEP' || kind === 'HEALTH');
  if (found.listedWith === null || !isPlanned) return [];
  const { since, evident, readable } = findMissing(run, list, found.listedWith);
  found.missing = since;
  const phones = toMissingPhones(evident);
  await recordPhones(options.database, { tenantId: subject.tenantId, observedAt: run.at, phones });
  return readable;
}

function isMissing({ run, found }: AccountRun, id: string): boolean {
  return id in (found.missing ?? run.state.missing);
}

function listKindsOf({ run }: AccountRun): readonly ListKind[] {
  return (['REQUEST', 'SWEEP', 'HEALTH'] as const).filter((kind) =>
    run.due.some((read) => read.kind === kind),
  );
}

/** Whether the list has everything that is stored of a phone. */
function isComplete({ unknown }: AccountList): boolean {
  return unknown.size === 0;
}

/** With the first token that Meta accepts. Null when the budget does not allow it. */
async function readFirstList(
  account: AccountRun,
  extent: 'PLAIN' | 'ALL',
): Promise<ListResult | null> {
  const { found, tokens, run, budget } = account;
  let result: ListResult | null = null;
  for (const token of tokens.slice(0, maxTokens)) {
    // oxlint-disable no-await-in-loop -- one token after the other
    if (!(await budget.reserve(run.state.pages))) return null;
    result = await readListWith(account, token, extent);
    if (result.ok) found.listedWith = token;
    if (result.ok || result.failure.code !== 'META_ACCESS_DENIED') break;
    // oxlint-enable no-await-in-loop
  }
  if (result === null || extent === 'PLAIN') return result;
  // What is refused may be the health alone, unless the token is dead.
  const isOfFields =
    !result.ok &&
    result.failure.code === 'META_ACCESS_DENIED' &&
    result.failure.metaCode !== deadToken;
  if (result.ok ? !isComplete(result.list) : isOfFields) found.readsHealth = false;
  return isOfFields ? await readFirstList(account, 'PLAIN') : result;
}

/** Further ones are tried in no run, because each costs calls. */
const maxTokens = 3;
const readMs = 60_000;

async function readListWith(
  { options, subject, budget, found, signal }: AccountRun,
  { credentials }: AccountToken,
  extent: 'PLAIN' | 'ALL',
): Promise<ListResult> {
  const { tenantId, subjectId: wabaId } = subject;
  return await withPauses(options.database, tenantId, async (pauses) => {
    const known = new Map(pauses);
    const result = await readList({
      reader: options.reader,
      wabaId,
      extent,
      credentials,
      options: {
        tenantId,
        signal,
        pauses,
        deadlineAt: performance.now() + readMs,
        onUpstreamCall: budget.onCalls,
        isBackground: true,
      },
    });
    if (withoutKnown(pauses, known).size > 0) found.isSpent = true;
    return result;
  });
}

/** Numbers that have a token, except those whose own token is refused while another one reads the account. */
function listReadable({ tokens }: AccountRun): readonly SyncNumber[] {
  return tokens.flatMap(({ numbers }, place) =>
    place === 0 ? numbers : numbers.filter((number) => !hasRefusedToken(number)),
  );
}

/** A number that the account lacked is none: the list ends that. */
function hasRefusedToken({ failure, obstacle }: SyncNumber): boolean {
  return failure === 'META_ACCESS_DENIED' && obstacle !== missingInAccount.message;
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
  const phones = listReadable(account).flatMap(({ id, phoneNumberId }) => {
    const phone = list.phones.get(phoneNumberId ?? '')?.phone;
    return phone === undefined || phoneNumberId === null
      ? []
      : [{ id, phoneNumberId, result: { phone } }];
  });
  await recordPhones(options.database, {
    tenantId: subject.tenantId,
    observedAt: run.at,
    phones,
  });
}

/** A token that is dead cannot read its numbers either. */
async function recordRefusal(
  account: AccountRun,
  kinds: readonly ListKind[],
  failure: UpstreamFailure,
): Promise<void> {
  const { options, subject, run, tokens, found } = account;
  fail(account, kinds, failure);
  if (failure.code !== 'META_ACCESS_DENIED') return;
  if (failure.metaCode !== deadToken) {
    found.readsHealth = false;
    return await readPhones(account, 'HEALTH', takeOldest(account, listReadable(account)));
  }
  const phones = (tokens[0]?.numbers ?? []).flatMap(({ id, phoneNumberId }) =>
    phoneNumberId === null ? [] : [{ id, phoneNumberId, result: { failure } }],
  );
  await recordPhones(options.database, { tenantId: subject.tenantId, observedAt: run.at, phones });
}

/** What was never read is the oldest. */
function timeOf(observedAt: Date | null): number {
  return observedAt?.getTime() ?? 0;
}

function takeOldest({ plan }: AccountRun, numbers: readonly SyncNumber[]): readonly SyncNumber[] {
  return numbers
    .toSorted((one, other) => timeOf(one.observedAt) - timeOf(other.observedAt))
    .slice(0, plan.singleReads);
}

async function readPhones(
  account: AccountRun,
  kind: 'REQUEST' | 'HEALTH',
  numbers: readonly SyncNumber[],
): Promise<void> {
  const ids = numbers.slice(0, maxRequested);
  if (ids.length > 0) await readSingly(account, kind, ['phone'], ids.length, ids);
}

/** Further numbers that a request names are read by the next sweep. */
const maxRequested = 100;

async function readProfiles(account: AccountRun): Promise<void> {
  const { options, run } = account;
  const readBefore = run.at.getTime() - options.settings.seconds.PROFILE * 1_000;
  const oldest = listReadable(account)
    .filter(({ profileObservedAt }) => timeOf(profileObservedAt) <= readBefore)
    .toSorted((one, other) => timeOf(one.profileObservedAt) - timeOf(other.profileObservedAt))
    .slice(0, maxProfiles);
  if (oldest.length > 0) await readSingly(account, 'PROFILE', ['profile'], oldest.length, oldest);
}

/** Reads blocks of numbers one by one, as callers do. */
async function readSingly(
  account: AccountRun,
  kind: DueRead['kind'],
  blocks: readonly MetaBlock[],
  calls: number,
  numbers: readonly SyncNumber[] = listReadable(account).slice(0, maxTokens),
): Promise<void> {
  const { options, subject, budget, signal } = account;
  if (!(await budget.reserve(calls))) return fail(account, [kind], overBudget);
  const access = toOperatorAccess(subject.tenantId);
  const requests = numbers.map(({ id }) => ({ id, refresh: blocks, projection: freshnessAlone }));
  const read = await options.numbers.getMany(access, requests, signal);
  const failures = read.flatMap((number) =>
    'freshness' in number ? blocks.map((block) => number.freshness[block]?.error ?? null) : [],
  );
  // Meta counts a call also when its answer comes too late.
  const isAnyLate = failures.some((failure) => failure?.code === 'META_TIMEOUT');
  budget.onCalls(Math.max(isAnyLate ? calls : 0, access.meter.upstreamCalls));
  const reason = failures.find((failure) => failure !== null && concernsAll(failure));
  // One that is read shows that the rest fail for reasons of their own.
  if (reason && !failures.includes(null)) fail(account, [kind], reason);
}

/** Whether the failure of one number says something about the others: other refusals concern its ids or its permissions. */
function concernsAll({ code, metaCode }: UpstreamFailure): boolean {
  return code !== 'META_ACCESS_DENIED' || metaCode === deadToken;
}

const freshnessAlone = {
  details: false,
  apiKeys: false,
  health: 'nothing',
  meta: null,
  freshness: true,
} as const;

function fail(
  { found }: AccountRun,
  kinds: readonly DueRead['kind'][],
  failure: ReadFailure,
): void {
  for (const kind of kinds) found.failures.set(kind, failure);
}
