// The one line that a fault run prints: its bar and its figure.

/** Prints the bar and the figure, and answers whether the bar was met. */
export function report(bar: string, figure: string, met: boolean): boolean {
  process.stdout.write(`${met ? 'MET   ' : 'MISSED'} | bar: ${bar} | figure: ${figure}\n`);
  return met;
}

/** The value below which this part of all values lies. */
export function toPercentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
