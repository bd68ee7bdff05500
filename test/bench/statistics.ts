// Owns the arithmetic of measurements.

/** The value below which this share (0 to 1) of the values lies; NaN of none. */
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

/** A median and how far the values lie apart. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

export function toSpread(values: readonly number[]): Spread {
  return { median: toMedian(values), lowest: Math.min(...values), highest: Math.max(...values) };
}

/** Round by round, so that what disturbed a whole round disturbs its ratio little. */
export function toRatios(above: readonly number[], below: readonly number[]): Spread {
  return toSpread(above.map((value, index) => value / (below[index] ?? Number.NaN)));
}

/** Three figures that mean something. */
export function toRounded(value: number): number {
  return Number(value.toPrecision(3));
}
