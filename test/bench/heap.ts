// Owns looking into the memory of a process from outside, through its inspector, which is opened for that alone.

import { once } from 'node:events';

export interface MemoryParts {
  /** MB of a million bytes, all of them. */
  readonly resident: number;
  readonly young: number;
  readonly old: number;
  /** What is left of the heap after a collection. */
  readonly live: number;
  /** Buffers and the like. */
  readonly external: number;
}

// Runs in the process; a text, because it has to travel.
const toParts = `(() => {
  const { getHeapSpaceStatistics } = process.getBuiltinModule('v8');
  const { rss, external } = process.memoryUsage();
  const spaces = getHeapSpaceStatistics().map((space) => [space.space_name, space.physical_space_size]);
  const sum = (isYoung) => spaces.filter(([name]) => name.startsWith('new') === isYoung)
    .reduce((total, [, size]) => total + size, 0);
  return { rss, external, young: sum(true), old: sum(false) };
})()`;

/** `url` is that of the inspector. */
export async function readMemoryParts(url: string): Promise<MemoryParts> {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  try {
    let last = 0;
    const send = async (method: string, params: object = {}): Promise<unknown> => {
      last += 1;
      const id = last;
      socket.send(JSON.stringify({ id, method, params }));
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- until it is the answer
        const [{ data }] = (await once(socket, 'message')) as [MessageEvent<string>];
        const message = JSON.parse(data) as { id?: number; result?: unknown };
        if (message.id === id) return message.result;
      }
    };
    const evaluate = async (expression: string): Promise<unknown> => {
      const answer = await send('Runtime.evaluate', { expression, returnByValue: true });
      return (answer as { result: { value: unknown } }).result.value;
    };
    const before = (await evaluate(toParts)) as Record<
      'rss' | 'external' | 'young' | 'old',
      number
    >;
    await send('HeapProfiler.collectGarbage');
    const live = (await evaluate('process.memoryUsage().heapUsed')) as number;
    return {
      resident: before.rss / 1e6,
      young: before.young / 1e6,
      old: before.old / 1e6,
      live: live / 1e6,
      external: before.external / 1e6,
    };
  } finally {
    socket.close();
  }
}
