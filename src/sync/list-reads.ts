// Reads the list of an account's numbers with the first token that Meta accepts.

import { withoutKnown, withPauses } from '../numbers/budgets.ts';
import { deadToken } from '../numbers/provider.ts';
import { isComplete, type ListResult, readList } from './account-list.ts';
import type { AccountRun } from './run-context.ts';
import { listUsable, recordDead } from './token-refusals.ts';
import type { AccountToken } from './tokens.ts';

/** Further ones are tried in no run, because each costs calls. */
export const maxTokens = 3;
const readMs = 60_000;

/** Null when the budget does not allow it. A refusal that is not of a token alone is returned before one that is. */
export async function readFirstList(
  account: AccountRun,
  extent: 'PLAIN' | 'ALL',
): Promise<ListResult | null> {
  const { found, run, budget } = account;
  let refusal: ListResult | null = null;
  let isOfFields = false;
  for (const token of listUsable(account).slice(0, maxTokens)) {
    // oxlint-disable no-await-in-loop -- one token after the other
    if (!(await budget.reserve(run.state.pages))) return null;
    const result = await readListWith(account, token, extent);
    if (result.ok) {
      found.listedWith = token;
      if (extent === 'ALL' && !isComplete(result.list)) found.readsHealth = false;
      return result;
    }
    if (result.failure.code !== 'META_ACCESS_DENIED') return result;
    if (result.failure.metaCode === deadToken) {
      await recordDead(account, token, result.failure);
      refusal ??= result;
    } else {
      isOfFields = true;
      refusal = result;
    }
    // oxlint-enable no-await-in-loop
  }
  if (!isOfFields || extent === 'PLAIN') return refusal;
  // What is refused may be the health alone.
  found.readsHealth = false;
  return await readFirstList(account, 'PLAIN');
}

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
