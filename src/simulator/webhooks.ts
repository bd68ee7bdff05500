// Sends webhooks as Meta does: signed, in any order if asked, and again until they are answered with 200.
// https://developers.facebook.com/docs/graph-api/webhooks/getting-started

import { createHmac, randomUUID } from 'node:crypto';
import { type Clock, systemClock } from '../clock.ts';
import type { Announcement } from './changes.ts';

export interface WebhookSenderOptions extends Partial<Clock> {
  readonly url: string;
  readonly appSecret: string;
  readonly fetch: (request: Request) => Promise<Response>;
}

export interface WebhookSender extends AsyncDisposable {
  /** The handshake: whether the endpoint repeats the challenge. */
  verify(verifyToken: string): Promise<boolean>;
  /** Resolves when each delivery was attempted once; those that fail are repeated later. */
  send(events: readonly MetaWebhookEvent[], options?: SendOptions): Promise<void>;
  /** How many deliveries were not answered with 200, and will be repeated. */
  countWaiting(): number;
}

export interface MetaWebhookEvent extends Announcement {
  readonly happenedAt: Date;
}

export interface SendOptions {
  /** Meta does not promise to send an event only once; 1 by default. */
  readonly times?: number;
  /** Returns numbers from 0 to 1, as `Math.random`. The deliveries are shuffled by it; by default they keep their order. */
  readonly random?: () => number;
  /** Whether all events are in one body, as Meta may do with up to 1,000. */
  readonly inOneBody?: boolean;
}

interface Delivery {
  readonly body: string;
  readonly begunAt: number;
  attempts: number;
  timer: Disposable | null;
}

/** "For up to 7 days". */
const maxRetryMs = 7 * 86_400_000;
const firstPauseMs = 60_000;
const maxPauseMs = 12 * 3_600_000;

/** Disposal ends the attempts, also those to come. */
export function createWebhookSender(options: WebhookSenderOptions): WebhookSender {
  const { url, fetch, now } = { ...systemClock, ...options };
  const deliveries = createDeliveries(options);
  return {
    async verify(verifyToken) {
      const challenge = randomUUID();
      const search = new URLSearchParams({
        'hub.mode': 'subscribe',
        'hub.verify_token': verifyToken,
        'hub.challenge': challenge,
      });
      const response = await fetch(new Request(`${url}?${search.toString()}`));
      return response.status === 200 && (await response.text()) === challenge;
    },
    async send(events, { times = 1, random, inOneBody = false } = {}) {
      const bodies = inOneBody ? [toBody(events)] : events.map((event) => toBody([event]));
      const repeated = Array.from({ length: times }, () => bodies).flat();
      const begunAt = now().getTime();
      for (const body of random === undefined ? repeated : shuffle(repeated, random)) {
        // oxlint-disable-next-line no-await-in-loop -- in this order
        await deliveries.begin({ body, begunAt, attempts: 0, timer: null });
      }
    },
    countWaiting: deliveries.countWaiting,
    [Symbol.asyncDispose]: deliveries[Symbol.asyncDispose],
  };
}

function createDeliveries(options: WebhookSenderOptions) {
  const { now, startTimer } = { ...systemClock, ...options };
  const stop = new AbortController();
  const waiting = new Set<Delivery>();
  const running = new Set<Promise<void>>();
  const attempt = async (delivery: Delivery): Promise<void> => {
    waiting.delete(delivery);
    if (stop.signal.aborted) return;
    const isReceived = await post(options, delivery.body, stop.signal);
    if (isReceived || stop.signal.aborted) return;
    delivery.attempts += 1;
    const pauseMs = toPauseMs(delivery.attempts);
    if (now().getTime() + pauseMs > delivery.begunAt + maxRetryMs) return;
    waiting.add(delivery);
    delivery.timer = startTimer(pauseMs, () => begin(delivery));
  };
  const begin = async (delivery: Delivery): Promise<void> => {
    const attempted = attempt(delivery);
    running.add(attempted);
    await attempted.finally(() => running.delete(attempted));
  };
  return {
    /** Resolves after the first attempt. */
    begin,
    countWaiting: () => waiting.size,
    async [Symbol.asyncDispose]() {
      stop.abort();
      for (const { timer } of waiting) timer?.[Symbol.dispose]();
      waiting.clear();
      await Promise.all(running);
    },
  };
}

/** Whether the endpoint answered with 200. */
async function post(
  { url, appSecret, fetch }: WebhookSenderOptions,
  body: string,
  signal: AbortSignal,
): Promise<boolean> {
  const headers = { 'content-type': 'application/json', ...sign(body, appSecret) };
  try {
    const response = await fetch(new Request(url, { method: 'POST', body, headers, signal }));
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** "Immediately, then with decreasing frequency". */
function toPauseMs(attempts: number): number {
  return attempts === 1 ? 0 : Math.min(maxPauseMs, firstPauseMs * 2 ** (attempts - 2));
}

function toBody(events: readonly MetaWebhookEvent[]): string {
  const entry = events.map(({ entryId, field, value, happenedAt }) => ({
    id: entryId,
    time: Math.floor(happenedAt.getTime() / 1_000),
    changes: [{ field, value }],
  }));
  return escape(JSON.stringify({ object: 'whatsapp_business_account', entry }));
}

/** Meta escapes everything outside ASCII in the bytes that it signs. */
function escape(json: string): string {
  return json.replaceAll(
    /[\u0080-\uFFFF]/g,
    (unit) => String.raw`\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function sign(body: string, appSecret: string): Readonly<Record<string, string>> {
  const digest = createHmac('sha256', appSecret).update(body).digest('hex');
  return { 'x-hub-signature-256': `sha256=${digest}` };
}

function shuffle<T>(list: readonly T[], random: () => number): readonly T[] {
  return list
    .map((item) => ({ item, place: random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
