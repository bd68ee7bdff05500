// Owns the second and the third try: what is asked of Graph again, in which pieces, and when it is given up.
// What a failure means, and that it may pass, is left to graph-error.ts.

import { ExponentialBackoff, fullJitterGenerator, handleWhenResult, retry } from 'cockatiel';
import type { Credentials, ReadOptions } from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import type { GraphClient, GraphReply } from './graph.ts';
import type { GraphOperation, GraphResult } from './operation.ts';
import { budgetFor, findPause } from './usage-budget.ts';

export interface RetryingClientOptions {
  readonly telemetry: Pick<Telemetry, 'upstreamRetried'>;
  readonly retryDelayMs?: number;
}

/** Positions of operations that are asked in one request. */
type Piece = readonly number[];

const maxRetries = 2;
/** A retry that has less than this left could hardly be answered. */
const smallestRetryMs = 250;

/**
 * The same client, which asks again for what has failed and may work now, and for nothing else, while the deadline and
 * the budget of the account allow.
 * The pieces of a batch that brought no reply at all are small ones: one operation that Meta cannot answer must not take
 * the others with it. What could not be sent again keeps its earlier failure.
 */
export function createRetryingClient(
  graph: GraphClient,
  { telemetry, retryDelayMs = 250 }: RetryingClientOptions,
): GraphClient {
  const ask = async (
    operations: readonly GraphOperation[],
    credentials: Credentials,
    options: ReadOptions,
  ): Promise<GraphReply> => {
    const { signal, deadlineAt, pauses } = options;
    const isAffordable = (position: number) =>
      findPause(pauses, operations[position]!, budgetFor.retry) === null;
    const results: GraphResult[] = [];
    let pieces: readonly Piece[] = [[...operations.keys()]];
    let last: GraphReply | undefined;
    const mayGoOn = () =>
      pieces.length > 0 &&
      deadlineAt - performance.now() > toLongestDelayMs(retryDelayMs) + smallestRetryMs;
    const tries = createPolicy(retryDelayMs, mayGoOn).execute(async ({ attempt }) => {
      signal.throwIfAborted();
      const asked = pieces.map(async (piece): Promise<readonly Piece[]> => {
        const reply = await send(
          graph,
          piece.map((position) => operations[position]!),
          credentials,
          options,
        );
        last = reply;
        if (attempt > 0) telemetry.upstreamRetried('graph', countSent(reply));
        piece.forEach((position, index) => {
          const result = reply.results[index]!;
          if (result.ok || result.attempted) results[position] = result;
          else results[position] ??= result;
        });
        const failed = piece.filter((_, index) => isWorthRetrying(reply.results[index]!));
        return toPieces(failed.filter(isAffordable), reply.broken, attempt);
      });
      pieces = (await Promise.all(asked)).flat();
    }, signal);
    await untilAborted(tries, signal);
    return { ...last!, results };
  };
  return {
    get: (operation, ...rest) => ask([operation], ...rest),
    batch: ask,
  };
}

function createPolicy(retryDelayMs: number, mayGoOn: () => boolean) {
  return retry(handleWhenResult(mayGoOn), {
    maxAttempts: maxRetries,
    backoff: new ExponentialBackoff({
      generator: fullJitterGenerator,
      initialDelay: retryDelayMs,
      maxDelay: toLongestDelayMs(retryDelayMs),
    }),
  });
}

function toLongestDelayMs(retryDelayMs: number): number {
  return retryDelayMs * 2 ** (maxRetries - 1);
}

function countSent({ results }: GraphReply): number {
  return results.filter((result) => result.ok || result.attempted).length;
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

/** A throttled or denied operation is not asked again: the one would raise the bill, the other end the same. */
function isWorthRetrying(result: GraphResult): boolean {
  if (result.ok || !result.attempted || !result.failure.transient) return false;
  return result.failure.code === 'META_UNAVAILABLE' || result.failure.code === 'META_TIMEOUT';
}

/** Of fifty the first retry makes seven pieces, the second one asks for each operation of a bad piece alone. */
function toPieces(positions: Piece, broken: boolean, attempt: number): readonly Piece[] {
  if (positions.length === 0) return [];
  if (!broken) return [positions];
  const size = attempt + 1 < maxRetries ? Math.ceil(Math.sqrt(positions.length)) : 1;
  return Array.from({ length: Math.ceil(positions.length / size) }, (_, index) =>
    positions.slice(index * size, (index + 1) * size),
  );
}

/** A rest before a retry does not end with the signal; whoever waits for it does. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = () => reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
