// Tests the board with axe, on the demo's fleet, in light and dark.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { openDemo } from '../../src/demo.ts';
import { createGateway } from '../../src/gateway.ts';
import { listen } from '../../src/http/server.ts';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import { openTestDatabase } from '../harness.ts';
import { openBoard, phone, wide } from './page.ts';

/** What axe finds against WCAG 2.2 AA and its best practices, one line each. */
async function findProblems(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate(
    `axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })`,
  )) as axe.AxeResults;
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${String(target)}: ${failureSummary}`),
  );
}

interface State {
  readonly path: string;
  /** A selector of what is there when the page is ready. */
  readonly ready: string;
  readonly size?: typeof wide | typeof phone;
}

describe.skipIf(isChromiumMissing('the board'))(
  'the board of the demo',
  { timeout: 60_000 },
  () => {
    const made = new AsyncDisposableStack();
    let browser: Browser;
    let origin: string;
    beforeAll(async () => {
      browser = made.adopt(await launchChromium(), (it) => it.close());
      const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-board-'));
      made.defer(() => rm(directory, { recursive: true, force: true }));
      const database = await openTestDatabase('PostgreSQL', { migrated: false });
      const demo = await openDemo(
        parseConfig(readEnvironment({ LOG_LEVEL: 'silent', DATA_DIR: directory })),
      );
      const gateway = made.use(await createGateway(demo.config, { ...demo.overrides, database }));
      await demo.seed(gateway);
      const server = await listen(gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
      made.defer(() => server.drain());
      origin = server.url;
    }, 120_000);
    afterAll(() => made.disposeAsync());

    const states: readonly State[] = [
      { path: '/board', ready: '.rows .past .GAP' },
      { path: '/board', ready: '.rows .past .GAP', size: phone },
      { path: '/board?group=account&verdict=NO', ready: '.group-head' },
      { path: '/board?q=nobody', ready: '.empty' },
      { path: '/board/numbers/wa_acme_outlet?verdict=NO', ready: '.detail .changes' },
      { path: '/board/numbers/wa_acme_school?q=ahorn', ready: '.detail .failed' },
      { path: '/board/numbers/wa_acme_school?q=ahorn', ready: '.detail .failed', size: phone },
      { path: '/board/numbers/wa_acme_kiosk?q=praia', ready: '.detail .fresh' },
      { path: '/board?wall=1&only=failing', ready: '.wall .rows' },
    ];

    test.each(['light', 'dark'] as const)(
      'has nothing that axe finds, in %s',
      async (colorScheme) => {
        for (const { path, ready, size = wide } of states) {
          const context = { ...size, colorScheme };
          // oxlint-disable-next-line no-await-in-loop -- one after the other
          await using board = await openBoard(browser, { origin, key: null, path, context });
          const { page, consoleErrors } = board;
          // oxlint-disable-next-line no-await-in-loop -- see above
          await page.waitForSelector(ready, { state: 'attached' });
          // oxlint-disable-next-line no-await-in-loop -- see above
          expect([path, await findProblems(page)]).toEqual([path, []]);
          expect([path, consoleErrors]).toEqual([path, []]);
          // oxlint-disable-next-line no-await-in-loop -- see above
          expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
        }
      },
    );

    test('has nothing that axe finds in the request for a key and in the help', async () => {
      await using board = await openBoard(browser, { origin, key: 'ps_wrong' });
      await board.page.waitForSelector('#key-problem');
      expect(await findProblems(board.page)).toEqual([]);
      await using other = await openBoard(browser, { origin, key: null, path: '/board?q=nobody' });
      await other.page.getByRole('button', { name: 'keyboard shortcuts' }).click();
      expect(await findProblems(other.page)).toEqual([]);
    });
  },
);
