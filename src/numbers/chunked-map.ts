// Maps long lists without blocking the event loop for other requests.

import { setImmediate as untilNextIteration } from 'node:timers/promises';

/** Items that are mapped in one iteration of the event loop: some 10 ms of work for the numbers of a list. */
const chunkSize = 500;

/** As `Array.map`, and other requests are served after every 500 items. The result is frozen. */
export async function mapInChunks<T, U>(
  items: readonly T[],
  map: (item: T) => U,
): Promise<readonly U[]> {
  const mapped: U[] = [];
  for (const item of items) {
    // oxlint-disable-next-line no-await-in-loop -- one chunk after the other
    if (mapped.length > 0 && mapped.length % chunkSize === 0) await untilNextIteration();
    mapped.push(map(item));
  }
  return Object.freeze(mapped);
}
