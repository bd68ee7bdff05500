// Reads many numbers live so that each one is reported when it ends, and one that hangs does not delay the others.

import type { Access } from '../access/access.ts';
import { GatewayError } from '../errors.ts';
import { runConcurrently } from '../fleet/concurrency.ts';
import type { Gateway } from '../gateway.ts';
import type { MetaBlock } from '../numbers/meta.ts';
import type { Freshness, WhatsAppNumber } from '../numbers/number.ts';
import { listAddresses } from '../numbers/number-queries.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';

export interface TenantNumbers {
  readonly tenantId: string;
  readonly ids: readonly string[];
}

export interface FleetRefreshOptions {
  readonly signal: AbortSignal;
  /** Called once for each number. */
  readonly onEnd: (id: string) => void;
}

type Result = WhatsAppNumber | GatewayError;

/** With two blocks each, as many numbers fit into one batch of Graph's 50 operations. */
const maxBatchSize = 25;
/** Up to so many numbers are read one by one. A larger fleet is read in batches, which save requests. */
const maxSingles = 25;
/** As many HTTP requests as the gateway has open for a tenant. */
const maxConcurrentReads = 4;
/** The time limit of one HTTP request to Meta: a batch that takes longer has an operation that hangs. */
const batchTimeoutMs = 3_000;

/**
 * Returns one result for each id, in order: the number, or NUMBER_NOT_FOUND. A number that the gateway refused to read at
 * this moment, or together with others, is tried once more in a request of its own after the others.
 */
export async function refreshFleet(
  gateway: Gateway,
  selected: readonly TenantNumbers[],
  options: FleetRefreshOptions,
): Promise<readonly Result[]> {
  const targets = (await Promise.all(selected.map((it) => listTargets(gateway, it)))).flat();
  const run: Run = { ...options, gateway, numbers: new Map(), accounts: new Map() };
  const size = Math.min(maxBatchSize, Math.ceil(targets.length / maxSingles));
  const byAccount = Map.groupBy(targets, ({ tenantId, wabaId }) => `${tenantId} ${wabaId}`);
  const tasks = byAccount.values().flatMap((ofAccount) => {
    const batches = toChunks(ofAccount, size).map((batch) => () => readBatch(run, batch));
    return ofAccount[0]?.wabaId ? batches.concat(() => readAccount(run, ofAccount)) : batches;
  });
  await runConcurrently([...tasks], maxConcurrentReads);
  const refused = targets.filter((target) => isRefused(target, run.numbers.get(target.id)));
  await readEach(run, refused);
  return targets.map(({ id }) => {
    const number = run.numbers.get(id) ?? toNotFound(id);
    const account = run.accounts.get(id);
    if (number instanceof GatewayError || account === undefined) return number;
    return account instanceof GatewayError ? number : withAccount(number, account);
  });
}

interface Run extends FleetRefreshOptions {
  readonly gateway: Gateway;
  /** After a read of the number and its profile, by id. */
  readonly numbers: Map<string, Result>;
  /** After a read of the account, by the id of the number. */
  readonly accounts: Map<string, Result>;
}

interface Target {
  readonly id: string;
  readonly tenantId: string;
  /** The same for all reads of a tenant, so that an account is read once for all its numbers. */
  readonly access: Access;
  readonly wabaId: string | null;
  /** As stored before the refresh; absent when the number does not exist. */
  readonly before: WhatsAppNumber | undefined;
}

async function listTargets(
  { numbers, database }: Gateway,
  { tenantId, ids }: TenantNumbers,
): Promise<readonly Target[]> {
  const access = toOperatorAccess(tenantId);
  const requests = ids.map((id) => ({ id, refresh: null }));
  const stored = await numbers.getMany(access, requests, AbortSignal.any([]));
  const addresses = await listAddresses(database, tenantId, ids);
  const wabaIds = new Map(addresses.map(({ id, wabaId }) => [id, wabaId]));
  return ids.map((id, index) => {
    const before = stored[index];
    return {
      id,
      tenantId,
      access,
      wabaId: wabaIds.get(id) ?? null,
      before: before instanceof GatewayError ? undefined : before,
    };
  });
}

/** When the batch does not end in time, its numbers are read one by one. */
async function readBatch(run: Run, batch: readonly Target[]): Promise<void> {
  if (batch.length === 1) return await readNumbers(run, batch, run.signal);
  const timeout = AbortSignal.timeout(batchTimeoutMs);
  try {
    await readNumbers(run, batch, AbortSignal.any([run.signal, timeout]));
  } catch (error) {
    if (run.signal.aborted || !timeout.aborted) throw error;
    await readEach(run, batch);
  }
}

async function readEach(run: Run, targets: readonly Target[]): Promise<void> {
  const tasks = targets.map((it) => () => readNumbers(run, [it], run.signal));
  await runConcurrently(tasks, maxConcurrentReads);
}

async function readNumbers(
  run: Run,
  targets: readonly Target[],
  signal: AbortSignal,
): Promise<void> {
  for (const { target, result } of await read(run, targets, numberBlocks, signal)) {
    storeNumber(run, target, result);
  }
}

/** A number that was refused ends with its second read. */
function storeNumber(run: Run, target: Target, result: Result): void {
  const isRetry = run.numbers.has(target.id);
  run.numbers.set(target.id, result);
  if (isRetry || !isRefused(target, result)) run.onEnd(target.id);
}

/** Not together with its numbers, or each of them would wait for it. */
async function readAccount(run: Run, ofAccount: readonly Target[]): Promise<void> {
  const store = (results: readonly TargetResult[]) => {
    for (const { target, result } of results) run.accounts.set(target.id, result);
  };
  const own = await read(run, ofAccount.slice(0, 1), ['waba'], run.signal);
  store(own);
  const failsForAll = own.some(
    ({ result }) =>
      !(result instanceof GatewayError) && result.meta?.waba?.freshness.error?.transient === true,
  );
  // The others find it read. If the first one has no access to it, they try their own credentials.
  if (!failsForAll) store(await read(run, ofAccount.slice(1), ['waba'], run.signal));
}

interface TargetResult {
  readonly target: Target;
  readonly result: Result;
}

const numberBlocks: readonly MetaBlock[] = ['phone', 'profile'];

async function read(
  { gateway }: Run,
  targets: readonly Target[],
  blocks: readonly MetaBlock[],
  signal: AbortSignal,
): Promise<readonly TargetResult[]> {
  const [first] = targets;
  if (first === undefined) return [];
  const requests = targets.map(({ id }) => ({ id, refresh: blocks }));
  const results = await gateway.numbers.getMany(first.access, requests, signal);
  return targets.map((target, index) => ({
    target,
    result: results[index] ?? toNotFound(target.id),
  }));
}

/** Whether a block was not tried, for a reason that may pass: too many reads at once, or too many in one request. */
function isRefused({ before }: Target, result: Result | undefined): boolean {
  if (before === undefined || result === undefined || result instanceof GatewayError) return false;
  const known: Readonly<Record<string, Freshness | null>> = before.freshness;
  return Object.entries(result.freshness).some(([block, freshness]) => {
    if (block === 'waba' || freshness?.error?.transient !== true) return false;
    return freshness.attemptedAt === (known[block]?.attemptedAt ?? null);
  });
}

function withAccount(number: WhatsAppNumber, account: WhatsAppNumber): WhatsAppNumber {
  const waba = account.meta?.waba ?? null;
  const { phone = null, profile = null } = number.meta ?? {};
  const times = [phone, profile, waba].map((snapshot) => snapshot?.freshness.observedAt ?? null);
  const [fetchedAt] = times.filter((time) => time !== null).toSorted();
  return {
    ...number,
    meta: fetchedAt === undefined ? null : { numberId: number.id, fetchedAt, phone, profile, waba },
    freshness: { ...number.freshness, waba: account.freshness.waba ?? null },
  };
}

function toNotFound(id: string): GatewayError {
  return new GatewayError('NUMBER_NOT_FOUND', `Number ${id} was deleted in the meantime.`);
}

function toChunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}
