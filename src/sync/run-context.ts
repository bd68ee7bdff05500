// What the parts of one run of an account share: the options, what is due, and what has been found so far.

import type { SyncSettings } from '../config.ts';
import type { Database } from '../database/database.ts';
import type { AccountReader } from '../fleet/account-reader.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { Vault } from '../secrets.ts';
import type { AccountList } from './account-list.ts';
import type { NewNumbersOptions } from './new-numbers.ts';
import type { AccountPlan } from './plan.ts';
import type { RunBudget } from './run-budget.ts';
import type { ReadFailure, RequestLeft, RunRefusal } from './run-result.ts';
import { selectRequested } from './requested-numbers.ts';
import type { DueRead, Run, Subject, SubjectState } from './store.ts';
import type { AccountToken } from './tokens.ts';

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
    /** The tokens that Meta has called dead in this run. */
    readonly dead: Set<AccountToken>;
    /** What Meta refuses as a whole, if anything. */
    refusal: RunRefusal | null;
    /** Since when the lists lack which numbers; null when no list says so. */
    missing: SubjectState['missing'] | null;
    /** The numbers whose ids Meta did not know when they were read one by one, and when that was. */
    readonly unknownIds: Map<string, Date>;
    hasChanged: boolean;
    /** Whether Meta has said that most of a rate limit is used. */
    isSpent: boolean;
    /** Numbers of the account that the tenant does not have; null when the list was not read. */
    unknownNumbers: number | null;
    /** What a request asks for and was not read yet. */
    left: RequestLeft;
    readonly failures: Map<DueRead['kind'], ReadFailure>;
  };
}

export function fail(
  { found }: Pick<AccountRun, 'found'>,
  kinds: readonly DueRead['kind'][],
  failure: ReadFailure,
): void {
  for (const kind of kinds) found.failures.set(kind, failure);
}

export function findRequest({ run }: Pick<AccountRun, 'run'>): DueRead | undefined {
  return run.due.find(({ kind }) => kind === 'REQUEST');
}

/** Whether a request is for all numbers of the account. */
export function isWhole(account: Pick<AccountRun, 'run'>): boolean {
  const request = findRequest(account);
  return request !== undefined && selectRequested(account.run.numbers, request.phones) === null;
}
