// Owns how far a long command has come, for the person who waits for it.

import { Presets, SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.ts';

export interface Progress extends Disposable {
  advance(by: number): void;
  end(): void;
}

/** On standard error, and only where a person sees it. `doing` and `things`: "Reading", "numbers". */
export function openProgress(
  { stderr }: Terminal,
  total: number,
  { doing, things }: { readonly doing: string; readonly things: string },
): Progress {
  if (!stderr.isTTY || total === 0) {
    return { advance: () => undefined, end: () => undefined, [Symbol.dispose]: () => undefined };
  }
  const bar = new SingleBar(
    { stream: stderr, format: `${doing} {bar} {value}/{total} ${things}`, clearOnComplete: true },
    Presets.shades_classic,
  );
  bar.start(total, 0);
  return {
    advance: (by) => bar.increment(by),
    end: () => bar.stop(),
    [Symbol.dispose]: () => bar.stop(),
  };
}
