// Tests the GraphiQL page, in a headless Chromium if this machine has one.

import { existsSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { demoNumbers } from '../../src/demo/fleet.ts';
import { exampleId } from '../../src/graphql/graphiql.ts';
import { listen } from '../../src/http/server.ts';
import { openTestGateway } from '../harness.ts';

const executablePath = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
].find((path) => existsSync(path));
if (executablePath === undefined) {
  console.warn('SKIPPED: no Chromium was found on this machine, so GraphiQL was not tested.');
}

interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** What the page requested, in order. */
  readonly urls: readonly string[];
  /** Errors in the console of the browser. */
  readonly consoleErrors: readonly string[];
  readonly origin: string;
  /** Of a tenant with one number. */
  readonly key: string;
}

const run = '.graphiql-execute-button';
const response = '.graphiql-response';
const headerEditor = '.graphiql-editor-tool >> .view-lines >> visible=true';

/** Opens a tab. Its document is in the address once GraphiQL has loaded it. */
async function openTab(page: Page, tab: string): Promise<void> {
  await page.locator('.graphiql-tab-button').getByText(tab).press('Enter');
  await page.waitForURL((url) => url.searchParams.get('query')?.includes(`query ${tab}`) === true);
}

describe.skipIf(executablePath === undefined)('GraphiQL', { timeout: 60_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    const { chromium } = await import('playwright-core');
    browser = await chromium.launch({
      executablePath: executablePath ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  });
  afterAll(() => browser.close());

  /** Opens the page of a gateway of its own. `hasKey`: the page contains a key, as in the demo. */
  async function openPage({ hasKey }: { readonly hasKey: boolean }): Promise<OpenPage> {
    const made = new AsyncDisposableStack();
    const key = createKey();
    const gateway = made.use(await openTestGateway(hasKey ? { graphiqlKey: key } : {}));
    const { id: tenantId, addNumber } = await gateway.addTenant();
    await addNumber({ name: 'Acme Vendas' });
    await gateway.access.createKey({
      tenantId,
      name: 'Page',
      numberId: null,
      expiresAt: null,
      key,
    });
    const server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
    made.defer(() => server.drain());
    const context = made.adopt(await browser.newContext(), (it) => it.close());
    const page = await context.newPage();
    // Less than the timeout of the test, so that the error names the step.
    page.setDefaultTimeout(20_000);
    const urls: string[] = [];
    const consoleErrors: string[] = [];
    page.on('request', (request) => urls.push(request.url()));
    page.on('console', (message) => {
      if (message.type() === 'error') consoleErrors.push(message.text());
    });
    page.on('pageerror', (error) => consoleErrors.push(error.message));
    await page.goto(`${server.url}/graphql`);
    await page.waitForSelector(run);
    return {
      page,
      urls,
      consoleErrors,
      origin: server.url,
      key,
      [Symbol.asyncDispose]: () => made.disposeAsync(),
    };
  }

  test('opens ready to run, shows data and requests nothing from other hosts', async () => {
    await using opened = await openPage({ hasKey: true });
    const { page, urls, consoleErrors, origin } = opened;

    await page.click(run);
    await page.waitForSelector(`${response} >> text=Acme Vendas`);

    const hosts = new Set(urls.map((url) => url.replace(/^blob:/, '').slice(0, origin.length)));
    expect([...hosts]).toEqual([origin]);
    expect(consoleErrors).toEqual([]);
  });

  test('completes the names of fields', async () => {
    await using opened = await openPage({ hasKey: true });
    const { page } = opened;
    await page.click('.graphiql-query-editor >> text=isFullyConnected');
    await page.keyboard.press('End');
    await page.keyboard.press('Enter');

    await page.keyboard.type('upd');

    const suggestion = await page.waitForSelector('.suggest-widget >> text=updatedAt');
    expect(await suggestion.isVisible()).toBe(true);
  });

  test('has examples for the list, the detail, a live read and the health of all numbers', async () => {
    await using opened = await openPage({ hasKey: true });
    const { page, consoleErrors } = opened;
    const tabs = await page.locator('.graphiql-tab-button').allTextContents();
    expect(tabs).toEqual(['List', 'Detail', 'LiveRefresh', 'FleetHealth']);
    // The number of the examples exists only in the demo.
    const expected = {
      Detail: 'NUMBER_NOT_FOUND',
      LiveRefresh: 'NUMBER_NOT_FOUND',
      FleetHealth: 'Acme Vendas',
    };
    for (const [tab, text] of Object.entries(expected)) {
      // oxlint-disable-next-line no-await-in-loop -- one tab after the other
      await openTab(page, tab);
      // oxlint-disable-next-line no-await-in-loop -- see above
      await page.click(run);
      // oxlint-disable-next-line no-await-in-loop -- see above
      await page.waitForSelector(`${response} >> text=${text}`);
    }
    expect(consoleErrors).toEqual([]);
  });

  test('uses a key that is typed in one tab to load the schema and in every tab', async () => {
    await using opened = await openPage({ hasKey: false });
    const { page, key } = opened;
    await page.waitForSelector(`${response} >> text=UNAUTHENTICATED`);
    await page.click(headerEditor);
    await page.keyboard.press('ControlOrMeta+A');
    const introspected = page.waitForResponse(
      (reply) => reply.ok() && reply.request().postData()?.includes('IntrospectionQuery') === true,
    );

    // The editor adds the closing quotes and braces.
    await page.keyboard.type(`{"x-api-key": "${key}`);
    await page.click(run);
    await page.waitForSelector(`${response} >> text=Acme Vendas`);
    await introspected;

    await openTab(page, 'FleetHealth');
    await page.click(run);
    await page.waitForSelector(`${response} >> text=sendability`);
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain(key);
  });
});

test('the number of the examples exists in the demo', () => {
  expect(Object.keys(demoNumbers)).toContain(exampleId);
});

test('a browser that has the page gets 304', async () => {
  await using gateway = await openTestGateway();
  const headers = { accept: 'text/html', 'accept-encoding': 'gzip' };
  const first = await gateway.fetch('/graphql', { headers });
  const etag = first.headers.get('etag') ?? '';

  const second = await gateway.fetch('/graphql', {
    headers: { ...headers, 'if-none-match': etag },
  });

  expect([first.status, second.status]).toEqual([200, 304]);
  expect(first.headers.get('content-encoding')).toBe('gzip');
  for (const refused of ['gzip;q=0', 'br, gzip; q=0.0, deflate', 'br']) {
    const options = { headers: { ...headers, 'accept-encoding': refused } };
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.fetch('/graphql', options);
    expect([refused, reply.headers.get('content-encoding')]).toEqual([refused, null]);
  }
  expect(await second.text()).toBe('');
});

test('a page that could not be built is built for the next request', async () => {
  await using gateway = await openTestGateway();
  const readStatus = async () => {
    const { status } = await gateway.fetch('/graphql', { headers: { accept: 'text/html' } });
    return status;
  };
  vi.doMock('@graphql-yoga/render-graphiql', () => {
    throw new Error('There are too many open files.');
  });
  const failed = await readStatus();
  vi.doUnmock('@graphql-yoga/render-graphiql');

  expect([failed, await readStatus()]).toEqual([500, 200]);
});

test('GRAPHIQL=off removes the page', async () => {
  await using gateway = await openTestGateway({ environment: { GRAPHIQL: 'off' } });

  const { status, body } = await gateway.rest('/graphql', { headers: { accept: 'text/html' } });

  expect(status).toBe(401);
  expect(body).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
});
