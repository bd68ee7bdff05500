// Opens the board of a gateway in Chromium.

import type { Browser, BrowserContextOptions, Request } from 'playwright-core';
import { listen } from '../../src/http/server.ts';
import { openWatchedPage, type WatchedPage } from '../chromium.ts';
import { openTestGateway, type TestGateway, type TestGatewayOptions } from '../harness.ts';

export const wide = { viewport: { width: 1_440, height: 1_000 } } as const;
export const phone = {
  viewport: { width: 390, height: 844 },
  isMobile: true,
  hasTouch: true,
} as const;

export interface ServedGateway extends TestGateway {
  readonly origin: string;
}

/** A gateway that listens, on the port of `origin` if there is one. */
export async function serveGateway(
  options: TestGatewayOptions = {},
  origin: string | null = null,
): Promise<ServedGateway> {
  const gateway = await openTestGateway(options);
  const port = origin === null ? 0 : Number(new URL(origin).port);
  const server = await listen(gateway.gateway, { host: '127.0.0.1', port, noticeMs: 0 });
  return {
    ...gateway,
    origin: server.url,
    async [Symbol.asyncDispose]() {
      await server.drain();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

export interface BoardOptions {
  readonly origin: string;
  /** Null for a page that has to ask for it. */
  readonly key: string | null;
  /** With its query string. */
  readonly path?: string;
  readonly context?: BrowserContextOptions;
  /** Runs in the page before its own scripts. */
  readonly script?: string;
}

export interface OpenBoard extends WatchedPage {
  /** How often the page has sent an operation, by its name. */
  count(operation: string): number;
  /** The milliseconds between these operations, where each has a response. */
  listIntervals(...operations: readonly string[]): readonly number[];
  /** The names in the rows, in their order. */
  listNames(): Promise<string[]>;
}

function isOf(request: Request, operation: string): boolean {
  return request.postData()?.includes(` ${operation}(`) === true;
}

export async function openBoard(browser: Browser, options: BoardOptions): Promise<OpenBoard> {
  const { origin, key, path = '/board', context = wide, script } = options;
  const watched = await openWatchedPage(browser, context);
  const { page } = watched;
  const requests: Request[] = [];
  page.on('request', (request) => requests.push(request));
  if (script !== undefined) await page.addInitScript(script);
  // Once, as if it had been entered: a reload keeps what the page does with it.
  if (key !== null) {
    await page.addInitScript(
      `if (!sessionStorage.getItem('test')) { sessionStorage.setItem('test', '1'); sessionStorage.setItem('board.key', '${key}'); }`,
    );
  }
  await page.goto(origin + path);
  return {
    ...watched,
    count: (operation) => requests.filter((request) => isOf(request, operation)).length,
    listIntervals(...operations) {
      const times = requests
        .filter((request) => operations.some((operation) => isOf(request, operation)))
        .map((request) => request.timing().startTime)
        .filter((time) => time > 0)
        .toSorted((a, b) => a - b);
      return times.slice(1).map((time, index) => time - times[index]!);
    },
    listNames: () => page.locator('.rows .name').allTextContents(),
  };
}
