// Tests the GraphiQL page, in a headless Chromium if this machine has one.

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { demoNumbers } from '../../src/demo/fleet.ts';
import type { Gateway } from '../../src/gateway.ts';
import { exampleId } from '../../src/graphql/graphiql.ts';
import { listen } from '../../src/http/server.ts';
import {
  isChromiumMissing,
  launchChromium,
  openWatchedPage,
  type WatchedPage,
} from '../chromium.ts';
import { openTestGateway } from '../harness.ts';

interface OpenPage extends WatchedPage {
  readonly origin: string;
  /** Of a tenant with one number. */
  readonly key: string;
  /** Creates a key in place of `key`, which ends at once. */
  rotateKey(): Promise<string>;
  /** Of the one number. */
  rename(name: string): Promise<unknown>;
  readonly streams: Gateway['streams'];
}

const run = '.graphiql-execute-button';
const response = '.graphiql-response';
const headerEditor = '.graphiql-editor-tool >> .view-lines >> visible=true';

const tabButton = '.graphiql-tab-button';
const examples = ['Health', 'Detail', 'Refresh', 'List', 'Fleet'];

/** Presses a tab as a person does: it may move while it is pressed. Its document is in the address once GraphiQL has loaded it. */
async function openTab(page: Page, tab: string): Promise<void> {
  await page.locator(tabButton).getByText(tab).click({ delay: 100 });
  await page.waitForURL((url) => url.searchParams.get('query')?.includes(`query ${tab}`) === true);
}

/** Replaces the headers. The editor adds the closing quotes and braces. */
async function typeHeaders(page: Page, text: string): Promise<void> {
  await page.click(headerEditor);
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.press('Delete');
  await page.keyboard.type(text);
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

async function measure(page: Page, selector: string): Promise<Box> {
  const box = await page.locator(selector).boundingBox();
  if (box === null) throw new Error(`${selector} is not visible.`);
  return box;
}

/** Where the result is, seen from the editors. */
async function readLayout(page: Page): Promise<'beside' | 'below' | 'elsewhere'> {
  const editors = await measure(page, '.graphiql-editors');
  const result = await measure(page, response);
  if (result.y >= editors.y + editors.height) return 'below';
  return result.x >= editors.x + editors.width ? 'beside' : 'elsewhere';
}

const buttons =
  '.graphiql-sidebar button, .graphiql-tab-button, .graphiql-tab-add, .graphiql-toolbar button, .graphiql-editor-tools button';

/** Labels of the buttons that a person cannot press at their centre, because they are outside of the window or covered. */
async function findUnreachable(page: Page, selector: string): Promise<string[]> {
  const found = await page.locator(selector).all();
  const reachable = await Promise.all(
    found.map((it) =>
      it.click({ trial: true, timeout: 2_000 }).then(
        () => true,
        () => false,
      ),
    ),
  );
  const labels = await Promise.all(
    found.map(async (it) => (await it.getAttribute('aria-label')) ?? (await it.innerText())),
  );
  return labels.filter((_, index) => reachable[index] !== true);
}

const wide = { viewport: { width: 1_400, height: 900 } };
const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

describe.skipIf(isChromiumMissing('GraphiQL'))(
  'GraphiQL',
  { tags: ['page'], timeout: 60_000 },
  () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await launchChromium();
    });
    afterAll(() => browser.close());

    interface PageOptions {
      /** Whether the page contains a key, as in the demo. */
      readonly hasKey: boolean;
      readonly window?: Parameters<Browser['newContext']>[0];
    }

    /** Opens the page of a gateway of its own. */
    async function openPage({ hasKey, window = wide }: PageOptions): Promise<OpenPage> {
      const made = new AsyncDisposableStack();
      const key = createKey();
      const gateway = made.use(
        await openTestGateway(hasKey ? { graphiqlKeys: { tenant: key, fleet: key } } : {}),
      );
      const { id: tenantId, addNumber } = await gateway.addTenant();
      await addNumber({ name: 'Acme Vendas' });
      const { id: keyId } = await gateway.access.createKey({
        tenantId,
        name: 'Page',
        numberId: null,
        expiresAt: null,
        key,
      });
      const server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
      made.defer(() => server.drain());
      const { page, urls, consoleErrors } = made.use(await openWatchedPage(browser, window));
      await page.goto(`${server.url}/graphql`);
      await page.waitForSelector(run);
      return {
        page,
        urls,
        consoleErrors,
        origin: server.url,
        key,
        rotateKey: async () => (await gateway.access.rotateKey(keyId, 0)).key,
        rename: (name) =>
          gateway.database.query('update whatsapp_number set name = $1 where tenant_id = $2', [
            name,
            tenantId,
          ]),
        streams: gateway.gateway.streams,
        [Symbol.asyncDispose]: () => made.disposeAsync(),
      };
    }

    test('opens ready to show the health, and requests nothing from other hosts', async () => {
      await using opened = await openPage({ hasKey: true });
      const { page, urls, consoleErrors, origin } = opened;
      const replied = page.waitForResponse(
        (reply) => reply.request().postData()?.includes('query Health') === true,
      );

      await page.click(run);

      const { data } = (await (await replied).json()) as { data: { numbers: object[] } };
      expect(data.numbers[0]).toMatchObject({
        name: 'Acme Vendas',
        health: { sendability: { verdict: 'UNKNOWN' }, freshness: null },
        meta: null,
      });
      await page.waitForSelector(`${response} >> text=verdict`);
      const hosts = new Set(urls.map((url) => url.replace(/^blob:/, '').slice(0, origin.length)));
      expect([...hosts]).toEqual([origin]);
      expect(consoleErrors).toEqual([]);
    });

    test('completes the names of fields', async () => {
      await using opened = await openPage({ hasKey: true });
      const { page } = opened;
      await page.click('.graphiql-query-editor >> text=state');
      await page.keyboard.press('End');
      await page.keyboard.press('Enter');

      await page.keyboard.type('upd');

      // It is visible then. It may be replaced by another element with the same text at once.
      expect(await page.waitForSelector('.suggest-widget >> text=updatedAt')).not.toBeNull();
    });

    test('runs a subscription, shows the events as they come, and stops it', async () => {
      await using opened = await openPage({ hasKey: true });
      const { page, streams, consoleErrors } = opened;
      await page.click('.graphiql-query-editor .view-lines');
      await page.keyboard.press('ControlOrMeta+A');
      await page.keyboard.press('Delete');
      await page.keyboard.insertText(
        'subscription Live { changes { caughtUp changes { newValue } } }',
      );
      await page.waitForURL((url) => url.searchParams.get('query')?.startsWith('sub') === true);

      await page.click(run);
      await page.waitForSelector(`${response} >> text=caughtUp`);
      expect(streams.count).toBe(1);
      await opened.rename('Acme Nova');
      await page.waitForSelector(`${response} >> text=Acme Nova`);
      await page.click(run);

      await expect.poll(() => streams.count).toBe(0);
      expect(consoleErrors).toEqual([]);
    });

    test.each([
      ['1,400 pixels', 'beside', wide],
      ['390 pixels', 'below', phone],
    ])(
      'at %s, runs the query of each tab that is pressed and shows the result %s it',
      async (_, position, window) => {
        await using opened = await openPage({ hasKey: true, window });
        const { page, consoleErrors } = opened;
        expect(await page.locator(tabButton).allTextContents()).toEqual(examples);
        // The number of the examples exists only in the demo.
        const expected = {
          Detail: 'NUMBER_NOT_FOUND',
          Refresh: 'NUMBER_NOT_FOUND',
          List: 'isFullyConnected',
          Fleet: 'totalCount',
          Health: 'Acme Vendas',
        };
        for (const [tab, text] of Object.entries(expected)) {
          // oxlint-disable-next-line no-await-in-loop -- one tab after the other
          await openTab(page, tab);
          // oxlint-disable-next-line no-await-in-loop -- see above
          await page.click(run);
          // oxlint-disable-next-line no-await-in-loop -- see above
          await page.waitForSelector(`${response} >> text=${text}`);
        }

        // Pressing a tab does not move it.
        expect(await page.locator(tabButton).allTextContents()).toEqual(examples);
        expect(consoleErrors).toEqual([]);
        expect(await readLayout(page)).toBe(position);
        const { width, height } = await measure(page, response);
        expect(width).toBeGreaterThan(340);
        expect(height).toBeGreaterThan(300);
        // A value that fits on a line is not wrapped.
        const line = await measure(page, `${response} >> .view-line:has-text("Acme Vendas")`);
        expect(line.height).toBeLessThan(30);
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(
          window.viewport.width,
        );
        expect(await findUnreachable(page, buttons)).toEqual([]);
      },
    );

    test('arranges the panes again when the width of the window changes', async () => {
      await using opened = await openPage({ hasKey: true });
      const { page } = opened;

      await page.setViewportSize(phone.viewport);
      await expect.poll(() => readLayout(page)).toBe('below');
      await page.click(run);
      await page.waitForSelector(`${response} >> text=Acme Vendas`);
      await page.setViewportSize(wide.viewport);

      await expect.poll(() => readLayout(page)).toBe('beside');
      const editors = await measure(page, '.graphiql-editors');
      expect((await measure(page, response)).width).toBe(editors.width);
    });

    test('uses a key that is typed in one tab to load the schema and in every tab', async () => {
      await using opened = await openPage({ hasKey: false });
      const { page, urls, key } = opened;
      await page.waitForSelector(`${response} >> text=UNAUTHENTICATED`);
      const introspected = page.waitForResponse(
        (reply) =>
          reply.ok() && reply.request().postData()?.includes('IntrospectionQuery') === true,
      );

      await typeHeaders(page, `{"x-api-key": "${key}`);
      await page.click(run);
      await page.waitForSelector(`${response} >> text=Acme Vendas`);
      await introspected;

      await openTab(page, 'List');
      await page.click(run);
      await page.waitForSelector(`${response} >> text=isFullyConnected`);
      const stored = await page.evaluate('JSON.stringify([localStorage, sessionStorage])');
      expect(stored).not.toContain(key);
      expect(urls.join(' ')).not.toContain(key);
      expect(page.url()).not.toContain(key);
    });

    test('says what to do about a wrong, empty or missing key, and works with the next one', async () => {
      await using opened = await openPage({ hasKey: true, window: phone });
      const { page, key } = opened;
      for (const headers of ['{"x-api-key": "ps_wrong', '{"x-api-key": "', '']) {
        const replied = page.waitForResponse((reply) => reply.status() === 401);
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await typeHeaders(page, headers);
        // oxlint-disable-next-line no-await-in-loop -- see above
        await page.click(run);
        // oxlint-disable-next-line no-await-in-loop -- see above
        const { errors } = (await (await replied).json()) as {
          errors: [{ extensions: { requestId: string } }];
        };
        const { requestId } = errors[0].extensions;
        // The page shows the response to this request. It wraps long values.
        // oxlint-disable-next-line no-await-in-loop -- see above
        await page.waitForSelector(`${response} >> text=${requestId.slice(0, 8)}`);
        // oxlint-disable-next-line no-await-in-loop -- see above
        const text = await page.locator(response).innerText();
        expect(text.replaceAll(/\s+/g, ' ')).toContain('Send a valid API key');
      }

      await typeHeaders(page, `{"x-api-key": "${key}`);
      await page.click(run);
      await page.waitForSelector(`${response} >> text=Acme Vendas`);
    });

    test('opens the examples again after a reload, with the query of the address in the first tab', async () => {
      await using opened = await openPage({ hasKey: true });
      const { page, consoleErrors } = opened;

      await page.reload();
      await page.waitForSelector(run);
      expect(await page.locator(tabButton).allTextContents()).toEqual(examples);
      await page.click(run);
      await page.waitForSelector(`${response} >> text=verdict`);

      const query = encodeURIComponent('query Mine { numbers { isFullyConnected } }');
      await page.goto(`${opened.origin}/graphql?query=${query}`);
      await page.waitForSelector(run);
      expect(await page.locator(tabButton).count()).toBe(examples.length);
      await page.click(run);
      await page.waitForSelector(`${response} >> text=isFullyConnected`);
      await openTab(page, 'Detail');
      await page.click(run);
      await page.waitForSelector(`${response} >> text=NUMBER_NOT_FOUND`);
      expect(consoleErrors).toEqual([]);
    });

    test('uses the last key that worked in the other tabs', async () => {
      await using opened = await openPage({ hasKey: false });
      const { page, key, rotateKey } = opened;
      await page.waitForSelector(`${response} >> text=UNAUTHENTICATED`);
      await typeHeaders(page, `{"x-api-key": "${key}`);
      await page.click(run);
      await page.waitForSelector(`${response} >> text=Acme Vendas`);

      await typeHeaders(page, `{"x-api-key": "${await rotateKey()}`);
      const replied = page.waitForResponse((reply) => reply.url().endsWith('/graphql'));
      await page.click(run);
      expect((await replied).status()).toBe(200);

      await openTab(page, 'List');
      await page.click(run);
      await page.waitForSelector(`${response} >> text=isFullyConnected`);
    });
  },
);

test('the number of the examples exists in the demo', () => {
  expect(Object.keys(demoNumbers)).toContain(exampleId);
});
