// Owns one HTTP exchange with an upstream: bounded in time and in size, never redirected, told apart by how it ended.
// What a status or a body means is left to the providers.

export interface ReadHttpOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as a form with POST; without it the method is GET. */
  readonly form?: URLSearchParams;
  /** For the whole exchange, until the last byte of the reply. */
  readonly timeoutMs: number;
  /** When the caller needs it to have ended, which may be sooner; on the clock of `performance.now()`. */
  readonly deadlineAt: number;
  /** The caller's; aborts the exchange. */
  readonly signal: AbortSignal;
}

/**
 * How an exchange ended: `timeout` when it had the whole time for one and `cut short` when the caller's deadline came
 * first, which proves nothing about the upstream. `status` is null when no reply had begun.
 */
export type HttpReading = { readonly durationMs: number } & (
  | {
      readonly outcome: 'answered';
      readonly status: number;
      readonly headers: Headers;
      readonly text: string;
    }
  | {
      readonly outcome: 'timeout' | 'cut short' | 'unreachable' | 'too large';
      readonly status: number | null;
    }
);

const maxReplyBytes = 1024 * 1024;

/**
 * Rejects only with the reason of the caller's signal; a timeout, a broken connection, a redirect and an endless reply
 * are outcomes.
 */
export async function readHttp(url: URL, options: ReadHttpOptions): Promise<HttpReading> {
  const { fetch, headers, form, timeoutMs, deadlineAt, signal } = options;
  const startedAt = performance.now();
  const allowedMs = Math.max(1, Math.min(timeoutMs, Math.floor(deadlineAt - startedAt)));
  const timeout = AbortSignal.timeout(allowedMs);
  const ended = AbortSignal.any([signal, timeout]);
  const body = form === undefined ? {} : { method: 'POST', body: form };
  const toDurationMs = (): number => Math.round(performance.now() - startedAt);
  let status: number | null = null;
  try {
    // A redirect would carry the credentials to wherever it points.
    const response = await fetch(url, { ...body, headers, redirect: 'error', signal: ended });
    status = response.status;
    const text = await readText(response, ended);
    if (text === null) return { outcome: 'too large', status, durationMs: toDurationMs() };
    return {
      outcome: 'answered',
      status,
      headers: response.headers,
      text,
      durationMs: toDurationMs(),
    };
  } catch {
    // What fetch throws may repeat a header, so nothing of it goes further than this.
    signal.throwIfAborted();
    const late = allowedMs < timeoutMs ? 'cut short' : 'timeout';
    const outcome = timeout.aborted ? late : 'unreachable';
    return { outcome, status, durationMs: toDurationMs() };
  }
}

/** However long an upstream asks to be left alone. */
const maxPauseMs = 24 * 3_600_000;

/**
 * The time at which a Retry-After header asks to come back, a day from now at most, ISO 8601; null when it is absent or
 * unreadable.
 */
export function toRetryAt(headers: Headers, now: Date): string | null {
  const text = headers.get('retry-after')?.trim() ?? '';
  const time = toRetryTime(text, now.getTime());
  return Number.isNaN(time)
    ? null
    : new Date(Math.min(time, now.getTime() + maxPauseMs)).toISOString();
}

function toRetryTime(text: string, nowMs: number): number {
  if (/^\d{1,7}$/.test(text)) return nowMs + Number(text) * 1_000;
  // Date.parse alone sees dates in texts such as -5.
  return /^\w{3}, .{1,40} GMT$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** Null when the reply is larger than we read; the rest of it is then not waited for. */
async function readText(response: Response, signal: AbortSignal): Promise<string | null> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const cancel = (): void => void reader.cancel(signal.reason).catch(() => {});
  // The signal given to fetch need not reach a body that has begun; cancelling the reader ends its wait for certain.
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
    // oxlint-disable-next-line no-await-in-loop -- a chunk comes after the one before it
    const { done, value } = await reader.read();
    if (done) return chunks;
    bytes += value.byteLength;
    if (bytes > maxReplyBytes) return null;
    chunks.push(value);
  }
}
