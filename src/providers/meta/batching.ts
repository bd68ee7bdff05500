// Reads blocks from Graph: groups their operations into batches, and retries those that failed.

import { ExponentialBackoff, fullJitterGenerator, handleWhenResult, retry } from 'cockatiel';
import type { JsonObject } from '../../json.ts';
import { toGraphFields } from '../../numbers/meta.ts';
import type { BlockResult, Credentials, ReadOptions } from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import { type FieldSearch, recordReads, startFieldSearch, toSearchResult } from './field-search.ts';
import type { GraphClient, GraphReply, GraphResult } from './graph.ts';
import { type GraphOperation, maxBatchOperations } from './graph-operation.ts';
import { createRefusedFields, type FieldReader } from './refused-fields.ts';
import { findPauseFailure, maxSpentPercent } from './usage-budget.ts';

/** A block of a node to read. Those with the same credentials object share batches. */
export type BlockQuery = FieldReader;

/**
 * Returns Graph's JSON for each query, in one object for each operation that was needed. Fields that Graph refuses are left
 * out. Rejects only with the reason of the signal.
 */
export type BlockReader = (
  queries: readonly BlockQuery[],
  options: ReadOptions,
) => Promise<ReadonlyMap<BlockQuery, BlockResult<readonly JsonObject[]>>>;

export interface BlockReaderOptions {
  readonly graph: GraphClient;
  readonly telemetry: Pick<Telemetry, 'upstreamRetried'>;
  /** The maximum delay before the first retry; 250 by default. */
  readonly retryDelayMs?: number;
}

export function createBlockReader(options: BlockReaderOptions): BlockReader {
  const client = createRetryingClient(options);
  const refusedFields = createRefusedFields();
  return async (queries, reading) => {
    const searches = queries.map((query) =>
      startFieldSearch(query, refusedFields.listAllowed(query, toGraphFields(query.block))),
    );
    for (;;) {
      const parts = searches.flatMap((search) => search.next.map((fields) => ({ search, fields })));
      if (parts.length === 0) break;
      // oxlint-disable-next-line no-await-in-loop -- the next parts follow from these results
      const results = await sendParts(client, parts, reading);
      // Before any refusal, which means less when another node has the field.
      for (const { search, fields, result } of results) {
        if (result.ok) refusedFields.accept(search.reader, fields);
      }
      for (const [search, reads] of Map.groupBy(results, (read) => read.search)) {
        recordReads(search, reads, refusedFields);
      }
    }
    return new Map(searches.map((search) => [search.reader, toSearchResult(search)]));
  };
}

/** Some fields of a block. */
interface QueryPart {
  readonly search: FieldSearch;
  readonly fields: readonly string[];
}

interface PartResult extends QueryPart {
  readonly result: GraphResult;
}

/** A smaller batch saves little, and waits for the slowest of its operations. */
const minBatchOperations = 4;

async function sendParts(
  client: RetryingClient,
  parts: readonly QueryPart[],
  options: ReadOptions,
): Promise<readonly PartResult[]> {
  const requests = Map.groupBy(parts, ({ search }) => search.reader.credentials)
    .values()
    .flatMap((group) => {
      const isBatch = group.length >= minBatchOperations;
      return toChunks(group, isBatch ? maxBatchOperations : 1);
    })
    .map(async (chunk) => {
      const operations = chunk.map(({ search, fields }) => {
        const { block, id, wabaId } = search.reader;
        return { block, id, wabaId, fields };
      });
      const results = await client(operations, chunk[0]!.search.reader.credentials, options);
      return chunk.map((part, index) => ({ ...part, result: results[index]! }));
    });
  return (await Promise.all(requests)).flat();
}

/** One result for each operation. */
export type RetryingClient = (
  operations: readonly GraphOperation[],
  credentials: Credentials,
  options: ReadOptions,
) => Promise<readonly GraphResult[]>;

export async function readOne(
  client: RetryingClient,
  operation: GraphOperation,
  credentials: Credentials,
  options: ReadOptions,
): Promise<GraphResult> {
  const [result] = await client([operation], credentials, options);
  return result!;
}

/** Indexes of operations that share a request. */
type Chunk = readonly number[];

const maxRetries = 2;
/** With less time left, a retry would hardly be answered. */
const minRetryMs = 250;

/**
 * Retries operations that failed for a reason that may pass, while the deadline and the account's rate limit allow. A batch
 * that brought no response is retried in smaller ones, because one of its operations may be the cause. An operation that
 * cannot be retried keeps its failure.
 */
export function createRetryingClient({
  graph,
  telemetry,
  retryDelayMs = 250,
}: BlockReaderOptions): RetryingClient {
  const maxDelayMs = retryDelayMs * 2 ** (maxRetries - 1);
  return async (operations, credentials, options) => {
    const { signal, deadlineAt, pauses, isBackground = false } = options;
    const isWithinBudget = (index: number) =>
      findPauseFailure(pauses, { ...operations[index]!, credentials }, maxSpentPercent.retry) ===
      null;
    const results: GraphResult[] = [];
    let chunks: readonly Chunk[] = [[...operations.keys()]];
    const sendChunk = async (chunk: Chunk, attempt: number): Promise<readonly Chunk[]> => {
      const sent = chunk.map((index) => operations[index]!);
      const reply = await send(graph, sent, credentials, options);
      if (attempt > 0) telemetry.upstreamRetried('graph', countAttempted(reply));
      chunk.forEach((index, position) => {
        const result = reply.results[position]!;
        if (result.ok || result.attempted) results[index] = result;
        else results[index] ??= result;
      });
      const failed = chunk.filter((_, position) => isRetryable(reply.results[position]!));
      return toRetryChunks(failed.filter(isWithinBudget), reply.broken, attempt);
    };
    // The background makes no more calls than it has counted, and reads again what failed.
    const canRetry = () =>
      !isBackground &&
      chunks.length > 0 &&
      deadlineAt - performance.now() > maxDelayMs + minRetryMs;
    const policy = retry(handleWhenResult(canRetry), {
      maxAttempts: maxRetries,
      backoff: new ExponentialBackoff({
        generator: fullJitterGenerator,
        initialDelay: retryDelayMs,
        maxDelay: maxDelayMs,
      }),
    });
    const attempts = policy.execute(async ({ attempt }) => {
      signal.throwIfAborted();
      chunks = (await Promise.all(chunks.map((chunk) => sendChunk(chunk, attempt)))).flat();
    }, signal);
    await untilAborted(attempts, signal);
    return results;
  };
}

async function send(
  graph: GraphClient,
  operations: readonly GraphOperation[],
  credentials: Credentials,
  options: ReadOptions,
): Promise<GraphReply> {
  const [operation, ...others] = operations;
  return operation !== undefined && others.length === 0
    ? await graph.get(operation, credentials, options)
    : await graph.batch(operations, credentials, options);
}

function countAttempted({ results }: GraphReply): number {
  return results.filter((result) => result.ok || result.attempted).length;
}

/** False for throttled and denied operations: a retry would prolong the one and not change the other. */
function isRetryable(result: GraphResult): boolean {
  if (result.ok || !result.attempted || !result.failure.transient) return false;
  return result.failure.code === 'META_UNAVAILABLE' || result.failure.code === 'META_TIMEOUT';
}

/** A broken batch of 50 becomes batches of 8 in the first retry; the second sends each operation of a broken one alone. */
function toRetryChunks(indexes: Chunk, broken: boolean, attempt: number): readonly Chunk[] {
  if (indexes.length === 0) return [];
  if (!broken) return [indexes];
  return toChunks(indexes, attempt + 1 < maxRetries ? Math.ceil(Math.sqrt(indexes.length)) : 1);
}

function toChunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

/** The delay before a retry does not end when the signal is aborted; the caller's wait for it does. */
async function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
