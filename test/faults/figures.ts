// Prints the result of a fault run: one line with its bar and its figure.

/** Prints the bar and the figure, and returns `met`. */
export function report(bar: string, figure: string, met: boolean): boolean {
  process.stdout.write(`${met ? 'MET   ' : 'MISSED'} | bar: ${bar} | figure: ${figure}\n`);
  return met;
}

/** The value below which this share (0 to 1) of all values lies. */
export function toPercentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function toMs(value = Number.NaN): string {
  return `${Math.round(value)} ms`;
}
