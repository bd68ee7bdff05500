// Statistics of measurements.

/** The value below which this share (0 to 1) of the values lies; NaN without values. */
export function toPercentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export function toMedian(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
}

/** The median and the range of the values. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

export function toSpread(values: readonly number[]): Spread {
  return { median: toMedian(values), lowest: Math.min(...values), highest: Math.max(...values) };
}

/** Ratios round by round: what disturbs a whole round has little effect on its ratio. */
export function toRatios(above: readonly number[], below: readonly number[]): Spread {
  return toSpread(above.map((value, index) => value / (below[index] ?? Number.NaN)));
}

/** Three significant digits. */
export function toRounded(value: number): number {
  return Number(value.toPrecision(3));
}
