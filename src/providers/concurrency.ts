// Owns the bound on how much is under way at once. What is done is left to the caller.

/**
 * Results in the order of the items, at most `limit` of them under way. Rejects with the first rejection; what has
 * begun by then is not waited for.
 */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  limit: number,
  map: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const work = async (): Promise<void> => {
    for (const [index, item] of entries) {
      // oxlint-disable-next-line no-await-in-loop -- waiting here is what bounds the work
      results[index] = await map(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work));
  return results;
}
