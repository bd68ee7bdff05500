// Owns what `npm start` gives to Node before the program, for whoever starts the program as it runs in production.

import { readFileSync } from 'node:fs';

const { environment, args } = readStart();

/** The sizes of its heap, for example. */
export const startArgs = args;

/** What is told by variables: to the C library, which reads nothing else, and to Node before it looks at the program. */
export const startEnvironment = environment;

function readStart(): {
  readonly environment: Readonly<Record<string, string>>;
  readonly args: readonly string[];
} {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { start } = (JSON.parse(text) as { scripts: { start: string } }).scripts;
  const [, variables, flags] =
    /^exec env((?: \w+=\S+)*) node((?: -\S+)*) src\/main\.ts serve$/.exec(start) ?? [];
  if (variables === undefined || flags === undefined) {
    throw new Error(`It cannot be told how Node is started by: ${start}`);
  }
  const pairs = toWords(variables).map((word) => word.split('=', 2));
  return { environment: Object.fromEntries(pairs), args: toWords(flags) };
}

function toWords(text: string): readonly string[] {
  return text.split(' ').filter((word) => word !== '');
}
