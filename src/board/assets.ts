// Reads the files of the board's page: its modules, with their types stripped, its styles, and the packages that it imports.

import { hash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { HttpResponse } from '../http/message.ts';

/** What the client imports by a name, see the import map of page.ts. */
const packages = [
  'preact',
  'preact/hooks',
  '@preact/signals',
  '@preact/signals-core',
  'eventsource-parser',
] as const;

/** Sends the first query. What it imports is in the folder that it is in. */
export const firstModule = 'first-query.ts';

export interface Assets {
  /** Of the contents of all files, so that they can be kept for ever. */
  readonly version: string;
  /** By the path below `/board/<version>/`. */
  readonly files: ReadonlyMap<string, HttpResponse>;
  /** From the names that the client imports to paths of `files`. */
  readonly imports: ReadonlyMap<string, string>;
  /** The paths of all modules, to load them at once instead of one after the other. Those of the first query come first. */
  readonly modules: readonly string[];
}

export async function readAssets(): Promise<Assets> {
  const root = new URL('./client/', import.meta.url);
  const names = (await readdir(root, { recursive: true })).map((name) =>
    name.replaceAll('\\', '/'),
  );
  const own = names.filter((name) => /\.(ts|css)$/.test(name)).toSorted();
  const imports = new Map(packages.map((name) => [name, `packages/${name}.js`]));
  const texts = new Map([
    ...(await Promise.all(own.map((name) => readOwn(name, new URL(name, root))))),
    ...(await Promise.all(
      packages.map(async (name) => [imports.get(name)!, await readPackage(name)] as const),
    )),
  ]);
  const version = hash('sha256', JSON.stringify([...texts]), 'hex').slice(0, 16);
  return {
    version,
    files: new Map([...texts].map(([name, text]) => [name, toResponse(name, text)])),
    imports,
    modules: orderModules(texts),
  };
}

/** A browser loads six at a time, and the first query needs few of them. */
function orderModules(texts: ReadonlyMap<string, string>): readonly string[] {
  const first = new Set([firstModule]);
  for (const name of first) {
    for (const [, imported] of texts.get(name)!.matchAll(/from '\.\/([^']+)'/g)) {
      first.add(imported!);
    }
  }
  const modules = [...texts.keys()].filter((name) => !name.endsWith('.css'));
  return [...first, ...modules.filter((name) => !first.has(name))];
}

async function readOwn(name: string, url: URL): Promise<readonly [name: string, text: string]> {
  const text = await readFile(url, 'utf8');
  return [name, name.endsWith('.ts') ? stripTypes(text) : text];
}

async function readPackage(name: string): Promise<string> {
  const text = await readFile(fileURLToPath(import.meta.resolve(name)), 'utf8');
  // The maps are not served.
  return text.replace(/\/\/# sourceMappingURL=\S*\s*$/, '');
}

/** Positions stay as they are. Node warns once that the function is experimental; the log is no place for that. */
function stripTypes(text: string): string {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(text);
  } finally {
    process.emitWarning = emitWarning;
  }
}

function toResponse(name: string, text: string): HttpResponse {
  return {
    status: 200,
    headers: {
      'content-type': name.endsWith('.css')
        ? 'text/css; charset=utf-8'
        : 'text/javascript; charset=utf-8',
      'cache-control': 'public, max-age=31536000, immutable',
      vary: 'accept-encoding',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    },
    body: Buffer.from(text),
  };
}
