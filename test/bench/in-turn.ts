// Owns doing one thing after the other, which is what measuring needs: what runs at the same time is measured too.

/** The results in order. Stops at the first rejection. */
export async function inTurn<Item, Result>(
  items: Iterable<Item>,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const item of items) {
    // oxlint-disable-next-line no-await-in-loop -- that is the point
    results.push(await work(item, results.length));
  }
  return results;
}

/** 0 to `count - 1`. */
export function toRange(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}
