// Follows the live feed while the page is visible: GraphQL over Server-Sent Events, by fetch, because EventSource sends no key.

import { effect } from '@preact/signals';
import { createParser } from 'eventsource-parser';
import { ApiError, subscribe } from './api.ts';
import { isOfTimeline, touches } from './changes.ts';
import { readTime } from './clock.ts';
import { reloadFleet } from './fleet-loading.ts';
import { reloadIncidents } from './incident-loading.ts';
import { type ChangePage, changesSubscription } from './queries.ts';
import { reloadNumber } from './number-loading.ts';
import {
  fleet,
  fleetError,
  forgetKey,
  key,
  type Loaded,
  live,
  maxSilenceMs,
  openNumber,
  strips,
  view,
} from './state.ts';
import { forgetStrips } from './strip-loading.ts';

/** Where to continue; null begins at the present. */
let cursor: string | null = null;
/** What was shown when changes were found to be missing: the feed goes on from the fleet that is loaded after it. */
let outdated: Loaded | null = null;
let connection: AbortController | null = null;
let failures = 0;
let retryTimer: ReturnType<typeof setTimeout> | undefined;
let silenceTimer: ReturnType<typeof setTimeout> | undefined;

/** Follows the feed of each key, from the first fleet that it has loaded. A hidden page has no stream. */
export function startFeed(): void {
  let followed: string | null = null;
  effect(() => {
    const isReady = fleet.value !== null && key.value !== null && key.value !== '';
    if (!isReady || followed === key.value) return;
    followed = key.value;
    outdated = null;
    cursor = fleet.value?.data.whole.feedCursor ?? null;
    live.value = { status: 'connecting', liveAt: readTime() };
    reconnect(0);
  });
  effect(() => {
    const loaded = fleet.value;
    if (outdated === null || loaded === null || loaded === outdated) return;
    outdated = null;
    cursor = loaded.data.whole.feedCursor;
    reconnect(0);
  });
  effect(() => {
    // Without a key there is no stream either.
    if (key.value !== null && key.value !== '') return;
    followed = null;
    close('connecting');
  });
  document.addEventListener('visibilitychange', () => {
    if (followed === null) return;
    if (document.visibilityState === 'hidden') close('paused');
    else reconnect(0);
  });
  // Back in the network.
  addEventListener(
    'online',
    () => followed !== null && live.peek().status === 'lost' && reconnect(0),
  );
}

function close(status: 'connecting' | 'paused'): void {
  clearTimeout(retryTimer);
  clearTimeout(silenceTimer);
  connection?.abort();
  connection = null;
  live.value = { ...live.peek(), status };
}

function reconnect(delayMs: number): void {
  clearTimeout(retryTimer);
  if (document.visibilityState === 'hidden' || outdated !== null) return;
  retryTimer = setTimeout(() => void follow(), delayMs);
}

async function follow(): Promise<void> {
  connection?.abort();
  const controller = new AbortController();
  connection = controller;
  const { signal } = controller;
  listenForSilence(controller);
  try {
    const query = changesSubscription;
    const stream = await subscribe(key.peek() ?? '', {
      query,
      variables: { after: cursor },
      signal,
    });
    if (live.peek().status === 'lost') retryLoads();
    setLive();
    await readEvents(stream, signal);
    throw new ApiError('NETWORK', 'The stream has ended.');
  } catch (error) {
    if (connection !== controller) return;
    connection = null;
    clearTimeout(silenceTimer);
    handleEnd(error);
  }
}

function handleEnd(error: unknown): void {
  const code = error instanceof ApiError ? error.code : 'NETWORK';
  if (error instanceof ApiError && error.isAboutKey) return forgetKey(error);
  live.value = { ...live.peek(), status: 'lost' };
  if (code.includes('CURSOR')) return readAgain();
  failures += 1;
  const retryAfterMs = (error instanceof ApiError ? (error.retryAfterSeconds ?? 0) : 0) * 1_000;
  const backoffMs = Math.min(10_000, 250 * 2 ** failures) * (0.75 + Math.random() / 2);
  reconnect(Math.max(retryAfterMs, backoffMs));
}

/** Changes are missing, so everything that is shown is read again, and the feed goes on from there. */
function readAgain(): void {
  outdated = fleet.peek();
  reloadFleet();
  reloadNumber();
  reloadIncidents();
  forgetStrips([...strips.peek().keys()]);
}

/** The gateway can be reached again. The feed brings what the fleet has missed, so only one that could not be read is read. */
function retryLoads(): void {
  if (fleetError.peek() !== null) reloadFleet();
  reloadNumber();
  reloadIncidents();
}

/** Ends a stream that has gone silent: its connection may be dead without anybody knowing. */
function listenForSilence(controller: AbortController): void {
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(() => {
    controller.abort();
    if (connection !== controller) return;
    connection = null;
    handleEnd(new ApiError('NETWORK', 'The stream is silent.'));
  }, maxSilenceMs);
}

async function readEvents(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
): Promise<void> {
  let failure: Error | null = null;
  const parser = createParser({
    onEvent({ event, data }) {
      if (event !== 'next' || signal.aborted) return;
      const { data: result, errors } = JSON.parse(data) as EventBody;
      const [error] = errors ?? [];
      if (error !== undefined)
        failure = new ApiError(error.extensions?.code ?? 'INTERNAL', error.message);
      else if (result) handlePage(result.changes);
    },
  });
  const reader = stream.pipeThrough(new TextDecoderStream(), { signal }).getReader();
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- events come one after the other
    const { done, value } = await reader.read();
    if (done) return;
    parser.feed(value);
    if (failure !== null) throw failure;
  }
}

interface EventBody {
  readonly data?: { readonly changes: ChangePage } | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly extensions?: { readonly code?: string };
  }[];
}

function handlePage({ cursor: next, changes }: ChangePage): void {
  cursor = next;
  failures = 0;
  setLive();
  if (changes.length === 0) return;
  forgetStrips(changes.filter(isOfTimeline).flatMap(({ numberId }) => numberId ?? []));
  const shown = new Set(fleet.peek()?.data.page.nodes.map(({ id }) => id));
  if (changes.some((change) => touches(change, view.peek(), shown))) reloadFleet();
  const open = openNumber.peek();
  const wabaId = open?.data?.meta?.waba?.id ?? null;
  const ofIncidents = changes.filter(({ kind }) => kind === 'INCIDENT');
  if (ofIncidents.length > 0) reloadIncidents();
  const isOpenTouched =
    changes.some(
      (change) => change.numberId === open?.id || (wabaId !== null && change.wabaId === wabaId),
    ) ||
    // Of a portfolio or a token, to which the number may belong.
    ofIncidents.some((change) => change.numberId === null && change.wabaId === null);
  if (open !== null && isOpenTouched) reloadNumber();
}

function setLive(): void {
  live.value = { status: 'live', liveAt: readTime() };
  if (connection !== null) listenForSilence(connection);
}
