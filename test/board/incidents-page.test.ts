// Tests in Chromium what the board shows beside verdicts: incidents, restrictions, the way of webhooks, and reads in the background.

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IncidentData, Message } from '../../src/alerts/message.ts';
import { createReportWriter } from '../../src/alerts/report.ts';
import { insertIncident } from '../alerts/insert-incident.ts';
import { isChromiumMissing, launchChromium } from '../chromium.ts';
import type { TestTenant } from '../harness.ts';
import { announceRestriction } from './announce.ts';
import { openBoard, serveGateway, type ServedGateway } from './page.ts';

/** Longer than expect.poll waits by itself, for a busy machine. */
const patience = { timeout: 20_000 };
const hostile = '<img src=x onerror="document.title=1"><b>bold</b>';
const appSecret = 'a-secret-of-the-app-0123456789';

/** Lets the page receive other results of an operation than the gateway's. */
async function alter(page: Page, operation: string, change: (data: any) => void): Promise<void> {
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes(` ${operation}`) !== true) return route.fallback();
    const response = await route.fetch();
    const body = (await response.json()) as { readonly data: unknown };
    change(body.data);
    return route.fulfill({ response, json: body });
  });
}

describe.skipIf(isChromiumMissing('incidents on the board'))(
  'the board',
  { tags: ['page'], timeout: 60_000 },
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

    async function addFleet() {
      const tenant = await gateway.addTenant('Acme');
      const first = await tenant.addNumber({ name: 'First' });
      const second = await tenant.addNumber({ name: 'Second' });
      for (const { id } of [first, second]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        expect(await tenant.rest(`/v1/numbers/${id}?refresh=1`)).toMatchObject({ status: 200 });
      }
      const { key: operator } = await tenant.addKey({ name: 'Night shift', scopes: ['operate'] });
      return { tenant, first, second, operator };
    }

    const insert = async (tenant: TestTenant, given: Parameters<typeof insertIncident>[2]) =>
      await insertIncident(gateway.database, tenant.id, given);

    test('lists open incidents at an address of their own, which rows link to', async () => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, ...tenant });
      const { page, consoleErrors } = board;
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      const row = page.locator(`[data-id="${first.id}"]`);
      expect(await row.getByText('incident').count()).toBe(0);

      const id = await insert(tenant, { rule: 'SENDABLE_LOST', subject: first.id });
      await insert(tenant, { rule: 'QUALITY_DROPPED', severity: 'WARNING', closedAt: Date.now() });
      await row.getByRole('link', { name: 'incident' }).click();
      expect(new URL(page.url()).pathname).toBe(`/board/incidents/${id}`);
      await page.getByRole('heading', { name: '1 open incident' }).waitFor();
      const detail = page.getByRole('complementary', { name: 'Incident' });
      expect(await detail.innerText()).toMatch(
        /First[\s\S]*Critical[\s\S]*The number cannot start conversations any more\.[\s\S]*not yet/,
      );
      // The key may read only.
      expect(await detail.getByRole('button', { name: 'Acknowledge' }).count()).toBe(0);
      expect(await page.locator('.sections').innerText()).toMatch(/Numbers\s+Incidents 1/);
      await page.getByRole('button', { name: 'Over' }).click();
      await page.getByRole('heading', { name: '1 incident is over' }).waitFor();
      expect(new URL(page.url()).search).toBe('?state=closed');
      await page.getByRole('link', { name: 'Numbers' }).click();
      await expect.poll(() => board.listNames(), patience).toEqual(['First', 'Second']);
      expect(consoleErrors).toEqual([]);
    });

    test('lets a key that may acknowledge an incident with a note, which others see at once as text', async () => {
      const { tenant, first, operator } = await addFleet();
      const id = await insert(tenant, { rule: 'SENDABLE_LOST', subject: first.id });
      const path = `/board/incidents/${id}`;
      await using board = await openBoard(browser, { ...gateway, key: operator, path });
      await using other = await openBoard(browser, { ...gateway, ...tenant, path });
      await other.page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      const { page } = board;
      await page.getByLabel('Note, if you like').fill(hostile);
      await page.getByRole('button', { name: 'Acknowledge' }).click();
      await page.getByLabel('Another note').waitFor();
      await other.page.getByRole('cell', { name: 'by Night shift' }).waitFor();
      for (const shown of [page, other.page]) {
        // oxlint-disable no-await-in-loop -- one after the other
        const text = await shown.getByRole('complementary', { name: 'Incident' }).innerText();
        expect(text).toContain(hostile);
        expect(text).toMatch(/by Night shift, (now|\d+ s ago)/);
        expect(await shown.locator('#board :is(img, script, b b), #board dd b').count()).toBe(0);
        // oxlint-enable no-await-in-loop
      }
      await page.getByRole('link', { name: 'First' }).last().click();
      expect(new URL(page.url()).pathname).toBe(`/board/numbers/${first.id}`);
      const ofNumber = page.getByRole('complementary', { name: 'Number' });
      await ofNumber.getByText('by Night shift').waitFor();
      expect(await ofNumber.innerText()).toContain(hostile);
      expect(board.consoleErrors).toEqual([]);
    });

    test('opens the incident that an alert links to, also one that is not in the list', async () => {
      const { tenant, first } = await addFleet();
      const over = await insert(tenant, { subject: first.id, closedAt: Date.now() });
      const write = createReportWriter({
        database: gateway.database,
        describeNumbers: async () => new Map(),
        publicUrl: gateway.origin,
      });
      const delivery = { type: 'incident.closed', incidentId: over, changeId: null };
      const content = await write(tenant.id, { ...delivery, createdAt: new Date() });
      const { data } = JSON.parse(content!) as Message<IncidentData>;
      const { pathname } = new URL(data.link!);
      expect(data.link).toBe(`${gateway.origin}/board/incidents/${over}`);
      await using board = await openBoard(browser, { ...gateway, ...tenant, path: pathname });
      const { page } = board;
      await page.getByRole('heading', { name: 'No open incident' }).waitFor();
      const detail = page.getByRole('complementary', { name: 'Incident' });
      await detail.getByRole('heading', { name: 'First' }).waitFor();
      expect(await detail.innerText()).toMatch(/lost its connection[\s\S]*Ended/);
      // Another one whose address is followed while the page is open.
      const later = await insert(tenant, { rule: 'RESTRICTED', closedAt: Date.now() });
      await page.evaluate((id) => {
        history.pushState(null, '', `/board/incidents/${id}`);
        dispatchEvent(new PopStateEvent('popstate'));
      }, later);
      await detail.getByRole('heading', { name: later }).waitFor();
      // It is not read again and again.
      expect(board.count('BoardIncident')).toBeLessThan(6);
      expect(board.consoleErrors).toEqual([]);
    });

    test('shows incidents a page at a time, and says so when there is none', async () => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, {
        ...gateway,
        ...tenant,
        path: '/board/incidents/inc_nobody',
      });
      const { page } = board;
      await page.getByRole('heading', { name: 'No open incident' }).waitFor();
      await page.getByRole('heading', { name: 'No such incident' }).waitFor();
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      for (let at = 0; at < 55; at += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await insert(tenant, { members: [first.id], at: Date.now() - at * 60_000 });
      }
      await page.getByRole('heading', { name: '55 open incidents' }).waitFor();
      await expect.poll(async () => (await board.listNames()).length, patience).toBe(50);
      await page.getByRole('button', { name: 'Show more' }).click();
      await expect.poll(async () => (await board.listNames()).length, patience).toBe(55);
      await page.keyboard.press('j');
      await page.keyboard.press('Enter');
      await page.getByRole('complementary', { name: 'Incident' }).getByText('Critical').waitFor();
      expect(board.count('BoardIncidents')).toBeLessThan(70);
    });

    test('says when incidents or a number cannot be read again, and tries until they can', async () => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, {
        ...gateway,
        ...tenant,
        path: '/board/incidents',
      });
      const { page } = board;
      await page.getByRole('heading', { name: 'No open incident' }).waitFor();
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      let failing = ' BoardIncidents';
      await page.route('**/graphql', (route) =>
        route.request().postData()?.includes(failing) === true ? route.abort() : route.fallback(),
      );
      await insert(tenant, { rule: 'SENDABLE_LOST', subject: first.id });
      const notice = page.getByText('The gateway does not answer. The values below are the last');
      await notice.waitFor();
      failing = ' BoardNumber';
      await page.getByRole('heading', { name: '1 open incident' }).waitFor();
      await notice.waitFor({ state: 'detached' });
      expect(await page.title()).toBe('1 open incident · Acme');

      await page.getByRole('cell', { name: 'First' }).getByRole('link').click();
      const detail = page.getByRole('complementary');
      await detail.getByRole('link', { name: 'First' }).click();
      await detail.getByRole('heading', { name: 'The number cannot be read' }).waitFor();
      failing = 'none';
      await detail.getByRole('heading', { name: 'First' }).waitFor();
      failing = ' BoardNumber';
      await gateway.database.query(`update whatsapp_number set name = 'Renamed' where id = $1`, [
        first.id,
      ]);
      await detail.getByText('The gateway does not answer.').waitFor();
      expect(await detail.getByRole('heading', { name: 'First' }).count()).toBe(1);
      failing = 'none';
      await detail.getByRole('heading', { name: 'Renamed' }).waitFor();
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    });

    test('reads the open number again after a minute, for ages that no event tells', async () => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page } = board;
      // A feed that begins again would have it read too.
      await page.route('**/graphql', (route) =>
        route.request().headers()['accept'] === 'text/event-stream'
          ? route.abort()
          : route.fallback(),
      );
      await page.clock.install();
      await page.evaluate(`sessionStorage.setItem('board.key', '${tenant.key}')`);
      await page.goto(`${gateway.origin}/board/numbers/${first.id}`);
      await page.locator('.detail .fresh').waitFor();
      expect(await tenant.rest(`/v1/numbers/${first.id}?refresh=1`)).toMatchObject({ status: 200 });
      await page.clock.runFor(50_000);
      expect(board.count('BoardNumber')).toBe(1);
      await page.clock.runFor(12_000);
      await expect.poll(() => board.count('BoardNumber'), patience).toBe(2);
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    });

    test("counts down to the end of a restriction, with Meta's advice as text", async () => {
      const { tenant, first } = await addFleet();
      const { id: tenantId } = tenant;
      const { path } = await gateway.gateway.webhooks.add({
        tenantId,
        proof: 'SIGNED',
        appSecrets: [appSecret],
      });
      const endsAt = new Date(Date.now() + (3 * 24 + 4) * 3_600_000 + 50_000);
      await announceRestriction({
        origin: gateway.origin,
        path,
        appSecret,
        wabaId: first.wabaId,
        endsAt,
        remediation: hostile,
      });
      await using board = await openBoard(browser, {
        ...gateway,
        ...tenant,
        path: `/board/numbers/${first.id}`,
      });
      const { page, consoleErrors } = board;
      const ends = page.locator('.countdown');
      const moment = endsAt
        .toUTCString()
        .replace(/^\w+, 0?(\d+ \w+)( \d+) (\d+:\d+):.*/, (_, day, year, time) =>
          endsAt.getUTCFullYear() === new Date().getUTCFullYear()
            ? `${day}, ${time} UTC`
            : `${day}${year}, ${time} UTC`,
        );
      // In the row and in the detail.
      await expect
        .poll(() => ends.allTextContents(), patience)
        .toEqual([`Ends in 3 d 4 h (${moment})`, `Ends in 3 d 4 h (${moment})`]);
      await page.locator('.detail .routing').waitFor();
      const row = await page.locator(`[data-id="${first.id}"]`).innerText();
      expect(row).toContain(hostile);
      const detail = page.locator('.detail');
      expect(await detail.innerText()).toMatch(
        /Restrictions of the account\s+No new conversations/i,
      );
      expect(await detail.locator('img, script').count()).toBe(0);
      // The gateway of the test does not know its own URL.
      expect(await detail.innerText()).toMatch(
        /Webhooks\s+Not known\s+Events have come[^]*Last event\s+Account update, /i,
      );
      expect(consoleErrors).toEqual([]);
      // The clock of the page ticks; responses would tell it the time of the gateway.
      await page.clock.install();
      await page.reload();
      await ends.last().waitFor();
      await page.waitForSelector('.live:not(.lost, .connecting, .paused)');
      await page.waitForSelector('.rows .past:not(.pending)');
      await page.route('**/graphql', (route) => route.abort());
      await page.clock.fastForward((3 * 24 + 3) * 3_600_000);
      await expect
        .poll(() => ends.last().textContent(), patience)
        .toMatch(/^Ends in (1 h|\d+ min) /);
      await page.clock.fastForward(3_600_000 + 60_000);
      await expect.poll(() => ends.last().textContent(), patience).toMatch(/^Has ended /);
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    });

    test.each([
      ['SILENT', 'Silent', 'Subscribe the app to the account'],
      ['MISROUTED', 'Misrouted', 'Meta sends to another URL'],
      ['UNKNOWN', 'Not known', 'nothing shows that anything is missing'],
    ])('says what to do about webhooks: %s', async (verdict, word, help) => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page } = board;
      await alter(page, 'BoardNumber', ({ number }) => {
        number.meta.webhook = {
          verdict,
          actualUrl: `https://other.example/${hostile}`,
          expectedUrl: 'https://numbers.example/webhooks/…',
          lastEventAt: null,
          lastEventField: null,
        };
      });
      await page.evaluate(`sessionStorage.setItem('board.key', '${tenant.key}')`);
      await page.goto(`${gateway.origin}/board/numbers/${first.id}`);
      await page.locator('.routing').waitFor();
      const text = await page.locator('.detail').innerText();
      expect(text).toContain(word);
      expect(text).toContain(help);
      expect(text.includes(hostile)).toBe(verdict !== 'UNKNOWN');
      expect(await page.locator('.detail img').count()).toBe(0);
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    });

    test('says when a number is read next, and which accounts in view are late', async () => {
      const { tenant, first } = await addFleet();
      await using board = await openBoard(browser, { ...gateway, key: null });
      const { page } = board;
      await alter(page, 'BoardFleet', ({ page: { nodes } }) => {
        for (const { health } of nodes) {
          health.freshness.nextSyncAt = new Date(Date.now() + 150_000).toISOString();
        }
      });
      let accounts: readonly object[] = [{ wabaId: '999', state: 'LATE', pausedUntil: null }];
      await alter(page, 'BoardSync', ({ sync }) => (sync.accounts = accounts));
      await page.evaluate(`sessionStorage.setItem('board.key', '${tenant.key}')`);
      await page.reload();
      await page.getByText('next in 2 min').first().waitFor();
      // One of another page or filter.
      expect(await page.locator('.lateness').count()).toBe(0);
      accounts = [{ wabaId: first.wabaId, state: 'LATE', pausedUntil: null }];
      await page.reload();
      await page.getByText(/^Not read on time: .+ \(late\)\./).waitFor();
      await page.getByRole('link', { name: 'Show their numbers' }).click();
      expect(new URL(page.url()).search).toBe(`?account=${first.wabaId}`);
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    });

    test('has all numbers that match read, after it has shown what that costs', async () => {
      const { tenant, operator } = await addFleet();
      await using reading = await openBoard(browser, { ...gateway, ...tenant });
      await reading.page.waitForSelector('.rows .name');
      expect(await reading.page.locator('.refreshing').count()).toBe(0);

      await using board = await openBoard(browser, { ...gateway, key: operator });
      const { page, consoleErrors } = board;
      await page.getByRole('button', { name: 'Have these 2 read' }).click();
      await page.getByText('At most 2 calls and 20 points').waitFor();
      expect(board.count('BoardRefreshNumbers')).toBe(0);
      await page.getByRole('button', { name: 'Cancel' }).click();
      await page.fill('#search', 'First');
      await page.getByRole('button', { name: 'Have it read' }).click();
      await page.getByRole('button', { name: 'Read it' }).click();
      await page.getByText(/^1 will be read, with \d calls?\.$/).waitFor();
      expect(board.count('BoardRefreshNumbers')).toBe(1);
      expect(consoleErrors).toEqual([]);
    });
  },
);
