// The gateway's time, by which ages are told: the clock of the browser may be wrong.

/** More than the way of a response, and a header in whole seconds, explain. */
const toleranceMs = 2_000;

let offsetMs = 0;
let listener: (shiftMs: number) => void = () => undefined;

/** Learns from the header `date` of a response. */
export function followClock(date: string | null): void {
  const measuredMs = Date.parse(date ?? '') - Date.now();
  const shiftMs = measuredMs - offsetMs;
  if (!(Math.abs(shiftMs) > toleranceMs)) return;
  offsetMs = measuredMs;
  listener(shiftMs);
}

/** Times that were read before are wrong by `shiftMs`. */
export function onClockShift(listen: (shiftMs: number) => void): void {
  listener = listen;
}

/** In milliseconds. */
export function readTime(): number {
  return Date.now() + offsetMs;
}
