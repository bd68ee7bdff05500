// Owns what is there at once most of the time and takes a while otherwise. To await what is there costs a turn and several
// objects, which on the way of every request adds up to a good part of an answer from memory.

export type MaybePromise<T> = T | Promise<T>;

/** What `use` makes of the value; at once, and throwing what `use` throws, when the value is there. */
export function chain<T, U>(
  value: MaybePromise<T>,
  use: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return value instanceof Promise ? value.then(use) : use(value);
}

/** The value of `work`, or what `mend` makes of what it throws or rejects with. */
export function recover<T>(
  work: () => MaybePromise<T>,
  mend: (thrown: unknown) => MaybePromise<T>,
): MaybePromise<T> {
  try {
    const value = work();
    return value instanceof Promise ? value.catch(mend) : value;
  } catch (thrown) {
    return mend(thrown);
  }
}
