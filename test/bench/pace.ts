// Sends requests at a fixed rate: an open loop, unlike load.ts, whose generators wait for a response before they send again
// and so hide how a slow response delays those behind it. Uses wrk, or this process where wrk is not installed; its own
// delays are then part of the figures.

import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { sendOver } from './http-request.ts';
import { generator, runWrk } from './load.ts';
import type { BenchRequest } from './shapes.ts';

export interface PacedLoad {
  readonly url: string;
  readonly requests: readonly BenchRequest[];
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Paced {
  /** Milliseconds from when each request was due to the end of its response, for responses with 200. */
  readonly durations: readonly number[];
  /** Requests with another status, or without a response in time. */
  readonly refused: number;
}

/** Throws if a connection breaks. The server must return the `x-request-id` of the request. */
export async function sendAtPace(load: PacedLoad): Promise<Paced> {
  return await (generator === 'wrk' ? paceWithWrk(load) : paceWithNode(load));
}

/** Far more than are busy at half of the load. */
const connections = 64;
/** After the last request, for responses that are still outstanding. */
const graceSeconds = 2;

/** The output of pace.lua. */
interface PaceReport {
  readonly refused: number;
  readonly broken: number;
  readonly durationsUs: readonly number[];
}

async function paceWithWrk({ url, requests, perSecond, seconds }: PacedLoad): Promise<Paced> {
  const total = Math.floor(perSecond * seconds);
  const load = { url, requests, connections, seconds: seconds + graceSeconds };
  const report = (await runWrk(load, 'pace.lua', [String(perSecond), String(total)])) as PaceReport;
  if (report.broken > 0) throw new Error(`${report.broken} connections broke.`);
  const durations = report.durationsUs.map((us) => us / 1_000);
  return { durations, refused: total - durations.length };
}

async function paceWithNode({ url, requests, perSecond, seconds }: PacedLoad): Promise<Paced> {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  const total = Math.floor(perSecond * seconds);
  const sent: Promise<number | null>[] = [];
  const startedAt = performance.now();
  try {
    while (sent.length < total) {
      const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond) + 1;
      while (sent.length < Math.min(due, total)) {
        const request = requests[sent.length % requests.length];
        if (request === undefined) throw new Error('The load has no requests.');
        const dueAt = startedAt + (sent.length / perSecond) * 1_000;
        const duration = sendOne(agent, url, request, dueAt);
        // The failure is thrown after the loop.
        duration.catch(() => undefined);
        sent.push(duration);
      }
      // oxlint-disable-next-line no-await-in-loop -- the pace
      await delay(1);
    }
    const all = await Promise.all(sent);
    const durations = all.filter((duration) => duration !== null);
    return { durations, refused: all.length - durations.length };
  } finally {
    agent.destroy();
  }
}

/** Milliseconds since `dueAt`; null for another status than 200, and without a response in time. */
async function sendOne(
  agent: Agent,
  url: string,
  request: BenchRequest,
  dueAt: number,
): Promise<number | null> {
  const response = await sendOver(agent, url, request).catch((error: Error) => {
    if (error.name === 'AbortError') return null;
    throw error;
  });
  return response?.status === 200 ? performance.now() - dueAt : null;
}
