// The HTML of the board: a frame that loads the client's modules, and the policy that limits what they can do.

import { hash } from 'node:crypto';
import type { HttpResponse } from '../http/message.ts';
import { type Assets, firstModule } from './assets.ts';

/** A key that the page contains, in the demo. */
export interface BoardKey {
  readonly tenantName: string;
  readonly key: string;
}

const description = 'Which numbers can send, which cannot, and why.';

/** `keys` is empty unless the page may contain them. */
export function createPage(assets: Assets, keys: readonly BoardKey[]): HttpResponse {
  const base = `/board/${assets.version}/`;
  const imports = Object.fromEntries(
    [...assets.imports].map(([name, path]) => [name, base + path]),
  );
  const importMap = JSON.stringify({ imports });
  const preloads = assets.modules
    .map((path) => `<link rel="modulepreload" href="${base}${path}">`)
    .join('\n');
  // `modulepreload` needs the import map before it.
  const text = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="${description}">
${keys.length === 0 ? '' : `<meta name="board-keys" content="${escapeHtml(JSON.stringify(keys))}">\n`}<title>Numbers</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${base}board.css">
<script type="importmap">${importMap}</script>
${preloads}
<script type="module" src="${base}${firstModule}" async></script>
<script type="module" src="${base}main.ts"></script>
</head>
<body>
<div id="board"><p class="boot" role="status">The board has not loaded. Reload the page; if that does not help, look at the network tab of the browser for what was refused.</p></div>
<noscript><p class="noscript">The board needs JavaScript. Without it, use <code>GET /v1/fleet</code>, or the command <code>fleet summary</code>.</p></noscript>
</body>
</html>
`;
  return { status: 200, headers: toHeaders(importMap, text), body: Buffer.from(text) };
}

function toHeaders(importMap: string, text: string): HttpResponse['headers'] {
  const mapHash = hash('sha256', importMap, 'base64');
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${mapHash}'`,
    "style-src 'self'",
    // The icon of the page is drawn by the client.
    'img-src data:',
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    // No text can become HTML or a script.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'private, no-cache',
    vary: 'accept-encoding, host',
    etag: `"${hash('sha256', text, 'base64url')}"`,
    'content-security-policy': policy.join('; '),
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
