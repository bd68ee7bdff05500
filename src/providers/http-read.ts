// Sends one HTTP request to an upstream and reads the response, with a limit on time and size and without redirects.

export interface ReadHttpOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent with POST; without a form the method is GET. */
  readonly form?: URLSearchParams | undefined;
  /** Until the last byte of the response. */
  readonly timeoutMs: number;
  /** The caller's deadline, on the clock of `performance.now()`; it may come before the timeout. */
  readonly deadlineAt: number;
  /** Ends the request when it is aborted. */
  readonly signal: AbortSignal;
}

/**
 * `timeout`: no complete response within `timeoutMs`. `deadline`: the caller's deadline came before the timeout, which
 * proves nothing about the upstream. `status` is null when no response had begun.
 */
export type HttpResult = { readonly durationMs: number } & (
  | {
      readonly outcome: 'answered';
      readonly status: number;
      readonly headers: Headers;
      readonly text: string;
    }
  | {
      readonly outcome: 'timeout' | 'deadline' | 'unreachable' | 'too large';
      readonly status: number | null;
    }
);

const maxResponseBytes = 1024 * 1024;

/** Rejects only with the reason of the signal; every other failure is an outcome, and so is a redirect (`unreachable`). */
export async function readHttp(url: URL, options: ReadHttpOptions): Promise<HttpResult> {
  const { fetch, headers, form, timeoutMs, deadlineAt, signal } = options;
  const startedAt = performance.now();
  const allowedMs = Math.max(1, Math.min(timeoutMs, Math.floor(deadlineAt - startedAt)));
  const timeout = AbortSignal.timeout(allowedMs);
  const ended = AbortSignal.any([signal, timeout]);
  const body = form === undefined ? {} : { method: 'POST', body: form };
  const measureMs = (): number => Math.round(performance.now() - startedAt);
  let status: number | null = null;
  try {
    // A redirect would send the credentials to another host.
    const response = await fetch(url, { ...body, headers, redirect: 'error', signal: ended });
    status = response.status;
    const text = await readText(response, ended);
    if (text === null) return { outcome: 'too large', status, durationMs: measureMs() };
    return {
      outcome: 'answered',
      status,
      headers: response.headers,
      text,
      durationMs: measureMs(),
    };
  } catch {
    // The error of fetch is dropped: its message may quote a header.
    signal.throwIfAborted();
    const timeoutOutcome = allowedMs < timeoutMs ? 'deadline' : 'timeout';
    const outcome = timeout.aborted ? timeoutOutcome : 'unreachable';
    return { outcome, status, durationMs: measureMs() };
  }
}

const maxRetryAfterMs = 24 * 3_600_000;

/** The time that the Retry-After header names, at most a day from now, ISO 8601; null when it is absent or invalid. */
export function parseRetryAfter(headers: Headers, now: Date): string | null {
  const text = headers.get('retry-after')?.trim() ?? '';
  const time = parseRetryTime(text, now.getTime());
  return Number.isNaN(time)
    ? null
    : new Date(Math.min(time, now.getTime() + maxRetryAfterMs)).toISOString();
}

function parseRetryTime(text: string, nowMs: number): number {
  if (/^\d{1,7}$/.test(text)) return nowMs + Number(text) * 1_000;
  // Date.parse alone would accept texts such as -5.
  return /^\w{3}, .{1,40} GMT$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** Null when the body is larger than the limit; the rest of it is not read. */
async function readText(response: Response, signal: AbortSignal): Promise<string | null> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const cancel = (): void => void reader.cancel(signal.reason).catch(() => {});
  // The signal given to fetch may not end the read of a body; cancelling the reader does.
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const chunks = await readChunks(reader);
    signal.throwIfAborted();
    if (chunks === null) cancel();
    return chunks === null ? null : new TextDecoder().decode(Buffer.concat(chunks));
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

async function readChunks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<readonly Uint8Array[] | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- chunks arrive in order
    const { done, value } = await reader.read();
    if (done) return chunks;
    bytes += value.byteLength;
    if (bytes > maxResponseBytes) return null;
    chunks.push(value);
  }
}
