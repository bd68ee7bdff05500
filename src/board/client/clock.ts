// The gateway's time, by which ages are told: the clock of the browser may be wrong.

/** More than the way of a response, and a header in whole seconds, explain. */
const toleranceMs = 2_000;

let offsetMs = 0;

/** Learns from the header `date` of a response. */
export function followClock(date: string | null): void {
  const measuredMs = Date.parse(date ?? '') - Date.now();
  if (Math.abs(measuredMs - offsetMs) > toleranceMs) offsetMs = measuredMs;
}

/** In milliseconds. */
export function readTime(): number {
  return Date.now() + offsetMs;
}
