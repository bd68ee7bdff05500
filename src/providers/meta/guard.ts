// Owns when a request to Meta may leave the process: its turn, its time, and whether anybody is there to answer it.
// What is asked, and what an answer means, is left to graph.ts.

import { isTaskCancelledError } from 'cockatiel';
import { type ReadOptions, toPlainFailure, type UpstreamFailure } from '../../numbers/provider.ts';
import type { Telemetry } from '../../telemetry.ts';
import { createBulkhead, type BulkheadOptions } from '../bulkhead.ts';
import { CircuitOpen, createCircuit, type Circuit, type CircuitOptions } from '../circuit.ts';
import { readHttp, type HttpReading, type ReadHttpOptions } from '../http-read.ts';

export interface GuardOptions extends BulkheadOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly telemetry: Telemetry;
  /** For each HTTP request, its reply included; 3,000 unless told. */
  readonly attemptTimeoutMs?: number;
  /** For which an open circuit stays open; 10,000 unless told. */
  readonly circuitPauseMs?: number;
}

interface Request extends Pick<ReadHttpOptions, 'headers' | 'form'> {
  /** What the request is about; see CircuitOptions. */
  readonly witness: string;
}

type Answer = HttpReading | { readonly outcome: 'unsent'; readonly failure: UpstreamFailure };

/** Rejects only with the reason of the signal. */
export type Guard = (url: URL, request: Request, options: ReadOptions) => Promise<Answer>;

/** Different nodes of one tenant that get no answer before the tenant's own circuit opens. */
const witnessesOfTenant = 8;
/** Different tenants that get no answer before that of the host opens. */
const witnessesOfHost = 5;

export function createGuard(options: GuardOptions): Guard {
  const { fetch, attemptTimeoutMs = 3_000 } = options;
  const enter = createBulkhead(options);
  const throughCircuits = createCircuits(options);
  return async (url, { witness, ...request }, { tenantId, signal, deadlineAt }) => {
    const toRemainingMs = () => Math.floor(deadlineAt - performance.now());
    if (toRemainingMs() < 1) return { outcome: 'unsent', failure: noTurn };
    const late = AbortSignal.timeout(Math.max(1, toRemainingMs()));
    try {
      return await enter(tenantId, AbortSignal.any([signal, late]), () =>
        throughCircuits(tenantId, witness, async () => {
          const timeoutMs = Math.max(1, Math.min(attemptTimeoutMs, toRemainingMs()));
          return await readHttp(url, { fetch, ...request, timeoutMs, signal });
        }),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (isTaskCancelledError(error)) return { outcome: 'unsent', failure: noTurn };
      if (error instanceof CircuitOpen) return { outcome: 'unsent', failure: toDown(error) };
      throw error;
    }
  };
}

type ThroughCircuits = (
  tenantId: string,
  witness: string,
  work: () => Promise<HttpReading>,
) => Promise<HttpReading>;

/**
 * A circuit for the host, which opens when several tenants agree that it is down, and one for each tenant, which opens
 * when several of its nodes do. So a tenant in trouble of its own keeps nobody else from reading.
 */
function createCircuits({ telemetry, circuitPauseMs: pauseMs = 5_000 }: GuardOptions) {
  const ofHost = createCircuit({
    witnesses: witnessesOfHost,
    pauseMs,
    onChange: (state) => telemetry.circuitChanged({ upstream: 'graph', state, tenantId: null }),
  });
  const ofTenants = new Map<string, Circuit>();
  const findTenant = (tenantId: string): Circuit => {
    const known = ofTenants.get(tenantId);
    const onChange: CircuitOptions['onChange'] = (state) =>
      telemetry.circuitChanged({ upstream: 'graph', state, tenantId });
    const circuit = known ?? createCircuit({ witnesses: witnessesOfTenant, pauseMs, onChange });
    ofTenants.delete(tenantId);
    ofTenants.set(tenantId, circuit);
    const oldest = ofTenants.keys().next().value;
    if (ofTenants.size > maximumTenants && oldest !== undefined) ofTenants.delete(oldest);
    return circuit;
  };
  const through: ThroughCircuits = (tenantId, witness, work) =>
    findTenant(tenantId).execute(witness, () => ofHost.execute(tenantId, work));
  return through;
}

/** Those that have not asked for the longest time are forgotten. */
const maximumTenants = 10_000;

const noTurn = toPlainFailure(
  'META_TIMEOUT',
  true,
  'Too many reads were under way, and this one did not come to its turn in time; try again.',
);

function toDown({ retryAt }: CircuitOpen): UpstreamFailure {
  const message = "Meta's Graph API does not answer, so it is not asked for a moment; try again.";
  return toPlainFailure('META_UNAVAILABLE', true, message, retryAt.toISOString());
}
