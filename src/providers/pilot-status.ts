// Owns the reading of connection states from the session engine, for the numbers that are not Meta's.
// Without an engine there is nothing to read: the stored state is then the answer.

import { parseJson, toObject } from '../json.ts';
import {
  type Blocks,
  type ConnectionState,
  type Provider,
  type Read,
  type ReadOptions,
  type Target,
  toPlainFailure,
  type UpstreamFailure,
} from '../numbers/provider.ts';
import type { Telemetry } from '../telemetry.ts';
import { CircuitOpen, createCircuitBreakers } from './circuit-breaker.ts';
import { mapConcurrently } from './concurrency.ts';
import { readHttp, toRetryAt, type HttpReading } from './http-read.ts';

export interface PilotStatusProviderOptions {
  /** The URL may have a path, which is kept. */
  readonly sessionEngine: { readonly url: URL; readonly key: string } | null;
  readonly fetch: typeof globalThis.fetch;
  readonly telemetry: Telemetry;
  /** For each HTTP request, its reply included; 3,000 unless told. */
  readonly attemptTimeoutMs?: number;
  /** For which an open circuit stays open; 5,000 unless told. */
  readonly circuitPauseMs?: number;
}

/** Reads the numbers whose provider is PILOT_STATUS, one request for each. */
export function createPilotStatusProvider(options: PilotStatusProviderOptions): Provider {
  const { sessionEngine } = options;
  const readConnection =
    sessionEngine === null ? null : createConnectionReader(sessionEngine, options);
  return {
    blocks: readConnection === null ? [] : ['connection'],
    async read(targets, reading) {
      reading.signal.throwIfAborted();
      return mapConcurrently(targets, maxRequestsUnderWay, async (target) => {
        const { numberId, blocks } = target;
        const isAsked = readConnection !== null && blocks.includes('connection');
        const reads = isAsked ? { connection: await readConnection(target, reading) } : {};
        return { numberId, reads };
      });
    },
  };
}

type ConnectionRead = Read<Blocks['connection']>;

type SessionEngine = NonNullable<PilotStatusProviderOptions['sessionEngine']>;

function createConnectionReader(
  { url: base, key }: SessionEngine,
  {
    fetch,
    telemetry,
    attemptTimeoutMs: timeoutMs = 3_000,
    circuitPauseMs,
  }: PilotStatusProviderOptions,
): (target: Target, options: ReadOptions) => Promise<ConnectionRead> {
  const throughCircuits = createCircuitBreakers({
    upstream: 'session engine',
    telemetry,
    pauseMs: circuitPauseMs,
  });
  const headers = { accept: 'application/json', apikey: key };
  return async ({ instanceName }, { tenantId, signal, deadlineAt, onUpstreamCall }) => {
    if (instanceName === null || !isPathSegment(instanceName)) return toUnsent(noInstance);
    if (deadlineAt - performance.now() < 1) return toUnsent(noTime);
    const url = toConnectionStateUrl(base, instanceName);
    try {
      const reading = await throughCircuits(tenantId, instanceName, () =>
        readHttp(url, { fetch, headers, timeoutMs, deadlineAt, signal }),
      );
      const read = toConnectionRead(reading, instanceName);
      onUpstreamCall(1);
      report(telemetry, reading, read);
      return read;
    } catch (error) {
      if (error instanceof CircuitOpen) return toUnsent(toDown(error));
      throw error;
    }
  };
}

const maxRequestsUnderWay = 8;

/** The engine's words. */
const states: ReadonlyMap<unknown, ConnectionState> = new Map([
  ['open', 'OPEN'],
  ['connecting', 'CONNECTING'],
  ['close', 'CLOSE'],
]);

function toConnectionStateUrl(base: URL, instanceName: string): URL {
  const path = base.pathname.replace(/\/+$/, '');
  const name = encodeURIComponent(instanceName);
  return new URL(`${base.origin}${path}/instance/connectionState/${name}`);
}

// A URL swallows dots that stand alone, even encoded ones, and a lone surrogate cannot be encoded.
function isPathSegment(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.isWellFormed();
}

function toConnectionRead(reading: HttpReading, instanceName: string): ConnectionRead {
  if (reading.outcome !== 'answered') return toFailed(troubles[reading.outcome], true);
  const { status, headers } = reading;
  const retryAt = toRetryAt(headers, new Date());
  if (status === 401 || status === 403) {
    return toFailed(
      "The session engine refuses the gateway's key; its operator has to correct it.",
    );
  }
  if (status === 404) {
    return toFailed(
      'The session engine knows no instance of this name; connect the number again, or correct the name.',
    );
  }
  if (status < 200 || status > 299) {
    return toFailed('The session engine has trouble; try again later.', true, retryAt);
  }
  const instance = toObject(toObject(parseJson(reading.text))?.['instance']);
  const state = states.get(instance?.['state']);
  const isAsked = (instance?.['instanceName'] ?? instanceName) === instanceName;
  if (state !== undefined && isAsked) return { ok: true, value: { state } };
  return toFailed('The session engine answered with something unusable; try again later.', true);
}

const late = 'The session engine did not answer in time; try again later.';

const troubles = {
  timeout: late,
  'cut short': late,
  unreachable: 'The session engine could not be reached, or broke off its answer; try again later.',
  'too large': 'The session engine answered with more than the gateway reads; try again later.',
} as const satisfies Record<Exclude<HttpReading['outcome'], 'answered'>, string>;

const noTime = toPlainFailure('UNAVAILABLE', true, late);

const noInstance = toPlainFailure(
  'UNAVAILABLE',
  false,
  'No usable instance name is stored for this number; store the one that the session engine has.',
);

function toDown({ retryAt }: CircuitOpen): UpstreamFailure {
  const message = 'The session engine does not answer, so it is not asked for a moment; try again.';
  return toPlainFailure('UNAVAILABLE', true, message, retryAt.toISOString());
}

function toUnsent(failure: UpstreamFailure): ConnectionRead {
  return { ok: false, attempted: false, failure };
}

function toFailed(
  message: string,
  transient = false,
  retryAt: string | null = null,
): ConnectionRead {
  const failure = toPlainFailure('UNAVAILABLE', transient, message, retryAt);
  return { ok: false, attempted: true, failure };
}

function report(
  telemetry: Telemetry,
  { status, durationMs }: HttpReading,
  read: ConnectionRead,
): void {
  telemetry.upstreamCalled({
    upstream: 'session engine',
    operations: 1,
    outcome: read.ok ? 'ok' : read.failure.code,
    status,
    durationMs,
    fbtraceId: null,
    usagePercent: null,
  });
}
