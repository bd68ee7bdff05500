// Reads what a request asks for of single numbers. What one run has no room for is left for the next one.

import { listNamed, selectRequested, toName } from './requested-numbers.ts';
import { type AccountRun, findRequest } from './run-context.ts';
import { readPhones, readSingly } from './single-reads.ts';
import type { SyncNumber } from './store.ts';

/** One refresh has a deadline. */
const maxRequested = 100;

/** The status and the health of the numbers that a request names; of all numbers, the list of the account has them. */
export async function readRequestedPhones(account: AccountRun): Promise<void> {
  const { run, found } = account;
  const request = findRequest(account);
  if (request === undefined) return;
  const named = selectRequested(run.numbers, request.phones);
  if (named === null) return;
  const [read, rest] = take(account, named);
  const outcome = await readPhones(account, 'REQUEST', read);
  if (outcome !== 'FAILED') found.left = { ...found.left, phones: rest.map(toName) };
}

/** Not after a failure, whose retry would otherwise wait for what comes of these. */
export async function readRequestedProfiles(account: AccountRun): Promise<void> {
  const { run, found } = account;
  if (found.failures.has('REQUEST')) return;
  const [read, rest] = take(account, listNamed(run.numbers, found.left.profiles));
  const outcome = await readSingly(account, ['REQUEST'], ['profile'], read.length, read);
  if (outcome !== 'FAILED') found.left = { ...found.left, profiles: rest.map(toName) };
}

/** As many as the budget of an hour allows at once, and the others. */
function take({ plan }: AccountRun, numbers: readonly SyncNumber[]) {
  const size = Math.min(maxRequested, Math.max(1, plan.budget));
  return [numbers.slice(0, size), numbers.slice(size)] as const;
}
