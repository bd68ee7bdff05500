// Sends one request to an endpoint of a tenant: to allowed addresses only, without following redirects or using a proxy, and
// within limits of time and size.

import { lookup as resolveName } from 'node:dns';
import {
  Agent as HttpAgent,
  type ClientRequest,
  type IncomingMessage,
  request as requestHttp,
} from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { type Targets, toHost } from './endpoint-url.ts';

export interface OutgoingMessage {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Why there is no response. */
const sendFailures = [
  'ADDRESS_REFUSED',
  'NAME_UNKNOWN',
  'CERTIFICATE_INVALID',
  'CONNECTION_FAILED',
  'RESPONSE_INVALID',
  'TIMEOUT',
] as const;
export type SendFailure = (typeof sendFailures)[number];

export type SendResult =
  | {
      readonly outcome: 'ANSWERED';
      readonly status: number;
      /** Seconds from the header Retry-After; null without a valid one. */
      readonly retryAfterSeconds: number | null;
    }
  | { readonly outcome: SendFailure };

/** Every failure is a result. Rejects only with the reason of the signal. */
export type Send = (url: URL, message: OutgoingMessage, signal: AbortSignal) => Promise<SendResult>;

export interface SenderOptions {
  readonly targets: Pick<Targets, 'allows'>;
  /** From the lookup of the name to the end of the response; 15 s by default. */
  readonly timeoutMs?: number;
  /** For tests; that of the system by default. */
  readonly lookup?: LookupFunction;
  /** Certificates of authorities that are trusted instead of those of Node; for tests. */
  readonly ca?: string;
}

const defaultTimeoutMs = 15_000;
/** Of the response. Its content is never used. */
const maxBodyBytes = 4_096;
const maxHeaderBytes = 8_192;
/** A connection that is destroyed closes at once; nothing may wait for it for good. */
const maxCloseMs = 1_000;

export function createSender(options: SenderOptions): Send {
  const { targets, timeoutMs = defaultTimeoutMs, lookup = resolveName as LookupFunction } = options;
  // Agents of its own: that of the process may use a proxy from the environment. A connection serves one request, so that no
  // later one goes to an address that the name does not have any more.
  const agents = { 'http:': new HttpAgent(), 'https:': new HttpsAgent({ ca: options.ca }) };
  return async (url, { headers, body }, signal) => {
    const host = toHost(url);
    // Node looks up names only.
    if (isIP(host) !== 0 && !targets.allows(url, host)) return { outcome: 'ADDRESS_REFUSED' };
    const isHttp = url.protocol === 'http:';
    const timeout = AbortSignal.timeout(timeoutMs);
    const stop = AbortSignal.any([signal, timeout]);
    const request = (isHttp ? requestHttp : requestHttps)(url, {
      method: 'POST',
      agent: agents[isHttp ? 'http:' : 'https:'],
      headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) },
      maxHeaderSize: maxHeaderBytes,
      lookup: createCheckedLookup(lookup, (address) => targets.allows(url, address)),
      signal: stop,
    });
    try {
      const response = await rejectOnAbort(readResponse(request, body), stop);
      // The status has arrived, so it makes no difference if the body does not end.
      await rejectOnAbort(discard(response), stop).catch(() => undefined);
      return {
        outcome: 'ANSWERED',
        status: response.statusCode ?? 0,
        retryAfterSeconds: readRetryAfter(response.headers['retry-after']),
      };
    } catch (error) {
      signal.throwIfAborted();
      return { outcome: timeout.aborted ? 'TIMEOUT' : toFailure(error) };
    } finally {
      await close(request);
    }
  };
}

/** So that the receiver has no more connections than there are requests: one that has ended does not overlap with the next. */
async function close(request: ClientRequest): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  request.once('close', resolve).destroy();
  if (request.closed) resolve();
  const timer = setTimeout(resolve, maxCloseMs);
  await promise;
  clearTimeout(timer);
}

async function readResponse(request: ClientRequest, body: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request
    .once('response', resolve)
    .on('error', reject)
    // Node ends a connection that switches protocols (101) without a response and without an error.
    .once('close', () => reject(new NoResponseError('The connection has ended.')))
    .end(body);
  return await promise;
}

/** For what a request waits for, because not every end of one is an event. */
async function rejectOnAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Resolves at the end of the body, at the first byte beyond the limit, or when the connection breaks. */
async function discard(response: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let bytes = 0;
  response
    .on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBodyBytes) resolve();
    })
    .on('error', () => resolve())
    .on('close', resolve);
  await promise;
}

class NoResponseError extends Error {
  override readonly name = 'NoResponseError';
}

class RefusedAddressError extends Error {
  override readonly name = 'RefusedAddressError';
}

/** Leaves only allowed addresses, so that Node connects to no other one: it tries those that this returns, and asks once. */
function createCheckedLookup(
  lookup: LookupFunction,
  isAllowed: (address: string) => boolean,
): LookupFunction {
  return (name, options, callback) => {
    lookup(name, { ...options, all: true }, (error, found) => {
      const addresses = typeof found === 'string' ? [] : (found ?? []);
      const allowed = addresses.filter(({ address }) => isAllowed(address));
      const [first] = allowed;
      if (error !== null) callback(error, []);
      else if (first === undefined) callback(new RefusedAddressError('no allowed address'), []);
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function toFailure(error: unknown): SendFailure {
  if (error instanceof RefusedAddressError) return 'ADDRESS_REFUSED';
  if (error instanceof NoResponseError) return 'RESPONSE_INVALID';
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'NAME_UNKNOWN';
  if (code.startsWith('HPE_')) return 'RESPONSE_INVALID';
  if (/CERT|SELF_SIGNED|UNABLE_TO_|^ERR_TLS_|^ERR_SSL_/.test(code)) return 'CERTIFICATE_INVALID';
  return 'CONNECTION_FAILED';
}

const maxRetryAfterSeconds = 86_400;

function readRetryAfter(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), maxRetryAfterSeconds) : null;
}
