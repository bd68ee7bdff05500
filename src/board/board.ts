// Serves the board, a page for the people who look after a fleet, at /board. It needs no key; what it shows comes from the
// public API, with the key that its user enters.

import { GatewayError } from '../errors.ts';
import type { HttpRequest, HttpResponse } from '../http/message.ts';
import { readAssets } from './assets.ts';
import { type BoardKey, createPage } from './page.ts';

export type { BoardKey };

export interface BoardOptions {
  /** Those of the demo; empty in production. */
  readonly keys: readonly BoardKey[];
}

/** What a route of the board is; an `Endpoint` makes a route of the pipeline of it. */
export interface BoardRoute {
  readonly needsKey: false;
  readonly path: string;
  readonly operation: string;
  readonly respond: (request: HttpRequest) => Promise<HttpResponse>;
}

export interface Board {
  /** Throws NOT_FOUND and METHOD_NOT_ALLOWED. */
  match(request: HttpRequest): BoardRoute;
}

const pagePath = /^\/board(\/numbers\/[^/]+|\/incidents(\/[^/]+)?)?\/?$/;
const filePath = /^\/board\/([0-9a-f]{16})\/(.+)$/;

export function isBoardPath(path: string): boolean {
  return path === '/board' || path.startsWith('/board/');
}

/** The files are read at the first request: many processes never serve the page. */
export function createBoard({ keys }: BoardOptions): Board {
  let opened: Promise<Opened> | undefined;
  const open = () => {
    opened ??= openBoard(keys).catch((error: unknown) => {
      // The next request tries again.
      opened = undefined;
      throw error;
    });
    return opened;
  };
  const page: BoardRoute = {
    needsKey: false,
    path: '/board',
    operation: 'board',
    async respond({ headers }) {
      const { withKeys, withoutKeys } = await open();
      return isLoopback(headers.get('host')) ? withKeys : withoutKeys;
    },
  };
  const file: BoardRoute = {
    needsKey: false,
    path: '/board/{version}/{file}',
    operation: 'boardFile',
    async respond({ path }) {
      const { assets } = await open();
      const [, version, name = ''] = filePath.exec(path) ?? [];
      // Files of two versions do not fit together.
      const found = version === assets.version ? assets.files.get(name) : undefined;
      if (found === undefined) throw createNotFound();
      return found;
    },
  };
  return {
    match({ path, method }) {
      const route = [page, file].find((it) => (it === page ? pagePath : filePath).test(path));
      if (route === undefined) throw createNotFound();
      if (method === 'GET' || method === 'HEAD') return route;
      const message = 'The board is only read: use GET.';
      throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow: ['GET', 'HEAD'] });
    },
  };
}

interface Opened {
  readonly assets: Awaited<ReturnType<typeof readAssets>>;
  readonly withKeys: HttpResponse;
  readonly withoutKeys: HttpResponse;
}

async function openBoard(keys: readonly BoardKey[]): Promise<Opened> {
  const assets = await readAssets();
  return { assets, withKeys: createPage(assets, keys), withoutKeys: createPage(assets, []) };
}

// A name that somebody else controls and lets resolve to 127.0.0.1 must not get the demo's keys.
function isLoopback(host: string | null): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i.test(host ?? '');
}

function createNotFound(): GatewayError {
  return new GatewayError('NOT_FOUND', 'The board has no page or file with this path.');
}
