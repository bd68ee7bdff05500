// Tests the board in a headless Chromium, if this machine has one.

import type { Browser, Route } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import { openTestDatabase, type TestNumber, type TestTenant, toHealthyPhone } from '../harness.ts';
import { addLargeFleet } from '../fleet/large-fleet.ts';
import { openBoard, phone, serveGateway, type ServedGateway } from './page.ts';

/** Longer than expect.poll waits by itself, for a busy machine. */
const patience = { timeout: 20_000 };

const sentence = '.summary h1';
const firstName = '.rows .name';

/** Reads a number live, as another caller. */
async function read(tenant: TestTenant, id: string): Promise<void> {
  expect(await tenant.rest(`/v1/numbers/${id}?refresh=1`)).toMatchObject({ status: 200 });
}

/** Those that read the fleet. */
const fleetOperations = ['BoardFleet', 'BoardCauses'] as const;

const isOfFeed = (route: Route): boolean =>
  route.request().headers()['accept'] === 'text/event-stream';

/** For pages whose clock the test moves: by the header `date` the board would move it back. */
async function continueWithoutDate(route: Route): Promise<void> {
  const response = await route.fetch();
  const { date: _, ...headers } = response.headers();
  await route.fulfill({ response, headers });
}

describe.skipIf(isChromiumMissing('the board'))(
  'the board',
  { tags: ['page'], timeout: 120_000 },
  () => {
    let browser: Browser;
    let gateway: ServedGateway;
    beforeAll(async () => {
      browser = await launchChromium();
      gateway = await serveGateway();
    });
    afterAll(async () => {
      await browser?.close();
      await gateway?.[Symbol.asyncDispose]();
    });

    interface Fleet {
      readonly tenant: TestTenant;
      readonly banned: TestNumber;
      readonly healthy: TestNumber;
      readonly fresh: TestNumber;
    }

    /** Three numbers: one that cannot send, one that can, and one that was never read. */
    async function addFleet(to: ServedGateway = gateway): Promise<Fleet> {
      const tenant = await to.addTenant('Acme');
      const healthy = await tenant.addNumber({ name: 'Healthy' });
      const banned = await tenant.addNumber({
        name: 'Outlet',
        phone: { status: 'BANNED', quality_rating: 'RED' },
      });
      const fresh = await tenant.addNumber({ name: 'New' });
      await read(tenant, healthy.id);
      await read(tenant, banned.id);
      return { tenant, banned, healthy, fresh };
    }

    async function ban(
      tenant: TestTenant,
      { id, phoneNumberId, wabaId }: TestNumber,
      to = gateway,
    ) {
      to.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, { status: 'BANNED' }));
      await read(tenant, id);
    }

    test('says how the fleet is, and shows the worst number first with what to do', async () => {
      const { tenant, banned } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page, urls, consoleErrors } = board;
      await page.waitForSelector(firstName);

      expect(await page.locator(sentence).innerText()).toBe(
        '1 of 3 can send · 1 cannot, 1 unknown',
      );
      expect(await page.title()).toBe('1 cannot send · Acme');
      expect(await page.getAttribute('link[rel="icon"]', 'href')).toContain('%23b3261e');
      expect(await board.listNames()).toEqual(['Outlet', 'New', 'Healthy']);
      const row = page.locator(`[data-id="${banned.id}"]`);
      expect(await row.innerText()).toMatch(
        /Cannot send[\s\S]*Meta has banned the number\.[\s\S]*Appeal in[\s\S]*Red[\s\S]*Banned[\s\S]*2K/,
      );
      await page.waitForSelector(`[data-id="${banned.id}"] .past .NO`);
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');

      const hosts = new Set(
        urls.filter((url) => !url.startsWith('data:')).map((url) => new URL(url).origin),
      );
      expect([...hosts]).toEqual([gateway.origin]);
      expect(consoleErrors).toEqual([]);
    });

    test('has chips with counts, several at once, in an address that others can open', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page } = board;
      const chip = (name: string) => page.getByRole('button', { name });
      await page.waitForSelector(firstName);
      expect(await page.locator('.chip b').allTextContents()).toEqual(
        '1 1 1 1 0 1 0 1 0'.split(' '),
      );

      await chip('Cannot send').click();
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet']);
      await chip('Can send').click();
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet', 'Healthy']);
      await chip('Red').click();
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet']);
      expect(new URL(page.url()).search).toBe('?verdict=NO,YES&quality=RED');

      await using other = await openBoard(browser, {
        ...gateway,
        ...tenant,
        path: new URL(page.url()).pathname + new URL(page.url()).search,
      });
      await other.page.waitForSelector(firstName);
      expect(await other.listNames()).toEqual(['Outlet']);
      expect(await other.page.locator('.chip[aria-pressed="true"]').count()).toBe(3);

      await page.goBack();
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet', 'Healthy']);
      await page.fill('#search', 'nobody');
      await page.getByRole('heading', { name: 'No number matches' }).waitFor();
      // A count of 0 stays.
      expect(await chip('Unknown').getAttribute('class')).toContain('zero');
      await page.getByRole('button', { name: 'Clear filters' }).last().click();
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet', 'New', 'Healthy']);
    });

    test('shows everything about a number at an address of its own, and reads it when asked', async () => {
      const { tenant, banned } = await addFleet();
      const path = `/board/numbers/${banned.id}`;
      await using board = await openBoard(browser, { ...gateway, ...tenant, path });
      const { page } = board;
      const detail = page.locator('.detail');
      await page.getByRole('heading', { name: 'Outlet' }).waitFor();

      const text = await detail.innerText();
      expect(text).toMatch(/Cannot send, cannot reply[\s\S]*Why[\s\S]*Meta has banned the number/);
      expect(text).toMatch(/How fresh[\s\S]*Profile[\s\S]*Thirty days · could send 0 % of/);
      const link = await page.getByRole('link', { name: 'WhatsApp Manager' }).getAttribute('href');
      expect(link).toBe(
        `https://business.facebook.com/wa/manage/phone-numbers/?waba_id=${banned.wabaId}`,
      );
      gateway.simulator.setPhone(
        toHealthyPhone(banned.phoneNumberId, banned.wabaId, { quality_rating: 'YELLOW' }),
      );
      await page.getByRole('button', { name: 'Read now 3 calls' }).click();

      await detail.getByText('Read: 3 calls, 32 points.').waitFor();
      await detail.getByText('Can send, can reply').waitFor();
      await detail.getByText('Status BANNED → CONNECTED').waitFor();
      // The list follows by the feed.
      await expect
        .poll(() => page.locator(sentence).innerText(), patience)
        .toBe('2 of 3 can send · 1 unknown');
      await page.keyboard.press('Escape');
      expect(new URL(page.url()).pathname).toBe('/board');
      expect(await detail.count()).toBe(0);
    });

    test('labels and mutes numbers with a key that may, and filters and groups by labels', async () => {
      const { tenant, healthy } = await addFleet();
      const path = `/board/numbers/${healthy.id}`;
      await using reading = await openBoard(browser, { ...gateway, ...tenant, path });
      await reading.page.getByRole('button', { name: 'Read now' }).waitFor();
      expect(await reading.page.getByText('Alerts and labels').count()).toBe(0);

      const { key } = await tenant.addKey({ scopes: ['operate'] });
      await using board = await openBoard(browser, { ...gateway, key, path });
      const { page, consoleErrors } = board;
      await page.fill('#labels', 'team=ops, city=recife');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.locator(`[data-id="${healthy.id}"]`).getByText('city=recife').waitFor();
      await page.getByRole('button', { name: '8 hours' }).click();
      await page.getByRole('button', { name: 'Unmute' }).waitFor();
      await page.locator(`[data-id="${healthy.id}"]`).getByText('muted').waitFor();
      await page.getByLabel('Groups').selectOption('label:team');
      await page.getByText('No label team').waitFor();
      await page.getByLabel('Labels', { exact: true }).first().selectOption('team=ops');
      await expect.poll(() => board.listNames(), patience).toEqual(['Healthy']);
      await page.fill('#labels', 'team=');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.locator('.problem').waitFor();
      expect(new URL(page.url()).search).toBe('?label=team=ops&group=label:team');
      expect(consoleErrors).toEqual([]);
    });

    test('says so at the address of a number that does not exist', async () => {
      const { tenant } = await addFleet();
      const path = '/board/numbers/wa_nobody';
      await using board = await openBoard(browser, { ...gateway, ...tenant, path });
      await board.page.getByRole('heading', { name: 'No such number' }).waitFor();
      await board.page.waitForSelector(firstName);
      expect(await board.listNames()).toHaveLength(3);
    });

    test('is operated with the keyboard', async () => {
      const { tenant, fresh } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page } = board;
      await page.waitForSelector(firstName);

      for (const key of ['j', 'j', 'k', 'j']) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await page.keyboard.press(key);
      }
      await page.keyboard.press('Enter');
      await page.waitForURL(`**/board/numbers/${fresh.id}`);
      await page.getByRole('button', { name: 'Read now' }).waitFor();
      await page.keyboard.press('r');
      await page.getByText('Read: 3 calls, 32 points.').waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('?');
      await page.getByRole('dialog').waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('/');
      await page.keyboard.type('outl');
      await expect.poll(() => board.listNames(), patience).toEqual(['Outlet']);
    });

    test('follows the feed, with at most one query a second, and none for what it does not show', async () => {
      const { tenant, healthy } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');

      await ban(tenant, healthy);
      await expect.poll(() => page.locator(sentence).innerText(), patience).toContain('2 cannot');
      for (let at = 0; at < 20; at += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await gateway.database.query('update whatsapp_number set name = $2 where id = $1', [
          healthy.id,
          `Name ${at}`,
        ]);
      }
      await expect.poll(() => board.listNames(), patience).toContain('Name 19');
      expect(Math.min(...board.listIntervals(...fleetOperations))).toBeGreaterThan(900);

      const quiet = board.count('BoardFleet');
      const { phoneNumberId, wabaId, id } = healthy;
      const fields = { status: 'BANNED', is_pin_enabled: false };
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields, { about: 'Other' }));
      await read(tenant, id);
      await ban(tenant, healthy);
      await page.getByRole('button', { name: 'Red' }).click();
      await expect.poll(() => board.count('BoardFleet'), patience).toBe(quiet + 1);
    });

    test('asks for a key that is refused or revoked again, keeps it in the tab, and puts it in no address', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page, urls } = board;
      const enter = async (key: string) => {
        await page.fill('#key', key);
        await page.keyboard.press('Enter');
      };
      await enter('ps_wrong');
      await page.getByText('The last key was refused:').waitFor();
      expect(await page.inputValue('#key')).toBe('');
      await enter(tenant.key);
      await page.waitForSelector(firstName);
      await page.reload();
      await page.waitForSelector(firstName);
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      expect(await page.evaluate('JSON.stringify([{...localStorage}, document.cookie])')).toBe(
        '[{},""]',
      );

      await gateway.access.revokeKey(tenant.keyId);
      await page.getByText('The last key was refused:').waitFor();
      expect(await page.locator('.rows').count()).toBe(0);
      const { key } = await tenant.addKey();
      await enter(key);
      await page.waitForSelector(firstName);
      expect(urls.join(' ')).not.toContain('ps_');
    });

    test('shows hostile names as they are', async () => {
      const tenant = await gateway.addTenant('<script>alert(1)</script>');
      const hostile =
        '<img src=x onerror="document.title=1">"\'&lt;\u202Egnp.exe ' + 'W'.repeat(90);
      const { id } = await tenant.addNumber({
        name: hostile,
        phone: {
          verified_name: '<b>bold</b>',
          quality_rating: '<i>',
          status: 'javascript:alert(1)',
        },
        waba: { name: '</option><script>1</script>' },
      });
      await tenant.addNumber({ name: 'Other' });
      await read(tenant, id);
      const path = `/board/numbers/${id}?group=account`;
      await using board = await openBoard(browser, { ...gateway, ...tenant, path });
      const { page, consoleErrors } = board;
      await page.locator('.detail .changes').waitFor();

      expect(await board.listNames()).toContain(hostile);
      const injected = '#board :is(script, img, b b, i i, iframe, object), #board [onerror]';
      expect(await page.locator(injected).count()).toBe(0);
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
      expect(consoleErrors).toEqual([]);
      await using narrow = await openBoard(browser, { ...gateway, ...tenant, context: phone });
      await narrow.page.waitForSelector(firstName);
      expect(await narrow.page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    });

    test('helps when there are no numbers', async () => {
      const tenant = await gateway.addTenant();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page } = board;
      await page.getByRole('heading', { name: 'No numbers yet' }).waitFor();
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      await tenant.addNumber({ name: 'First' });
      await expect.poll(() => board.listNames(), patience).toEqual(['First']);
    });

    test('closes its stream while it is hidden, and continues where it was', async () => {
      const { tenant, healthy } = await addFleet();
      const script = `let state = 'visible';
      Object.defineProperty(document, 'visibilityState', { get: () => state });
      window.setVisibility = (next) => { state = next; document.dispatchEvent(new Event('visibilitychange')); };`;
      await using board = await openBoard(browser, { ...gateway, ...tenant, script });
      const { page } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      const { streams } = gateway.gateway;
      expect(streams.count).toBe(1);

      await page.evaluate(`setVisibility('hidden')`);
      await expect.poll(() => streams.count, patience).toBe(0);
      await ban(tenant, healthy);
      await page.evaluate(`setVisibility('visible')`);
      await expect.poll(() => page.locator(sentence).innerText(), patience).toContain('2 cannot');
      await expect.poll(() => streams.count, patience).toBe(1);
    });

    test('says since when it is not live, keeps what it shows, and is live again by itself', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null, path: '/board' });
      const { page } = board;
      await page.route('**/graphql', (route) =>
        isOfFeed(route) ? route.continue() : continueWithoutDate(route),
      );
      await page.clock.install();
      await page.reload();
      await page.fill('#key', tenant.key);
      await page.keyboard.press('Enter');
      await page.clock.runFor(2_000);
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      await page.route('**/graphql', (route) => route.abort());
      await page.clock.runFor(40_000);

      await page.getByText(/^Not live since \d\d:\d\d:\d\d\./).waitFor();
      expect(await page.title()).toMatch(/^Not live · /);
      expect(await board.listNames()).toHaveLength(3);
      await page.unroute('**/graphql');
      await page.clock.runFor(60_000);
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      await page.getByText('Not live').waitFor({ state: 'detached' });
    });

    test('says that it is not live when the feed is never reached', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page } = board;
      await page.route('**/graphql', async (route) => {
        if (isOfFeed(route)) await route.fulfill({ status: 502 });
        else await continueWithoutDate(route);
      });
      await page.clock.install();
      await page.reload();
      await page.fill('#key', tenant.key);
      await page.keyboard.press('Enter');
      await page.clock.runFor(2_000);
      await page.waitForSelector(firstName);
      expect(await page.getByText('Not live').count()).toBe(0);
      await page.clock.runFor(40_000);
      await page.getByText(/^Not live since \d\d:\d\d:\d\d\./).waitFor();
    });

    test('continues by itself after the gateway was restarted, and misses nothing', async () => {
      await using database = await openTestDatabase('PostgreSQL');
      const environment = {
        API_KEY_PEPPER: 'p'.repeat(40),
        ENCRYPTION_KEYS: `k:${Buffer.alloc(32, 1).toString('base64')}`,
      };
      const options = { database, environment };
      let stop = await serveGateway(options);
      const { origin } = stop;
      const { tenant, healthy } = await addFleet(stop);
      await using board = await openBoard(browser, { origin, key: tenant.key });
      const { page } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');

      await stop[Symbol.asyncDispose]();
      await page.waitForSelector('.live.lost');
      await database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        healthy.id,
      ]);
      stop = await serveGateway(options, origin);
      try {
        await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
        await expect.poll(() => board.listNames(), patience).toContain('Renamed');
      } finally {
        await stop[Symbol.asyncDispose]();
      }
    });

    test('shows the first row of a fleet of 5,000 numbers, a page at a time', async () => {
      const tenant = await gateway.addTenant();
      await addLargeFleet(gateway.database, { tenantId: tenant.id, numbers: 5_000 });
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page } = board;
      await page.waitForSelector(firstName);
      // More than one page of numbers cannot send.
      await expect.poll(() => board.count('BoardCauses'), patience).toBeGreaterThan(1);
      await page.waitForSelector('.past:not(.pending)');
      expect(Math.min(...board.listIntervals(...fleetOperations))).toBeGreaterThan(900);
      const times: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        // oxlint-disable-next-line no-await-in-loop -- what the page has asked for before takes the gateway's time
        await page.waitForSelector('.past:not(.pending)');
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await page.reload();
        // oxlint-disable-next-line no-await-in-loop -- see above
        await page.waitForSelector(firstName);
        // oxlint-disable-next-line no-await-in-loop -- see above
        times.push(Math.round((await page.evaluate('performance.now()')) as number));
      }
      console.info(`first row of 5,000 numbers, in ms: ${times.join(', ')}`);
      expect(await page.locator(sentence).innerText()).toContain('of 5,000 can send');
      expect(await page.locator(firstName).count()).toBe(100);
      await page.getByRole('button', { name: 'Next' }).click();
      await page.getByText(/^100 of 5,000, as of/).waitFor();
      await page.getByRole('button', { name: 'Previous' }).click();
      await page.getByText(/^100 of 5,000$/).waitFor();
    });

    test('asks for the fleet before most of its modules have come, and once', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant, path: '/livez' });
      const { page } = board;
      const release = Promise.withResolvers<void>();
      await page.route(/main\.ts$/, async (route) => {
        await release.promise;
        await route.continue();
      });
      await page.goto(`${gateway.origin}/board?verdict=NO,YES`, { waitUntil: 'commit' });
      await expect.poll(() => board.count('BoardFleet'), patience).toBe(1);
      release.resolve();
      await page.waitForSelector(firstName);
      expect(await board.listNames()).toEqual(['Outlet', 'Healthy']);
      expect(await page.locator(sentence).innerText()).toContain('1 of 3 can send');
      expect(board.count('BoardFleet')).toBe(1);
    });

    test('does not seem silent while it learns that the clock of the browser is an hour ahead', async () => {
      const { tenant } = await addFleet();
      const script = `const { now } = Date;
      Date.now = () => now() + 3_600_000;
      window.notices = [];
      new MutationObserver(() => {
        const text = document.querySelector('.notice')?.textContent;
        if (text) window.notices.push(text);
      }).observe(document, { childList: true, subtree: true });`;
      await using board = await openBoard(browser, { ...gateway, ...tenant, script });
      const { page } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      await page.waitForSelector('.past:not(.pending)');
      expect(await page.evaluate('window.notices')).toEqual([]);
    });

    test('says what is wrong when the first query fails, and tries again', async () => {
      const { tenant } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page } = board;
      await page.route('**/graphql', (route) => route.abort());
      await page.fill('#key', tenant.key);
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'The fleet cannot be read' }).waitFor();
      await page.unroute('**/graphql');
      await page.getByRole('button', { name: 'Try now' }).click();
      await page.waitForSelector(firstName);
      expect(await board.listNames()).toHaveLength(3);
    });
  },
);
