// The changes as a stream of Server-Sent Events.

import { randomInt } from 'node:crypto';
import type { ChangePage } from '../history/change.ts';
import type { ChangesRequest, History } from '../history/history.ts';
import { EventStream, formatEvent, type OpenStream, yieldUntil } from '../http/event-stream.ts';
import { toChange } from './change.ts';
import type { EventInput } from './route.ts';

/** After how many milliseconds a client connects again. */
const retryMs = 2_000;
/** The same for the clients of a process that stops, so that not all of them connect at once. */
const [minDrainRetryMs, maxDrainRetryMs] = [1_000, 5_000];

/** Throws INVALID_CURSOR, CURSOR_EXPIRED, CURSOR_UNKNOWN or TOO_MANY_STREAMS before the stream begins. */
export async function streamChanges(
  history: History,
  { access, lastEventId, openStream }: EventInput,
  { after, filter }: Pick<ChangesRequest, 'after' | 'filter'>,
): Promise<EventStream> {
  const stream = openStream();
  const { signal } = stream;
  const given = lastEventId ?? after;
  // A client that disconnects before the first change connects again with the cursor of this page.
  const start =
    given === null ? await history.readChanges(access, { after: null, first: 1, filter }) : null;
  const cursor = given ?? start?.cursor ?? null;
  const pages = await history.watchChanges(access, { after: cursor, filter, signal });
  return new EventStream(stream, toChunks(pages, stream, start));
}

async function* toChunks(
  pages: AsyncIterator<ChangePage>,
  { draining }: OpenStream,
  start: ChangePage | null,
): AsyncGenerator<string | Uint8Array> {
  yield formatEvent({ retryMs }) + (start === null ? '' : formatHeartbeat(start));
  for await (const page of yieldUntil(pages, draining)) yield encode(page);
  if (draining.aborted) yield formatEvent({ retryMs: randomInt(minDrainRetryMs, maxDrainRetryMs) });
}

/** By page: streams at the same place with the same filter have the same one. */
const encoded = new WeakMap<ChangePage, Buffer>();

function encode(page: ChangePage): Buffer {
  const known = encoded.get(page);
  if (known !== undefined) return known;
  const text = page.changes.length === 0 ? formatHeartbeat(page) : formatChanges(page);
  const bytes = Buffer.from(text);
  encoded.set(page, bytes);
  return bytes;
}

function formatChanges({ changes }: ChangePage): string {
  return changes
    .map((change) =>
      formatEvent({ id: change.cursor, event: 'change', data: JSON.stringify(toChange(change)) }),
    )
    .join('');
}

function formatHeartbeat({ cursor, time }: ChangePage): string {
  return formatEvent({ id: cursor, event: 'heartbeat', data: JSON.stringify({ cursor, time }) });
}
