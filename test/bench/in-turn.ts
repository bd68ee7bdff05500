// Runs asynchronous steps one after the other, since whatever runs at the same time would be measured too.

/** The results in order. Stops at the first rejection. */
export async function inTurn<Item, Result>(
  items: Iterable<Item>,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const item of items) {
    // oxlint-disable-next-line no-await-in-loop -- sequential on purpose
    results.push(await work(item, results.length));
  }
  return results;
}

/** 0 to `count - 1`. */
export function toRange(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}
