// Which access tokens of an account Meta refuses, and which numbers can be read with the others.

import { recordPhones } from '../numbers/listed-phones.ts';
import { deadToken, isRefusedByMeta, type UpstreamFailure } from '../numbers/provider.ts';
import { type AccountRun, isWhole } from './run-context.ts';
import { refusedMs } from './run-result.ts';
import type { SyncNumber } from './store.ts';
import type { AccountToken } from './tokens.ts';

/** The tokens to read the account with. Those that are dead are among them only when there is no other. */
export function listUsable(account: AccountRun): readonly AccountToken[] {
  const { tokens, found } = account;
  const alive = tokens.filter((token) => !isDead(account, token));
  const usable = alive.length > 0 ? alive : tokens.filter((token) => !found.dead.has(token));
  return usable.toSorted(
    (one, other) => Number(other === found.listedWith) - Number(one === found.listedWith),
  );
}

/** Whether Meta has called the token dead, in this run or within the last six hours. */
function isDead(account: AccountRun, token: AccountToken): boolean {
  return account.found.dead.has(token) || (isWhollyDead(token) && token.numbers.every(isLate));

  function isLate(number: SyncNumber): boolean {
    return number.phoneNumberId === null || isRefusedLately(account, number);
  }
}

export function areAllDead(account: AccountRun): boolean {
  return account.tokens.every((token) => isDead(account, token));
}

function isWhollyDead({ numbers }: AccountToken): boolean {
  const readable = numbers.filter(({ phoneNumberId }) => phoneNumberId !== null);
  return readable.length > 0 && readable.every(({ metaCode }) => metaCode === deadToken);
}

/** Not a number that the account lacked: the list ends that. */
function isRefused({ failure }: SyncNumber): boolean {
  return failure === 'META_ACCESS_DENIED';
}

/**
 * Whether Meta has refused to read the number within the last six hours, with the token that is stored. Not when the account
 * is asked for as a whole: something has changed then.
 */
export function isRefusedLately(account: AccountRun, number: SyncNumber): boolean {
  if (isWhole(account)) return false;
  const { run } = account;
  const since = Math.max(run.at.getTime() - refusedMs, run.tokenStoredAt?.getTime() ?? 0);
  return (
    isRefusedByMeta(number.failure) &&
    number.attemptedAt !== null &&
    number.attemptedAt.getTime() > since
  );
}

/**
 * Numbers that the list says something of. It is no evidence for those whose own token Meta refuses, unless that token has
 * read it.
 */
export function listReadable(account: AccountRun): readonly SyncNumber[] {
  const { tokens, found } = account;
  return tokens.flatMap((token) => {
    if (token === found.listedWith) return token.numbers;
    return isDead(account, token) ? [] : token.numbers.filter((number) => !isRefused(number));
  });
}

/** Numbers that can be read by their own ids, those that were refused six hours ago among them. */
export function listSingle(account: AccountRun): readonly SyncNumber[] {
  return account.tokens
    .filter((token) => !isDead(account, token))
    .flatMap(({ numbers }) => numbers)
    .filter((number) => !isRefusedLately(account, number));
}

/**
 * Numbers to read because the list is no evidence for them: one of each token that may be dead, and those that were
 * refused for another reason six hours ago.
 */
export function listDoubtful(account: AccountRun): readonly SyncNumber[] {
  const others = account.tokens.filter(
    (token) => token !== account.found.listedWith && !isDead(account, token),
  );
  const ofDead = others.flatMap(({ numbers }) =>
    numbers.filter(({ metaCode }) => metaCode === deadToken).slice(0, 1),
  );
  const ofOthers = others
    .flatMap(({ numbers }) => numbers)
    .filter(
      (number) =>
        isRefused(number) && number.metaCode !== deadToken && !isRefusedLately(account, number),
    );
  return ofDead.concat(ofOthers);
}

/** A dead token cannot read any of its numbers. */
export async function recordDead(
  { options, subject, run, found }: AccountRun,
  token: AccountToken,
  failure: UpstreamFailure,
): Promise<void> {
  found.dead.add(token);
  const phones = token.numbers.flatMap(({ id, phoneNumberId }) =>
    phoneNumberId === null ? [] : [{ id, phoneNumberId, result: { failure } }],
  );
  await recordPhones(options.database, { tenantId: subject.tenantId, observedAt: run.at, phones });
}
