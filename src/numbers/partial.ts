// Owns what is not known because it was not read: nobody shall take it for what is not there, so looking at it throws.

export type PartialObject<T> = { -readonly [Member in keyof T]: T[Member] };

/** Members are added one by one: to copy them costs too much for what is made of every number of every answer. */
export function createPartial<T>(prototype: object): PartialObject<T> {
  return Object.create(prototype) as PartialObject<T>;
}

/**
 * Finds the prototype for what has these parts and no others, each of which is a bit of `read`: the first one 1, the next
 * one 2. What belongs to the others throws.
 */
export function createPrototypes(
  ...parts: readonly (readonly string[])[]
): (read: number) => object {
  const prototypes = Array.from({ length: 2 ** parts.length }, (_, read) => {
    const unread = parts.filter((_names, place) => (read & (1 << place)) === 0).flat();
    const getters = unread.map((name) => [name, { get: () => throwNotSelected(name) }]);
    return Object.defineProperties({}, Object.fromEntries(getters)) as object;
  });
  // There is one for each.
  return (read) => prototypes[read]!;
}

function throwNotSelected(name: string): never {
  throw new Error(`${name} is looked at and was not read.`);
}
