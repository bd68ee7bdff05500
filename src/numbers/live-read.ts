// Reads leased subjects upstream, stores what was read, and reports the outcome of each.

import type { RequestMeter } from '../http/request-context.ts';
import type { Database } from '../database/database.ts';
import type { Vault } from '../secrets.ts';
import type { Telemetry } from '../telemetry.ts';
import type { RequestLinks } from '../tracing.ts';
import { withoutKnown } from './budgets.ts';
import { openCredentials } from './credentials.ts';
import { type Lease, type RequestedSubject, type Subject, toSubjectKey } from './lease-store.ts';
import type { MetaPhone } from './meta.ts';
import type { NumberAddress, Outcome } from './number.ts';
import {
  type Block,
  type BlockResult,
  type Blocks,
  type Credentials,
  deadToken,
  type Observation,
  type Provider,
  type ProviderName,
  type Target,
  toPlainFailure,
} from './provider.ts';
import { judgePhone, toConnectionState } from './phone-reasons.ts';
import { type Reading, recordReadings } from './store.ts';

/** A number to read, and which of its blocks. Blocks that its provider does not have are left out. */
export interface RefreshRequest {
  readonly number: NumberAddress;
  readonly blocks: readonly Block[];
}

export interface RefreshOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly providers: Readonly<Record<ProviderName, Provider>>;
  readonly telemetry: Telemetry;
  /** Milliseconds that a whole refresh may take. */
  readonly deadlineMs?: number;
  /** Whether nobody waits for the results; false by default. */
  readonly isBackground?: boolean;
  /** Called after Meta has refused an access token for a number of these accounts, once that is stored. */
  readonly onTokenRefused?: (tenantId: string, wabaIds: readonly string[]) => void;
}

/**
 * By subject key. An account that one number could not read has an entry for that number, see `toNumberKey`, and one for
 * all who joined only if the failure has nothing to do with the credentials.
 */
export type SubjectOutcomes = ReadonlyMap<string, Outcome>;

/** Requests of one tenant to one provider, and the subjects that they come to. */
export interface RefreshGroup {
  readonly tenantId: string;
  readonly receivedAt: number;
  readonly meter: RequestMeter;
  readonly provider: Provider;
  readonly requests: readonly RefreshRequest[];
  readonly subjects: readonly RequestedSubject[];
  /** Of the requests that have joined; null without tracing. */
  readonly links: RequestLinks | null;
}

export interface LeasedRead {
  readonly lease: Lease;
  readonly holder: string;
  readonly signal: AbortSignal;
  readonly deadlineAt: number;
}

export async function readLeased(
  options: RefreshOptions,
  group: RefreshGroup,
  { lease, holder, signal, deadlineAt }: LeasedRead,
): Promise<SubjectOutcomes> {
  const { tenantId, meter } = group;
  const { isBackground = false } = options;
  const granted = new Set(lease.granted.map(toSubjectKey));
  const targets = group.requests
    .map((request) => openTarget(options, tenantId, request, lease, granted))
    .filter((target) => target.blocks.length > 0);
  const pauses = new Map(lease.pauses);
  const record = (readings: readonly Reading[]) =>
    recordReadings(options.database, {
      tenantId,
      holder,
      observedAt: lease.observedAt,
      readings,
      leased: lease.granted,
      credentials: lease.credentials,
      pauses: withoutKnown(pauses, lease.pauses),
      isBackground,
    });
  try {
    const results = listResults(
      targets,
      await group.provider.read(targets, {
        tenantId,
        signal,
        deadlineAt,
        pauses,
        isBackground,
        links: group.links,
        // A request that joins later is not charged for the call.
        onUpstreamCall: (operations) => void (meter.upstreamCalls += operations),
      }),
    );
    const recorded = await record(toReadings(results));
    reportRefusedTokens(options, tenantId, results);
    return toSubjectOutcomes(results, recorded);
  } catch (error) {
    // Aborted, or a defect, or the database is down. Releasing the lease lets other processes read at once. The first error
    // is the one to report.
    await record([]).catch(() => undefined);
    throw error;
  }
}

/** What was read of a block for a number. Numbers that share an account have the same result of it. */
interface TargetResult {
  readonly target: Target;
  readonly block: Block;
  readonly result: BlockResult<Blocks[Block]>;
}

function listResults(
  targets: readonly Target[],
  observations: readonly Observation[],
): readonly TargetResult[] {
  return targets.flatMap((target, index) =>
    target.blocks.flatMap((block) => {
      const result = observations[index]?.reads[block];
      return result === undefined ? [] : [{ target, block, result }];
    }),
  );
}

function reportRefusedTokens(
  { onTokenRefused }: RefreshOptions,
  tenantId: string,
  results: readonly TargetResult[],
): void {
  const wabaIds = results.flatMap(({ target: { wabaId }, result }) =>
    !result.ok && result.failure.metaCode === deadToken && wabaId !== null ? [wabaId] : [],
  );
  if (wabaIds.length > 0) onTokenRefused?.(tenantId, [...new Set(wabaIds)]);
}

/** One reading for each subject. A failed read of an account is stored once for each of its numbers. */
function toReadings(results: readonly TargetResult[]): readonly Reading[] {
  const readings = results
    .filter(({ result }) => result.ok || result.attempted || !result.failure.transient)
    .map(({ target, block, result }): Reading => {
      const { numberId } = target;
      const address = addressOf(block, target);
      if (!result.ok) {
        const { attempted, failure } = result;
        return { block, id: numberId, address, data: null, failure, attempted, state: null };
      }
      return toGoodReading(
        { block, id: subjectIdOf(block, numberId, target.wabaId) },
        address,
        result.value,
      );
    });
  return [...new Map(readings.map((reading) => [toSubjectKey(reading), reading])).values()];
}

/** `address`: the id that was read upstream. */
export function toGoodReading(
  { block, id }: Subject,
  address: string | null,
  value: Blocks[Block],
): Reading {
  return {
    block,
    address,
    id,
    data: value,
    failure: null,
    state: toState(block, value),
    verdicts: block === 'phone' ? judgePhone(value as MetaPhone) : null,
  };
}

function toSubjectOutcomes(
  results: readonly TargetResult[],
  recorded: ReadonlySet<string>,
): SubjectOutcomes {
  const outcomes = new Map<string, Outcome>();
  for (const { target, block, result } of results) {
    const { numberId, wabaId } = target;
    const subject = { block, id: subjectIdOf(block, numberId, wabaId) };
    const key = toSubjectKey(subject);
    const readingKey = result.ok ? key : toSubjectKey({ block, id: numberId });
    const attempted = recorded.has(readingKey) ? 'ATTEMPTED' : changed;
    const outcome = result.ok || result.attempted ? attempted : result.failure;
    if (block !== 'waba' || result.ok) {
      outcomes.set(key, outcome);
      continue;
    }
    outcomes.set(toNumberKey(subject, numberId), outcome);
    // A failure that has nothing to do with credentials holds for all who joined the read.
    if (result.failure.code !== 'META_ACCESS_DENIED') outcomes.set(key, result.failure);
  }
  return outcomes;
}

const changed = toPlainFailure(
  'UNAVAILABLE',
  true,
  'The number was changed or deleted while it was read, so nothing was stored.',
  { solution: 'Retry.' },
);

function addressOf(block: Block, target: Target): string | null {
  if (block === 'connection') return target.instanceName;
  return block === 'waba' ? target.wabaId : target.phoneNumberId;
}

function toState(block: Block, value: Blocks[Block]): Reading['state'] {
  if (block === 'connection') return (value as Blocks['connection']).state;
  return block === 'phone' ? toConnectionState(value as MetaPhone) : null;
}

/** Decrypts the credentials. Those that cannot be decrypted are logged. */
function openTarget(
  { vault, telemetry }: RefreshOptions,
  tenantId: string,
  { number, blocks }: RefreshRequest,
  lease: Lease,
  granted: ReadonlySet<string>,
): Target {
  const stored = lease.credentials.get(number.id);
  let credentials: Credentials | null = null;
  if (stored !== undefined) {
    try {
      credentials = openCredentials(vault, stored, tenantId, number.id);
    } catch (error) {
      const cause = String(error);
      telemetry.warn('credentials cannot be opened', { numberId: number.id, cause });
    }
  }
  return {
    numberId: number.id,
    phoneNumberId: number.phoneNumberId,
    wabaId: number.wabaId,
    instanceName: number.instanceName,
    credentials,
    areCredentialsUnreadable: stored !== undefined && credentials === null,
    blocks: blocks.filter((block) =>
      granted.has(toSubjectKey({ block, id: subjectIdOf(block, number.id, number.wabaId) })),
    ),
  };
}

export function subjectIdOf(block: Block, numberId: string, wabaId: string | null): string {
  return block === 'waba' && wabaId !== null ? wabaId : numberId;
}

/** The key of an outcome that holds for one of the numbers which share the subject. */
export function toNumberKey(subject: Subject, numberId: string): string {
  return `${toSubjectKey(subject)} ${numberId}`;
}
