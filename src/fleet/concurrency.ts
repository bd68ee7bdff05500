// Runs tasks with a limited number of them at a time.

/** Starts the tasks in order. After a failure no further one is started, and the error is thrown when all have ended. */
export async function runConcurrently(
  tasks: readonly (() => Promise<void>)[],
  maxConcurrent: number,
): Promise<void> {
  const waiting = [...tasks];
  const work = async (): Promise<void> => {
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- several workers share the tasks
        await task();
      } catch (error) {
        waiting.length = 0;
        throw error;
      }
    }
  };
  const workers = await Promise.allSettled(Array.from({ length: maxConcurrent }, work));
  for (const worker of workers) if (worker.status === 'rejected') throw worker.reason;
}
