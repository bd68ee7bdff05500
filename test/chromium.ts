// Opens pages in a headless Chromium, if this machine has one.

import { existsSync } from 'node:fs';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';

const executablePath = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
].find((path) => existsSync(path));

/** Whether this machine has none. Says so, with what is not tested then. */
export function isChromiumMissing(subject: string): boolean {
  if (executablePath !== undefined) return false;
  console.warn(`SKIPPED: no Chromium was found on this machine, so ${subject} was not tested.`);
  return true;
}

export async function launchChromium(): Promise<Browser> {
  const { chromium } = await import('playwright-core');
  return await chromium.launch({
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
}

export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  /** What the page requested, in order. */
  readonly urls: readonly string[];
  /** Errors in the console of the browser, among them what the policy of the page refused. */
  readonly consoleErrors: readonly string[];
}

/** A page in a context of its own. */
export async function openWatchedPage(
  browser: Browser,
  options: BrowserContextOptions,
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  // Less than the timeout of a test, so that the error names the step.
  page.setDefaultTimeout(20_000);
  const urls: string[] = [];
  const consoleErrors: string[] = [];
  page.on('request', (request) => urls.push(request.url()));
  page.on('console', (message) => {
    if (message.type() === 'error') consoleErrors.push(message.text());
  });
  page.on('pageerror', (error) => consoleErrors.push(error.message));
  return { page, urls, consoleErrors, [Symbol.asyncDispose]: () => context.close() };
}
