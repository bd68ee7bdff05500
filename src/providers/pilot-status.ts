// Reads the connection state of numbers that are not Meta's from the session engine.

import { parseJson, toObject } from '../json.ts';
import {
  type Blocks,
  type ConnectionState,
  type Provider,
  type BlockResult,
  type ReadOptions,
  type Target,
  toPlainFailure,
} from '../numbers/provider.ts';
import {
  createLimitedFetch,
  type LimitedFetchOptions,
  type LimitedResult,
  parseRetryAfter,
} from './limited-fetch.ts';

export interface PilotStatusProviderOptions extends LimitedFetchOptions {
  /** The URL may have a path, which is kept. Without an engine nothing is read: the stored state is the answer. */
  readonly sessionEngine: { readonly url: URL; readonly key: string } | null;
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
      const observations = targets.map(async (target) => {
        const isRead = readConnection !== null && target.blocks.includes('connection');
        const reads = isRead ? { connection: await readConnection(target, reading) } : {};
        return { numberId: target.numberId, reads };
      });
      return await Promise.all(observations);
    },
  };
}

type ConnectionRead = BlockResult<Blocks['connection']>;

const template = '/instance/connectionState/{instance}';

type SessionEngine = NonNullable<PilotStatusProviderOptions['sessionEngine']>;

function createConnectionReader(
  { url: base, key }: SessionEngine,
  options: PilotStatusProviderOptions,
): (target: Target, options: ReadOptions) => Promise<ConnectionRead> {
  const limitedFetch = createLimitedFetch('session engine', { ...defaultLimits, ...options });
  const headers = { accept: 'application/json', apikey: key };
  return async ({ instanceName }, reading) => {
    if (instanceName === null || !isPathSegment(instanceName)) return noInstanceName;
    const url = toConnectionStateUrl(base, instanceName);
    const request = { headers, template, subject: instanceName };
    const result = await limitedFetch(url, request, reading);
    const read = toConnectionRead(result, instanceName);
    if (!read.ok && !read.attempted) return read;
    reading.onUpstreamCall(1);
    options.telemetry.upstreamCalled({
      upstream: 'session engine',
      operations: 1,
      outcome: read.ok ? 'ok' : read.failure.code,
      status: result.status,
      durationMs: result.durationMs,
      fbtraceId: null,
      usagePercent: null,
    });
    return read;
  };
}

/** More than for Meta: each number takes a request of its own. */
const defaultLimits = { maxPerProcess: 40, maxPerTenant: 8 } as const;

/** By the names that the engine uses. */
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

// URL removes a segment of dots, even encoded ones; encodeURIComponent throws for a lone surrogate.
function isPathSegment(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.isWellFormed();
}

function toConnectionRead(result: LimitedResult, instanceName: string): ConnectionRead {
  if (result.outcome === 'failed') {
    return { ok: false, attempted: result.attempted, failure: result.failure };
  }
  const { status, headers, text } = result;
  if (status === 401 || status === 403) {
    return toFailed(
      "The session engine rejected the gateway's key; ask the gateway's operator to correct it.",
      false,
    );
  }
  if (status === 404) {
    return toFailed(
      'The session engine has no instance with this name; reconnect the number, or correct the name.',
      false,
    );
  }
  if (status < 200 || status > 299) {
    const message = 'The session engine returned an error; try again later.';
    return toFailed(message, true, parseRetryAfter(headers, new Date()));
  }
  const instance = toObject(toObject(parseJson(text))?.['instance']);
  const state = states.get(instance?.['state']);
  const isRequested = (instance?.['instanceName'] ?? instanceName) === instanceName;
  if (state !== undefined && isRequested) return { ok: true, value: { state } };
  return toFailed('The session engine returned an invalid response; try again later.', true);
}

const noInstanceName: ConnectionRead = {
  ok: false,
  attempted: false,
  failure: toPlainFailure(
    'UNAVAILABLE',
    false,
    'No valid instance name is stored for this number; store the name that the session engine uses.',
  ),
};

function toFailed(
  message: string,
  transient: boolean,
  retryAt: string | null = null,
): ConnectionRead {
  const failure = toPlainFailure('UNAVAILABLE', transient, message, { retryAt });
  return { ok: false, attempted: true, failure };
}
