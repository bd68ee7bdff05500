// Reads the connection state of numbers that are not Meta's from the session engine.

import { type JsonObject, parseJsonWithIds, toObject } from '../json.ts';
import {
  type Blocks,
  type ConnectionState,
  connectionStates,
  type Provider,
  type BlockResult,
  type ReadOptions,
  type Target,
  type UpstreamFailure,
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
    const call = {
      upstream: 'session engine',
      operations: 1,
      outcome: read.ok ? 'ok' : read.failure.code,
      status: result.status,
      durationMs: result.durationMs,
      fbtraceId: null,
      usagePercent: null,
    } as const;
    const backgroundSubject = `${reading.tenantId} ${instanceName}`;
    options.telemetry.upstreamCalled(call, reading.isBackground ? backgroundSubject : undefined);
    return read;
  };
}

/** More than for Meta: each number takes a request of its own. */
const defaultLimits = { maxPerProcess: 40, maxPerTenant: 8 } as const;

/**
 * The words of engines for each state, in lower case and with underscores.
 * Evolution API: https://github.com/EvolutionAPI/evolution-api/blob/main/src/api/types/wa.types.ts
 * WAHA: https://waha.devlike.pro/docs/how-to/sessions/#session-status
 * WPPConnect: https://github.com/wppconnect-team/wppconnect-server/blob/main/src/controller/sessionController.ts
 */
const wordsByState: Readonly<Record<ConnectionState, readonly string[]>> = {
  OPEN: ['open', 'connected', 'working'],
  CONNECTING: [
    'connecting',
    'starting',
    'initializing',
    'opening',
    'pairing',
    'qrcode',
    'scan_qr_code',
  ],
  CLOSE: ['close', 'closed', 'disconnected', 'refused', 'stopped', 'failed', 'logged_out'],
};
const statesByWord: ReadonlyMap<string, ConnectionState> = new Map(
  connectionStates.flatMap((state) => wordsByState[state].map((word) => [word, state] as const)),
);

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
  if (status === 401 || status === 403) return toFailed(refusedKey);
  if (status >= 300 && status <= 399) return toFailed(redirected);
  const body = toObject(parseJsonWithIds(text)) ?? {};
  const isSuccess = status >= 200 && status <= 299;
  const read = isSuccess ? toStateRead(body, instanceName) : null;
  if (read !== null) return read;
  if (listErrorTexts(body).some(saysInstanceIsMissing)) {
    return { ok: true, value: { state: 'CLOSE', instanceExists: false } };
  }
  if (status >= 500 || status === 408 || status === 429) {
    return toFailed({ ...outage, retryAt: parseRetryAfter(headers, new Date()) });
  }
  return toFailed(isSuccess ? unusable : unknownPath);
}

/** Null when the body has no state at any of the known places. */
function toStateRead(body: JsonObject, instanceName: string): ConnectionRead | null {
  const found = toObject(body['instance']);
  // CodeChat, from which Evolution API descends, has the state at the top level.
  const instance = found ?? body;
  const name = instance['instanceName'] ?? instanceName;
  // A name of digits may come as a number.
  if ((typeof name === 'number' ? String(name) : name) !== instanceName) return toFailed(unusable);
  const word = instance['state'] ?? null;
  if (word === null) return found === null ? null : toFailed(noState);
  if (typeof word !== 'string') return toFailed(unusable);
  const state = statesByWord.get(toComparable(word));
  if (state !== undefined) return { ok: true, value: { state, instanceExists: true } };
  return toFailed(toUnknownStateFailure(word));
}

function toComparable(word: string): string {
  return word
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_');
}

/** Where Evolution API, CodeChat, WAHA and WPPConnect put the texts of an error. */
function listErrorTexts({ message, error, response }: JsonObject): readonly string[] {
  return [message, error, response, toObject(response)?.['message'], toObject(error)?.['message']]
    .flat()
    .filter((text) => typeof text === 'string');
}

const instanceWords = /instance|inst[âa]ncia|session|sess[ãa]o|sesi[óo]n/;
const missingWords =
  /(does not|doesn't|not) exist|not found|no such|not active|n[ãa]o (foi )?encontrada|no encontrada|n[ãa]o existe|no existe|n[ãa]o est[áa] ativa/;

/** Whether an engine says that it has no such instance, or none that runs. An unknown path proves nothing about instances. */
function saysInstanceIsMissing(text: string): boolean {
  const words = text.toLowerCase().replaceAll('_', ' ');
  const isUnknownPath = /^cannot [a-z]+ \//.test(words);
  return !isUnknownPath && instanceWords.test(words) && missingWords.test(words);
}

const outage = toPlainFailure('UNAVAILABLE', true, 'The session engine returned an error.', {
  solution: 'Try again later.',
});

const refusedKey = toPlainFailure(
  'ENGINE_ACCESS_DENIED',
  false,
  "The session engine refused the gateway's API key.",
  { solution: "Ask the gateway's operator to correct SESSION_ENGINE_KEY." },
);

const redirected = toPlainFailure(
  'ENGINE_INVALID_RESPONSE',
  false,
  "The session engine redirects requests, which the gateway does not follow: they carry the engine's API key.",
  {
    solution: "Ask the gateway's operator to set SESSION_ENGINE_URL to the address of the engine.",
  },
);

const noState = toPlainFailure(
  'ENGINE_INVALID_RESPONSE',
  true,
  'The session engine has the instance and reports no connection state.',
  { solution: 'Restart the instance at the session engine.' },
);

const unusable = toPlainFailure(
  'ENGINE_INVALID_RESPONSE',
  true,
  "The session engine's response is invalid.",
  {
    solution: "If this persists, ask the gateway's operator to check SESSION_ENGINE_URL.",
  },
);

const unknownPath = toPlainFailure(
  'ENGINE_INVALID_RESPONSE',
  false,
  'The session engine refused the request without saying anything about the instance.',
  { solution: "Ask the gateway's operator to check SESSION_ENGINE_URL." },
);

function toUnknownStateFailure(word: string): UpstreamFailure {
  // Anything longer is not a word, and is not repeated.
  if (!/^[\w -]{1,40}$/.test(word)) return unusable;
  const message = `The session engine reports the state "${word}", which the gateway does not know.`;
  return toPlainFailure('ENGINE_INVALID_RESPONSE', true, message, {
    solution: 'Check the instance at the session engine.',
  });
}

const noInstanceName: ConnectionRead = {
  ok: false,
  attempted: false,
  failure: toPlainFailure(
    'UNAVAILABLE',
    false,
    'No valid instance name is stored for this number.',
    { solution: 'Store the name that the session engine uses.' },
  ),
};

function toFailed(failure: UpstreamFailure): ConnectionRead {
  return { ok: false, attempted: true, failure };
}
