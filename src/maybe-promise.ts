// A value, or a promise of one. Awaiting a value that is already there costs a microtask and allocations, about a tenth
// of a cached response.

export type MaybePromise<T> = T | Promise<T>;

/** Passes the value to `use`: synchronously if it is there, otherwise when the promise is fulfilled. Rethrows. */
export function chain<T, U>(
  value: MaybePromise<T>,
  use: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return value instanceof Promise ? value.then(use) : use(value);
}

/** Returns the value of `work`, or that of `handle` when `work` throws or rejects. */
export function recover<T>(
  work: () => MaybePromise<T>,
  handle: (thrown: unknown) => MaybePromise<T>,
): MaybePromise<T> {
  try {
    const value = work();
    return value instanceof Promise ? value.catch(handle) : value;
  } catch (thrown) {
    return handle(thrown);
  }
}
