// Reads the memory of another process through its inspector.

import { once } from 'node:events';

export interface MemoryParts {
  /** All in MB of a million bytes. */
  readonly resident: number;
  readonly young: number;
  readonly old: number;
  /** Of the heap, after a garbage collection. */
  readonly live: number;
  /** Buffers and other memory outside the heap. */
  readonly external: number;
}

// Evaluated in the other process.
const readParts = `(() => {
  const { getHeapSpaceStatistics } = process.getBuiltinModule('v8');
  const { rss, external } = process.memoryUsage();
  const spaces = getHeapSpaceStatistics().map((space) => [space.space_name, space.physical_space_size]);
  const sum = (isYoung) => spaces.filter(([name]) => name.startsWith('new') === isYoung)
    .reduce((total, [, size]) => total + size, 0);
  return { rss, external, young: sum(true), old: sum(false) };
})()`;

/** `url`: the address of the inspector. */
export async function readMemoryParts(url: string): Promise<MemoryParts> {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  try {
    let lastId = 0;
    const send = async (method: string, params: object = {}): Promise<unknown> => {
      lastId += 1;
      const id = lastId;
      socket.send(JSON.stringify({ id, method, params }));
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- until the response with this id arrives
        const [{ data }] = (await once(socket, 'message')) as [MessageEvent<string>];
        const message = JSON.parse(data) as { id?: number; result?: unknown };
        if (message.id === id) return message.result;
      }
    };
    const evaluate = async (expression: string): Promise<unknown> => {
      const response = await send('Runtime.evaluate', { expression, returnByValue: true });
      return (response as { result: { value: unknown } }).result.value;
    };
    const before = (await evaluate(readParts)) as Record<
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
