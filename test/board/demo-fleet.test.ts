// Tests the board with the demo's fleet: with axe, in light and dark, and takes the picture of the README. To renew that, run the
// test with UPDATE_PICTURE=1.

import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { openDemo } from '../../src/demo/demo.ts';
import { createGateway } from '../../src/gateway.ts';
import { listen } from '../../src/http/server.ts';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import { openTestDatabase, type TestDatabase } from '../harness.ts';
import { openBoard, phone, wide } from './page.ts';

/** Of WCAG 2.2 AA, and the best practices of axe. */
const everyRule = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
/** Those that depend on the colours. */
const colorRules = ['color-contrast', 'link-in-text-block'];

/** What axe finds, one line each. */
async function findProblems(
  page: Page,
  runOnly: readonly string[] = everyRule,
): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  const options = JSON.stringify({ runOnly, resultTypes: ['violations'] });
  const { violations } = (await page.evaluate(`axe.run(${options})`)) as axe.AxeResults;
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${String(target)}: ${failureSummary}`),
  );
}

const picture = new URL('board.png', import.meta.url);

/**
 * Gives the demo's numbers a past, which a new demo does not have: they were added 40 days ago, could send until some hours or
 * days ago, some were down for a while before, and nothing was read for some hours of one night.
 */
async function addPast({ query }: TestDatabase, tenantId: string): Promise<void> {
  const seed = 'abs(hashtext(number_id))';
  const statements = [
    `update feed_position set created_at = now() - interval '40 days' where tenant_id = $1`,
    `update whatsapp_number set created_at = now() - interval '40 days' where tenant_id = $1`,
    `update number_change set occurred_at = now() - interval '40 days'
     where tenant_id = $1 and (kind = 'ADDED' or new_value = 'YES')`,
    `update number_change set previous_value = 'YES', occurred_at = now() - interval '1 minute' * (40 + ${seed} % 2500)
     where tenant_id = $1 and kind = 'VERDICT' and new_value <> 'YES'`,
    `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at, sequence)
     select $1, number_id, 'VERDICT', 'VERDICT', case place when 1 then 'YES' else 'NO' end, case place when 1 then 'NO' else 'YES' end,
       'READ', now() - interval '1 minute' * (3200 + ${seed} % 6000 - (place - 1) * (60 + ${seed} % 900)),
       -100000 + 2 * row_number() over (order by number_id) + place
     from (select id as number_id from whatsapp_number where tenant_id = $1) n, generate_series(1, 2) place where ${seed} % 3 = 0`,
    `insert into number_change (tenant_id, number_id, kind, previous_value, new_value, source, occurred_at, sequence)
     select $1, id, 'GAP', to_char(now() at time zone 'UTC' - interval '100 hours', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       to_char(now() at time zone 'UTC' - interval '93 hours', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'READ', now() - interval '93 hours',
       -200000 + row_number() over (order by id)
     from whatsapp_number where tenant_id = $1`,
  ];
  // oxlint-disable-next-line no-await-in-loop -- one after the other
  for (const statement of statements) await query(statement, [tenantId]);
}

interface State {
  readonly path: string;
  /** A selector of what is there when the page is ready. */
  readonly ready: string;
  readonly size?: typeof phone;
}

describe.skipIf(isChromiumMissing('the board'))('the board of the demo', { tags: ['page'] }, () => {
  const made = new AsyncDisposableStack();
  let browser: Browser;
  let origin: string;
  let database: TestDatabase;
  beforeAll(async () => {
    browser = made.adopt(await launchChromium(), (it) => it.close());
    const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-board-'));
    made.defer(() => rm(directory, { recursive: true, force: true }));
    database = await openTestDatabase('PostgreSQL', { migrated: false });
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

  test.each(states)(
    'has nothing that axe finds, in light and dark: $path',
    async ({ path, ready, size = wide }) => {
      // Without motion the colours change at once.
      const context = { ...size, colorScheme: 'light', reducedMotion: 'reduce' } as const;
      await using board = await openBoard(browser, { origin, key: null, path, context });
      const { page, consoleErrors } = board;
      await page.waitForSelector(ready, { state: 'attached' });
      expect(await findProblems(page)).toEqual([]);
      await page.emulateMedia({ colorScheme: 'dark' });
      expect(await findProblems(page, colorRules)).toEqual([]);
      expect(consoleErrors).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
    },
  );

  test('has nothing that axe finds in the request for a key and in the help', async () => {
    await using board = await openBoard(browser, { origin, key: 'ps_wrong' });
    await board.page.waitForSelector('#key-problem');
    expect(await findProblems(board.page)).toEqual([]);
    await using other = await openBoard(browser, { origin, key: null, path: '/board?q=nobody' });
    await other.page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
    expect(await findProblems(other.page)).toEqual([]);
  });

  test('is what the picture of the README shows', async () => {
    await addPast(database, 'ten_acme');
    const context = { viewport: { width: 1_280, height: 800 }, colorScheme: 'light' } as const;
    const path = '/board/numbers/wa_acme_hotel?verdict=NO';
    await using board = await openBoard(browser, { origin, key: null, path, context });
    const { page, consoleErrors } = board;
    await page.locator('.detail .changes').waitFor();
    await page.waitForSelector('.live.live');
    await expect
      .poll(() => page.locator('.row .past .YES').count(), { timeout: 20_000 })
      .toBeGreaterThan(5);
    const taken = await page.screenshot();
    if (process.env['UPDATE_PICTURE'] === '1') await writeFile(picture, taken);
    expect(consoleErrors).toEqual([]);
    expect(existsSync(picture) && readFileSync(picture).length).toBeLessThan(200_000);
  });
});
