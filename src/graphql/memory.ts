// Owns remembering what was used last, as far as it fits.

export interface Memory<Key, Value> {
  get(key: Key): Value | undefined;
  set(key: Key, value: Value): void;
}

/** Forgets what was not used for the longest time, until the weights of the others come to at most `maxWeight`. */
export function createMemory<Key, Value>(
  maxWeight: number,
  toWeight: (value: Value, key: Key) => number,
): Memory<Key, Value> {
  const values = new Map<Key, Value>();
  let weight = 0;
  const forget = (key: Key, value: Value): void => {
    if (values.delete(key)) weight -= toWeight(value, key);
  };
  return {
    get(key) {
      const value = values.get(key);
      if (value === undefined) return undefined;
      // Moves it to the end of the line.
      values.delete(key);
      values.set(key, value);
      return value;
    },
    set(key, value) {
      const former = values.get(key);
      if (former !== undefined) forget(key, former);
      values.set(key, value);
      weight += toWeight(value, key);
      for (const [oldest, old] of values) {
        if (weight <= maxWeight) break;
        forget(oldest, old);
      }
    },
  };
}
