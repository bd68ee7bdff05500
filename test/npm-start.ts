// How `npm start` runs Node, for tests and benches that start the program as in production.

import manifest from '../package.json' with { type: 'json' };

export const startScript = manifest.scripts.start;

/** The arguments of Node before the program, such as its heap sizes; paths in them are absolute. */
export const startArgs: readonly string[] = readStartArgs();

function readStartArgs(): readonly string[] {
  const [, args] = /^exec node (.*?) src\/main\.ts serve\b/.exec(startScript) ?? [];
  if (args === undefined) throw new Error(`Cannot find the arguments of Node in: ${startScript}`);
  return args
    .split(' ')
    .map((arg) => (arg.startsWith('./') ? new URL(`../${arg}`, import.meta.url).href : arg));
}
