// Finds the accounts that a token can see, in each way that Meta has, and reads their numbers.

import {
  type Credentials,
  type Pause,
  type ReadOptions,
  toFailureText,
  type UpstreamFailure,
} from '../numbers/provider.ts';
import type {
  AccountReader,
  AccountSource,
  Found,
  FoundAccount,
  FoundNumber,
  TokenFacts,
} from './account-reader.ts';
import { runConcurrently } from './concurrency.ts';

export interface DiscoveryRequest {
  readonly tenantId: string;
  readonly credentials: Credentials;
  /** Accounts and portfolios to look at in addition to those that the token shows. */
  readonly wabaIds: readonly string[];
  readonly businessIds: readonly string[];
  /** Whether only `wabaIds` are looked at. */
  readonly onlyGiven?: boolean;
}

export interface DiscoveryOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: DiscoveryProgress) => void;
}

export interface DiscoveryProgress {
  /** How many accounts have been read, and of how many. */
  readonly accounts: number;
  readonly total: number;
  readonly numbers: number;
}

/**
 * ids: those that were given. token: what Meta says about the token. portfolios: the accounts of the portfolios that the
 * token can see or that were given. assigned: those that are assigned to a system user.
 */
export type Way = 'ids' | 'token' | 'portfolios' | 'assigned';

/** What one of the ways has found. */
export interface WayResult {
  readonly way: Way;
  readonly accounts: number;
  /** Why it found nothing, or not everything. */
  readonly problems: readonly Problem[];
}

export interface Problem {
  /** NOT_INSPECTED: Meta does not say anything about the token. TOO_MANY: not all was read. */
  readonly code: UpstreamFailure['code'] | 'NOT_INSPECTED' | 'TOO_MANY';
  /** What happened and what to do. */
  readonly message: string;
}

export interface FoundAccounts {
  /** Null when Meta does not inspect the token. */
  readonly token: TokenFacts | null;
  readonly ways: readonly WayResult[];
  readonly accounts: readonly FoundAccount[];
  /** Accounts beyond the limit, which are not read. */
  readonly leftOut: number;
}

export const maxAccounts = 200;
export const maxNumbers = 10_000;
/** As many requests as the gateway has open for a tenant. */
const maxConcurrentReads = 4;
/** For one account with all its pages. */
const deadlineMs = 300_000;

export interface Discoverer {
  findAccounts(request: DiscoveryRequest, options: DiscoveryOptions): Promise<FoundAccounts>;
  /**
   * Calls `onPage` with each page of numbers, and waits for it before it reads the next one; and `onEnd` with why an account
   * could not be read to its end, or with null.
   */
  readNumbers(
    request: DiscoveryRequest,
    accounts: readonly FoundAccount[],
    options: DiscoveryOptions & NumberListener,
  ): Promise<void>;
}

export interface NumberListener {
  onPage(account: FoundAccount, numbers: readonly FoundNumber[]): Promise<void>;
  onEnd(account: FoundAccount, problem: Problem | null): void;
}

/** `pauses` are those of the tenant; see budgets.ts. */
export function createDiscoverer(reader: AccountReader, pauses: Map<string, Pause>): Discoverer {
  return {
    async findAccounts(request, options) {
      const run = createRun(reader, pauses, request, options);
      const given = { way: 'ids', accounts: request.wabaIds.length, problems: [] } as const;
      for (const id of request.wabaIds) run.found.set(id, { id, name: null, portfolio: null });
      const token = await reader.inspectToken(request.credentials, run.options());
      const facts = token.ok ? token.value : null;
      if (request.onlyGiven === true) return await readNames(run, facts, [given]);
      const ways = [
        given,
        findInToken(run, token),
        await findInPortfolios(run, facts?.businessIds ?? []),
        await findAssigned(run),
      ];
      return await readNames(run, facts, ways);
    },
    async readNumbers(request, accounts, options) {
      const run = createRun(reader, pauses, request, options);
      let read = 0;
      let numbers = 0;
      const report = () =>
        options.onProgress?.({ accounts: read, total: accounts.length, numbers });
      report();
      const tasks = accounts.map((account) => async () => {
        let problem: Problem | null = null;
        for await (const page of reader.listNumbers(
          account.id,
          request.credentials,
          run.options(),
        )) {
          if (!page.ok) problem = toProblem(page.failure);
          else if (numbers + page.value.length > maxNumbers) problem = tooMany;
          else {
            // Before the page is stored: other accounts are read in the meantime.
            numbers += page.value.length;
            await options.onPage(account, page.value);
            report();
          }
          if (problem !== null) break;
        }
        options.onEnd(account, problem);
        read += 1;
        report();
      });
      await runConcurrently(tasks, maxConcurrentReads);
    },
  };
}

const tooMany: Problem = {
  code: 'TOO_MANY',
  message: `The token sees more than ${maxNumbers} numbers, and no more are read at a time. Select accounts with --waba.`,
};

interface Run {
  readonly reader: AccountReader;
  readonly request: DiscoveryRequest;
  /** By id. */
  readonly found: Map<string, FoundAccount>;
  /** For one read, with a deadline of its own. */
  options(): ReadOptions;
}

function createRun(
  reader: AccountReader,
  pauses: Map<string, Pause>,
  request: DiscoveryRequest,
  { signal }: DiscoveryOptions,
): Run {
  const { tenantId } = request;
  return {
    reader,
    request,
    found: new Map(),
    options: () => ({
      tenantId,
      signal,
      pauses,
      onUpstreamCall: () => undefined,
      deadlineAt: performance.now() + deadlineMs,
    }),
  };
}

function findInToken({ found }: Run, token: Found<TokenFacts>): WayResult {
  if (!token.ok) {
    return { way: 'token', accounts: 0, problems: [toInspectionProblem(token.failure)] };
  }
  const { wabaIds } = token.value;
  for (const id of wabaIds) {
    if (!found.has(id)) found.set(id, { id, name: null, portfolio: null });
  }
  return { way: 'token', accounts: wabaIds.length, problems: [] };
}

async function findInPortfolios(run: Run, hints: readonly string[]): Promise<WayResult> {
  const { reader, request } = run;
  const businessIds = new Set([...request.businessIds, ...hints]);
  const problems: Problem[] = [];
  for await (const page of reader.listBusinesses(request.credentials, run.options())) {
    if (page.ok) for (const { id } of page.value) businessIds.add(id);
    else problems.push(toProblem(page.failure));
  }
  const ids = new Set<string>();
  const sources = [...businessIds].flatMap((businessId): readonly AccountSource[] => [
    { kind: 'owned', businessId },
    { kind: 'client', businessId },
  ]);
  const tasks = sources.map((source) => async () => {
    for (const id of await listAccounts(run, source, problems)) ids.add(id);
  });
  await runConcurrently(tasks, maxConcurrentReads);
  return { way: 'portfolios', accounts: ids.size, problems };
}

async function findAssigned(run: Run): Promise<WayResult> {
  const problems: Problem[] = [];
  const ids = await listAccounts(run, { kind: 'assigned' }, problems);
  return { way: 'assigned', accounts: ids.length, problems };
}

async function listAccounts(
  { reader, request, found, options }: Run,
  source: AccountSource,
  problems: Problem[],
): Promise<readonly string[]> {
  const ids: string[] = [];
  for await (const page of reader.listAccounts(source, request.credentials, options())) {
    if (!page.ok) {
      const { code, message } = toProblem(page.failure);
      const where = source.kind === 'assigned' ? '' : `Portfolio ${source.businessId}: `;
      problems.push({ code, message: `${where}${message}` });
      break;
    }
    for (const account of page.value) {
      ids.push(account.id);
      found.set(account.id, account);
    }
  }
  return ids;
}

/** Adds the names of the accounts of which only the id is known. A name that cannot be read stays unknown. */
async function readNames(
  { reader, request, found, options }: Run,
  token: TokenFacts | null,
  ways: readonly WayResult[],
): Promise<FoundAccounts> {
  const accounts = [...found.values()].slice(0, maxAccounts);
  const named = new Map(accounts.map((account) => [account.id, account]));
  const tasks = accounts
    .filter(({ name }) => name === null)
    .map(({ id }) => async () => {
      const read = await reader.readAccount(id, request.credentials, options());
      if (read.ok) named.set(id, read.value);
    });
  await runConcurrently(tasks, maxConcurrentReads);
  return { token, ways, accounts: [...named.values()], leftOut: found.size - accounts.length };
}

export function toProblem(failure: UpstreamFailure): Problem {
  return { code: failure.code, message: toFailureText(failure) };
}

/** Why Meta did not inspect a token. Of one with the code 100 it says nothing, and so neither that it is wrong. */
export function toInspectionProblem(failure: UpstreamFailure): Problem {
  return failure.metaCode === 100 ? notInspected : toProblem(failure);
}

const notInspected: Problem = {
  code: 'NOT_INSPECTED',
  message:
    'Meta says nothing about this token, because it inspects tokens of its own app only. Its Access Token Debugger shows what the token can see and when it expires.',
};
