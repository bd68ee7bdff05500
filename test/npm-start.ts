// Owns what `npm start` gives to Node before the program, for whoever starts the program as it runs in production.

import { readFileSync } from 'node:fs';

/** The sizes of its heap, for example. */
export const startArgs = readStartArgs();

function readStartArgs(): readonly string[] {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { start } = (JSON.parse(text) as { scripts: { start: string } }).scripts;
  const [, args] = /\bnode\b(.*) src\/main\.ts serve$/.exec(start) ?? [];
  if (args === undefined) throw new Error(`It cannot be told how Node is started by: ${start}`);
  return args.split(' ').filter((arg) => arg !== '');
}
