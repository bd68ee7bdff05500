// Plays the script while the demo serves, and posts what the simulated Meta announces to the demo's own webhook endpoints.

import type { Clock } from '../clock.ts';
import type { Gateway } from '../gateway.ts';
import type { Simulator } from '../simulator/simulator.ts';
import { createWebhookSender, type WebhookSender } from '../simulator/webhooks.ts';
import { deriveAppSecret, seedEndpoint } from './endpoints.ts';
import { type DemoEvent, demoScript } from './script.ts';

/** From one event to the next. */
const eventIntervalMs = 60_000;

export interface PlayOptions extends Clock {
  readonly gateway: Pick<Gateway, 'fetch' | 'telemetry' | 'webhooks'>;
  readonly simulator: Pick<Simulator, 'change'>;
  readonly pepper: string;
}

/** The first event is a minute later. Disposal waits for the event that is happening, and nothing happens afterwards. */
export function startPlay(options: PlayOptions): AsyncDisposable {
  const { gateway, simulator, startTimer } = options;
  const senders = createSenders(options);
  let isStopped = false;
  const happen = async ({ tenantId, what, change }: DemoEvent): Promise<void> => {
    gateway.telemetry.info('the simulated Meta changes', { tenantId, what });
    const announced = simulator.change(change);
    if (announced.length > 0) await (await senders.get(tenantId)).send(announced);
  };
  const play = async (place: number): Promise<void> => {
    await happen(demoScript[place % demoScript.length]!).catch((error: unknown) =>
      gateway.telemetry.warn('a webhook of the simulated Meta was not sent', {
        cause: String(error),
      }),
    );
    if (!isStopped) schedule(place + 1);
  };
  let playing = Promise.resolve();
  let timer: Disposable;
  const schedule = (place: number): void => {
    timer = startTimer(eventIntervalMs, () => (playing = play(place)));
  };
  schedule(0);
  return {
    async [Symbol.asyncDispose]() {
      isStopped = true;
      timer[Symbol.dispose]();
      await playing;
      await senders[Symbol.asyncDispose]();
    },
  };
}

/** One for each tenant, made when it is needed. */
function createSenders({ gateway, pepper, now, startTimer }: PlayOptions) {
  const appSecret = deriveAppSecret(pepper);
  const senders = new Map<string, WebhookSender>();
  const create = async (tenantId: string): Promise<WebhookSender> => {
    const path = await seedEndpoint(gateway.webhooks, tenantId, appSecret);
    return createWebhookSender({
      // The host is not used: the gateway of this process answers.
      url: `http://demo.invalid${path}`,
      appSecret,
      fetch: gateway.fetch,
      now,
      startTimer,
    });
  };
  return {
    async get(tenantId: string): Promise<WebhookSender> {
      const sender = senders.get(tenantId) ?? (await create(tenantId));
      senders.set(tenantId, sender);
      return sender;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(senders.values().map((sender) => sender[Symbol.asyncDispose]()));
    },
  };
}
