// Tests the board with the demo's fleet: with axe, in light and dark, and takes the picture of the README. To renew that, run the
// test with UPDATE_PICTURE=1.

import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { openDemo } from '../../src/demo/demo.ts';
import { deriveAppSecret } from '../../src/demo/endpoints.ts';
import { demoTenants, demoWabas } from '../../src/demo/fleet.ts';
import { toWabaId } from '../../src/demo/upstreams.ts';
import { createGateway } from '../../src/gateway.ts';
import { listen } from '../../src/http/server.ts';
import { insertIncident } from '../alerts/insert-incident.ts';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import { openTestDatabase, type TestDatabase } from '../harness.ts';
import { announceRestriction } from './announce.ts';
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

interface State {
  readonly path: string;
  /** A selector of what is there when the page is ready. */
  readonly ready: string;
  readonly size?: BrowserContextOptions;
  readonly isGatewayDown?: boolean;
  readonly key?: () => string;
}

const narrow = { viewport: { width: 820, height: 1_000 } } as const;
/** As if the gateway could not be reached once the page has loaded. */
const downScript = `window.fetch = () => Promise.reject(new TypeError('Failed to fetch'));`;

describe.skipIf(isChromiumMissing('the board'))('the board of the demo', { tags: ['page'] }, () => {
  const made = new AsyncDisposableStack();
  let browser: Browser;
  let origin: string;
  let database: TestDatabase;
  let emptyKey: string;
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
    const empty = await gateway.access.createTenant('Empty');
    const limits = { scopes: ['read'], numberId: null, expiresAt: null } as const;
    emptyKey = (await gateway.access.createKey({ tenantId: empty.id, name: 'Board', ...limits }))
      .key;
    const tenantId = demoTenants.acme.id;
    const [endpoint] = await gateway.webhooks.list(tenantId);
    await announceRestriction({
      origin,
      path: endpoint!.path,
      appSecret: deriveAppSecret(demo.config.apiKeyPepper),
      wabaId: toWabaId(demoWabas.studio),
      endsAt: new Date(Date.now() + 100 * 3_600_000),
      remediation: 'Ask people for their consent before you write to them.',
    });
    // As the job would, which does not run here.
    const studio = { scope: 'ACCOUNT', subject: toWabaId(demoWabas.studio) };
    await insertIncident(database, tenantId, { rule: 'RESTRICTED', ...studio });
    const rows = [
      { rule: 'SENDABLE_LOST', subject: 'wa_acme_hotel' },
      { rule: 'QUALITY_DROPPED', severity: 'WARNING', subject: 'wa_acme_outlet' },
      { rule: 'NAME_DECIDED', severity: 'INFO', subject: 'wa_acme_club', closedAt: Date.now() },
    ];
    // oxlint-disable-next-line no-await-in-loop -- the first is the newest
    for (const row of rows) await insertIncident(database, tenantId, row);
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
    { path: '/board?wall=1', ready: '.wall .rows', size: phone },
    { path: '/board/incidents?wall=1', ready: '.wall .rows' },
    { path: '/board/incidents', ready: '.incidents .name' },
    { path: '/board/incidents', ready: '.incidents .name', size: phone },
    { path: '/board/incidents?state=closed', ready: '.incidents .rows' },
    { path: '/board/incidents/inc_nobody', ready: '.detail .missing' },
    { path: '/board/numbers/wa_acme_studio?q=Est', ready: '.detail .countdown' },
    { path: '/board/numbers/wa_acme_studio', ready: '.detail .countdown', size: phone },
    { path: '/board/numbers/wa_acme_sales?q=vendas', ready: '.detail .pill.YES' },
    { path: '/board?order=name', ready: '.rows .past .GAP', size: narrow },
    { path: '/board', ready: '.empty pre', key: () => emptyKey },
    { path: '/board', ready: '.empty .do', isGatewayDown: true },
    { path: '/board/numbers/wa_acme_outlet', ready: '.detail .missing', isGatewayDown: true },
    { path: '/board/incidents', ready: '.empty .do', isGatewayDown: true },
  ];

  test.each(states)(
    'has nothing that axe finds, in light and dark: $path',
    async ({ path, ready, size = wide, isGatewayDown = false, key = () => null }) => {
      // Without motion the colours change at once.
      const context = { ...size, colorScheme: 'light', reducedMotion: 'reduce' } as const;
      await using board = await openBoard(browser, {
        origin,
        key: key(),
        path,
        context,
        ...(isGatewayDown && { script: downScript }),
      });
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

  test('has nothing that axe finds in an open incident', async () => {
    await using board = await openBoard(browser, { origin, key: null, path: '/board/incidents' });
    const { page } = board;
    await page.locator('.incidents .name').first().click();
    await page.getByRole('button', { name: 'Acknowledge' }).waitFor();
    expect(await findProblems(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    expect(await findProblems(page, colorRules)).toEqual([]);
    await page.goto(`${origin}/board?verdict=NO`);
    await page.locator('.refreshing .link').click();
    await page.getByText('At most').waitFor();
    expect(await findProblems(page)).toEqual([]);
  });

  test('is light on paper, as a table with the time, although the scheme is dark', async () => {
    const context = { viewport: { width: 717, height: 1_000 }, colorScheme: 'dark' } as const;
    await using board = await openBoard(browser, { origin, key: null, context });
    const { page } = board;
    await page.waitForSelector('.rows .name');
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(
      'rgb(252, 252, 251)',
    );
    expect(await page.getByText(/^As of \d/).isVisible()).toBe(true);
    expect(await page.getByRole('columnheader', { name: 'Why, and what to do' }).isVisible()).toBe(
      true,
    );
    expect(await page.locator('.filters').isVisible()).toBe(false);
  });

  test('shows rows as a whole on a wall, where nobody scrolls', async () => {
    await using board = await openBoard(browser, { origin, key: null, path: '/board?wall=1' });
    const { page } = board;
    await page.waitForSelector('.rows .past .GAP', { state: 'attached' });
    const [shown, cut, below] = (await page.evaluate(`(() => {
      const boxes = [...document.querySelectorAll('.row.body')].map((row) => row.getBoundingClientRect());
      const shown = boxes.filter(({ left }) => left < innerWidth);
      return [
        shown.length,
        shown.filter(({ bottom }) => bottom > innerHeight).length,
        document.documentElement.scrollHeight - innerHeight,
      ];
    })()`)) as number[];
    expect(shown).toBeGreaterThan(3);
    expect([cut, below]).toEqual([0, 0]);
  });

  test('is what the picture of the README shows', async () => {
    const context = { viewport: { width: 1_280, height: 800 }, colorScheme: 'light' } as const;
    const path = '/board/numbers/wa_acme_hotel?verdict=NO';
    await using board = await openBoard(browser, { origin, key: null, path, context });
    const { page, consoleErrors } = board;
    await page.locator('.detail .changes').waitFor();
    await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
    await expect
      .poll(() => page.locator('.row .past .YES').count(), { timeout: 20_000 })
      .toBeGreaterThan(5);
    const taken = await page.screenshot();
    if (process.env['UPDATE_PICTURE'] === '1') await writeFile(picture, taken);
    expect(consoleErrors).toEqual([]);
    expect(existsSync(picture) && readFileSync(picture).length).toBeLessThan(200_000);
  });
});
