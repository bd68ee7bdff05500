// The GraphiQL page as a person finds it, in a headless Chromium if there is one on this machine.

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
  console.warn('SKIPPED: no Chromium was found on this machine, so nobody looked at GraphiQL.');
}

interface Admission extends AsyncDisposable {
  readonly page: Page;
  /** What the page asked for, in the order in which it did. */
  readonly urls: readonly string[];
  /** What the browser complained of. */
  readonly complaints: readonly string[];
  readonly origin: string;
  /** Of a tenant with one number. */
  readonly key: string;
}

const run = '.graphiql-execute-button';
const response = '.graphiql-response';
const headerEditor = '.graphiql-editor-tool >> .view-lines >> visible=true';

/** Opens a tab; its document stands in the address once GraphiQL has read it. */
async function open(page: Page, tab: string): Promise<void> {
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

  /** The page of a gateway of its own; `filledIn` as in the demo, where the key stands in the page already. */
  async function admission({ filledIn }: { readonly filledIn: boolean }): Promise<Admission> {
    const made = new AsyncDisposableStack();
    const key = createKey();
    const gateway = made.use(await openTestGateway(filledIn ? { graphiqlKey: key } : {}));
    const { id: tenantId, addNumber } = await gateway.addTenant();
    await addNumber({ name: 'Acme Vendas' });
    const request = { tenantId, name: 'Page', numberId: null, expiresAt: null, key };
    await gateway.access.createKey(request);
    const server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
    made.defer(() => server.drain());
    const context = made.adopt(await browser.newContext(), (it) => it.close());
    const page = await context.newPage();
    // Below that of the test, so that the step that failed is told.
    page.setDefaultTimeout(20_000);
    const urls: string[] = [];
    const complaints: string[] = [];
    page.on('request', (asked) => urls.push(asked.url()));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(`${server.url}/graphql`);
    await page.waitForSelector(run);
    return {
      page,
      urls,
      complaints,
      origin: server.url,
      key,
      [Symbol.asyncDispose]: () => made.disposeAsync(),
    };
  }

  test('it opens ready to run, shows data and asks no other host for anything', async () => {
    await using visited = await admission({ filledIn: true });
    const { page, urls, complaints, origin } = visited;

    await page.click(run);
    await page.waitForSelector(`${response} >> text=Acme Vendas`);

    const hosts = new Set(urls.map((url) => url.replace(/^blob:/, '').slice(0, origin.length)));
    expect([...hosts]).toEqual([origin]);
    expect(complaints).toEqual([]);
  });

  test('it completes the names of fields', async () => {
    await using visited = await admission({ filledIn: true });
    const { page } = visited;
    await page.click('.graphiql-query-editor >> text=isFullyConnected');
    await page.keyboard.press('End');
    await page.keyboard.press('Enter');

    await page.keyboard.type('upd');

    const suggestion = await page.waitForSelector('.suggest-widget >> text=updatedAt');
    expect(await suggestion.isVisible()).toBe(true);
  });

  test('there are examples for the list, the detail, a live reading and the health of the fleet', async () => {
    await using visited = await admission({ filledIn: true });
    const { page, complaints } = visited;
    const tabs = await page.locator('.graphiql-tab-button').allTextContents();
    expect(tabs).toEqual(['List', 'Detail', 'LiveRefresh', 'FleetHealth']);
    // Their number is one of the demo, so here they say that there is none.
    const projection = {
      Detail: 'NUMBER_NOT_FOUND',
      LiveRefresh: 'NUMBER_NOT_FOUND',
      FleetHealth: 'Acme Vendas',
    };
    for (const [tab, text] of Object.entries(projection)) {
      // oxlint-disable-next-line no-await-in-loop -- one page, one tab after the other
      await open(page, tab);
      // oxlint-disable-next-line no-await-in-loop -- see above
      await page.click(run);
      // oxlint-disable-next-line no-await-in-loop -- see above
      await page.waitForSelector(`${response} >> text=${text}`);
    }
    expect(complaints).toEqual([]);
  });

  test('where no key is filled in, one that is typed loads the schema and serves every tab', async () => {
    await using visited = await admission({ filledIn: false });
    const { page, key } = visited;
    await page.waitForSelector(`${response} >> text=UNAUTHENTICATED`);
    await page.click(headerEditor);
    await page.keyboard.press('ControlOrMeta+A');
    const introspected = page.waitForResponse(
      (answer) =>
        answer.ok() && answer.request().postData()?.includes('IntrospectionQuery') === true,
    );

    // The editor closes quotes and braces by itself.
    await page.keyboard.type(`{"x-api-key": "${key}`);
    await page.click(run);
    await page.waitForSelector(`${response} >> text=Acme Vendas`);
    await introspected;

    await open(page, 'FleetHealth');
    await page.click(run);
    await page.waitForSelector(`${response} >> text=sendability`);
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain(key);
  });
});

test('the number of the examples is one of the demo', () => {
  expect(Object.keys(demoNumbers)).toContain(exampleId);
});

test('the page is not sent again to a browser that has it', async () => {
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
    const asked = { ...headers, 'accept-encoding': refused };
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { headers: told } = await gateway.fetch('/graphql', { headers: asked });
    expect([refused, told.get('content-encoding')]).toEqual([refused, null]);
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

test('there is no page where it is switched off', async () => {
  await using gateway = await openTestGateway({ environment: { GRAPHIQL: 'off' } });

  const { status, headers, body } = await gateway.rest('/graphql', {
    headers: { accept: 'text/html' },
  });

  expect([status, headers.get('allow')]).toEqual([405, 'POST']);
  expect(body).toMatchObject({ errors: [{ extensions: { code: 'METHOD_NOT_ALLOWED' } }] });
});
