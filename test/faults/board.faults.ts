// The board stays open in Chromium while the gateways behind a balancer are replaced and killed, and changes go on.

import { setTimeout as delay } from 'node:timers/promises';
import type { Browser, CDPSession } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBoard, type OpenBoard } from '../board/page.ts';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import { type Balancer, openBalancer } from './balancer.ts';
import { report } from './figures.ts';
import { openStage, type Stage, type StagedGateway, type StagedTenant } from './stage.ts';

const rounds = Number(process.env['ROUNDS'] ?? 10);
/** The tenants, in their order. One page of a large fleet is shown. */
const fleets = [
  { index: 0, numbers: 40, shown: 40, rolls: rounds },
  { index: 1, numbers: 1_000, shown: 100, rolls: Math.min(3, rounds) },
] as const;
const changesPerSecond = 10;
/** What the garbage collector leaves may differ by so much. */
const maxGrowthMb = 2;

/** In their order, the name and the verdict of each row. */
async function listShown({ page }: OpenBoard): Promise<readonly string[]> {
  return (await page.evaluate(`[...document.querySelectorAll('.rows .row.body')].map(
    (row) => row.querySelector('.name').textContent + ' ' + row.className.split(' ')[2],
  )`)) as string[];
}

/** The same, as a gateway returns them. */
async function listFresh(
  { url }: StagedGateway,
  { key }: StagedTenant,
): Promise<readonly string[]> {
  const query = `{ fleet(first: 100, orderBy: { field: ATTENTION, direction: DESC }) {
    nodes { name health { sendability { verdict } } } } }`;
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify({ query }),
  });
  const { data } = (await response.json()) as {
    readonly data: {
      readonly fleet: {
        readonly nodes: readonly {
          readonly name: string;
          readonly health: { readonly sendability: { readonly verdict: string } };
        }[];
      };
    };
  };
  return data.fleet.nodes.map(({ name, health }) => `${name} ${health.sendability.verdict}`);
}

/** Waits for the rows to be those that a gateway returns. Returns how many milliseconds it took; Infinity after 20 s. */
async function waitUntilSame(
  board: OpenBoard,
  gateway: StagedGateway,
  tenant: StagedTenant,
): Promise<number> {
  const start = performance.now();
  while (performance.now() - start < 20_000) {
    // oxlint-disable no-await-in-loop -- until they are
    const fresh = await listFresh(gateway, tenant);
    const shown = await listShown(board);
    if (JSON.stringify(fresh) === JSON.stringify(shown)) return performance.now() - start;
    await delay(200);
    // oxlint-enable no-await-in-loop
  }
  return Infinity;
}

async function measureHeapMb(session: CDPSession): Promise<number> {
  await session.send('HeapProfiler.collectGarbage');
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  return usedSize / 1_048_576;
}

const isNotLive = ({ page }: OpenBoard) => page.getByText(/^Not live since/).isVisible();

describe.skipIf(isChromiumMissing('the board while gateways are replaced'))('the board', () => {
  let stage: Stage;
  let balancer: Balancer;
  let browser: Browser;
  beforeAll(async () => {
    stage = await openStage({ numbers: fleets.map(({ numbers }) => numbers) });
    balancer = await openBalancer();
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await balancer?.[Symbol.asyncDispose]();
    await stage?.[Symbol.asyncDispose]();
  });

  /** A process that a busy machine does not let start in time is started again. */
  async function add(attempts = 6): Promise<StagedGateway> {
    const gateway = await stage.startGateway().catch((error: unknown) => {
      if (attempts === 1) throw error;
      return add(attempts - 1);
    });
    balancer.targets.add(gateway);
    return gateway;
  }

  /** Names and states, as other software changes them. */
  function startChanges(tenant: StagedTenant): AsyncDisposable & { stop(): Promise<number> } {
    const ids = tenant.numbers.map(({ id }) => id);
    const stopping = new AbortController();
    let count = 0;
    const change = async () => {
      while (!stopping.signal.aborted) {
        const id = ids[(count * 7) % ids.length];
        const state = count % 3 === 0 ? 'CLOSE' : 'OPEN';
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await stage.query('update whatsapp_number set name = $2, state = $3 where id = $1', [
          id,
          `Name ${count}`,
          state,
        ]);
        count += 1;
        // oxlint-disable-next-line no-await-in-loop -- see above
        await delay(1_000 / changesPerSecond);
      }
    };
    const running = change();
    const stop = async () => {
      stopping.abort();
      await running;
      return count;
    };
    return { stop, [Symbol.asyncDispose]: async () => void (await stop()) };
  }

  test.each(fleets)(
    'shows what is so of $numbers numbers after each of $rolls rolls',
    async (fleet) => {
      let pair = [await add(), await add()];
      await delay(500);
      const tenant = stage.tenants[fleet.index]!;
      const { key } = tenant;
      const openedAt = performance.now();
      await using board = await openBoard(browser, { origin: balancer.url, key });
      const { page } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)', { timeout: 60_000 });
      const session = await page.context().newCDPSession(page);
      const heaps: number[] = [];
      const delays: number[] = [];
      let [changes, banners] = [0, 0];
      for (let round = 0; round < fleet.rolls; round += 1) {
        // oxlint-disable no-await-in-loop -- one round after the other
        await using running = startChanges(tenant);
        const next: StagedGateway[] = [];
        for (const old of pair) {
          next.push(await add());
          // Every third time without a word.
          balancer.targets.delete(old);
          await old.end(round % 3 === 2 ? 'SIGKILL' : 'SIGTERM');
          if (await isNotLive(board)) banners += 1;
        }
        pair = next;
        changes += await running.stop();
        delays.push(await waitUntilSame(board, pair[1]!, tenant));
        if (await isNotLive(board)) banners += 1;
        heaps.push(await measureHeapMb(session));
        // oxlint-enable no-await-in-loop
      }

      // Without any gateway for longer than a minute the board says so, and recovers.
      await using running = startChanges(tenant);
      for (const gateway of pair) {
        balancer.targets.delete(gateway);
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await gateway.end('SIGKILL');
      }
      await page.getByText(/^Not live since/).waitFor({ timeout: 60_000 });
      const kept = (await board.listNames()).length;
      changes += await running.stop();
      const last = await add();
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)', { timeout: 60_000 });
      await page.getByText(/^Not live since/).waitFor({ state: 'detached', timeout: 30_000 });
      delays.push(await waitUntilSame(board, last, tenant));

      const errors = board.consoleErrors.filter((text) => !/Failed to load resource/.test(text));
      const growth = heaps.at(-1)! - (heaps[1] ?? heaps[0]!);
      const queries = board.count('BoardFleet');
      const seconds = (performance.now() - openedAt) / 1_000;
      balancer.targets.delete(last);
      await last.end('SIGTERM');
      expect(
        report(
          `the board of ${fleet.numbers} numbers while two gateways are replaced ${fleet.rolls} times, a third of them by kill -9: the rows of a query, no banner, ${maxGrowthMb} MB, a query of the fleet a second`,
          `${changes} changes, same rows after at most ${Math.round(Math.max(...delays))} ms, ${banners} banners before the outage and 1 in it with ${kept} rows kept, heap ${heaps.map((mb) => mb.toFixed(1)).join(' ')} MB, ${queries} queries of the fleet in ${Math.round(seconds)} s, errors: ${errors.join('; ') || 'none'}`,
          banners === 0 &&
            Math.max(...delays) < Infinity &&
            kept === fleet.shown &&
            queries <= seconds + 1 &&
            growth < maxGrowthMb &&
            errors.length === 0,
        ),
      ).toBe(true);
    },
  );
});
