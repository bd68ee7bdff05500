// Follows the changes of a running gateway over HTTP, where its database is out of reach, as that of a running demo is.

import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, errorCatalogue, GatewayError } from '../errors.ts';
import type { ChangeJson } from './change-text.ts';

export interface RunningGateway {
  readonly url: URL;
  /** An API key that may read. */
  readonly key: string;
  readonly signal: AbortSignal;
}

/** In seconds; less than what proxies usually allow. */
const waitSeconds = 25;
const pauseMs = 1_000;

/** Pages of changes after the cursor, by default from now, until the signal is aborted. Goes on when the gateway was restarted. */
export async function* watchRunning(
  gateway: RunningGateway,
  after: string | null,
): AsyncGenerator<readonly ChangeJson[]> {
  let cursor = after;
  while (!gateway.signal.aborted) {
    const path =
      cursor === null
        ? '/v1/changes'
        : `/v1/changes?after=${encodeURIComponent(cursor)}&wait=${waitSeconds}`;
    // oxlint-disable-next-line no-await-in-loop -- one page after the other
    const page = await get<{ changes: readonly ChangeJson[]; cursor: string }>(gateway, path);
    if (page === null) continue;
    cursor = page.cursor;
    if (page.changes.length > 0) yield page.changes;
  }
}

/** The names of numbers; null for those that cannot be read. */
export async function findNamesOfRunning(
  gateway: RunningGateway,
  ids: readonly string[],
): Promise<readonly (string | null)[]> {
  const names: (string | null)[] = [];
  for (const id of ids) {
    // oxlint-disable-next-line no-await-in-loop -- few are not known, and not all at once
    const found = await get<{ name: string }>(gateway, `/v1/numbers/${id}`).catch(() => null);
    names.push(found?.name ?? null);
  }
  return names;
}

/** Null, after a pause, when another attempt may succeed. Throws the error of the gateway. */
async function get<T>({ url, key, signal }: RunningGateway, path: string): Promise<T | null> {
  const timeout = AbortSignal.any([signal, AbortSignal.timeout((waitSeconds + 15) * 1_000)]);
  const target = new URL(path, url);
  const response = await fetch(target, { headers: { 'x-api-key': key }, signal: timeout }).catch(
    () => null,
  );
  const isTemporary = response === null || response.status === 429 || response.status >= 500;
  if (isTemporary) {
    const seconds = Number(response?.headers.get('retry-after') ?? 0);
    await delay(Math.max(pauseMs, seconds * 1_000), undefined, { signal }).catch(() => undefined);
    return null;
  }
  const body = (await response.json().catch(() => null)) as {
    error?: string;
    code?: string;
  } | null;
  if (response.ok && body !== null) return body as T;
  const code = body?.code !== undefined && body.code in errorCatalogue ? body.code : 'INTERNAL';
  const message = body?.error ?? `${target.origin} does not answer as a gateway.`;
  throw new GatewayError(code as ErrorCode, message);
}
