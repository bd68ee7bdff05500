// Reads the code blocks of README.md. The info string of a block is its language and its name.

import { readFileSync } from 'node:fs';

export interface Block {
  readonly language: string;
  /** The path of the file, or the name of the commands of a shell block. */
  readonly name: string;
  readonly text: string;
}

const readme = readFileSync(new URL('README.md', import.meta.url), 'utf8');

export const blocks: readonly Block[] = [...readme.matchAll(/^```(\S*) *(\S*)\n(.*?)^```$/gms)].map(
  ([, language = '', name = '', text = '']) => ({ language, name, text }),
);

/** The rows of the table of clients: the package and the version that is tested. */
export const testedVersions: readonly (readonly [name: string, version: string])[] = [
  ...readme.matchAll(/^\| [^|]+ \| `([^`]+)` +\| (\S+) +\|$/gm),
].map(([, name = '', version = '']) => [name, version]);
