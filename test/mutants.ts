// Creates mutants of source files, each with one change, where Stryker cannot: mostly in SQL.

import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export interface Mutant {
  /** The change and its line. */
  readonly title: string;
  readonly text: string;
}

/** A pattern and its replacement, as for `replaceAll`. */
export type Mutation = readonly [RegExp, string];

/** Returns one mutant for each match of each mutation. */
export function toMutants(source: string, mutations: readonly Mutation[]): readonly Mutant[] {
  return mutations.flatMap(([pattern, replacement]) =>
    [...source.matchAll(pattern)].map(({ 0: found, index }) => {
      const changed = found.replace(new RegExp(pattern.source), replacement);
      const line = source.slice(0, index).split('\n').length;
      return {
        title: `line ${line}: ${toOneLine(found)} -> ${toOneLine(changed)}`,
        text: `${source.slice(0, index)}${changed}${source.slice(index + found.length)}`,
      };
    }),
  );
}

function toOneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}

export const root = fileURLToPath(new URL('..', import.meta.url));

export interface MutantSource extends AsyncDisposable {
  /** Imports the module at this path with another text. Its own imports are unchanged. */
  load<Module>(path: string, text: string): Promise<Module>;
}

/** A copy of the sources, which is removed when it is disposed of. */
export async function openMutantSource(): Promise<MutantSource> {
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-mutants-'));
  await cp(join(root, 'src'), join(directory, 'src'), { recursive: true });
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  let loaded = 0;
  return {
    async load(path, text) {
      loaded += 1;
      const file = join(directory, path).replace(/\.ts$/, `-${loaded}.ts`);
      await writeFile(file, text);
      return await import(/* @vite-ignore */ pathToFileURL(file).href);
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
