// A subscriber to the changes of a tenant that awaits quality ratings of numbers.

import type { StagedTenant } from './stage.ts';

export interface QualitySubscriber extends Disposable {
  /** Resolves to the time at which this quality of the number has arrived. */
  until(numberId: string, quality: string): Promise<number>;
}

export async function subscribeToQuality(
  origin: string,
  { key }: StagedTenant,
): Promise<QualitySubscriber> {
  const closing = new AbortController();
  const headers = { 'x-api-key': key, accept: 'text/event-stream' };
  const response = await fetch(`${origin}/v1/changes`, { headers, signal: closing.signal });
  const awaited = new Map<string, (at: number) => void>();
  const read = async () => {
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const blocks = (text + chunk).split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const data = /^data: (.*)$/m.exec(block)?.[1];
        const change = JSON.parse(data ?? '{}') as Record<string, string | null>;
        if (change['field'] !== 'QUALITY_RATING') continue;
        awaited.get(`${change['numberId']} ${change['newValue']}`)?.(performance.now());
      }
    }
  };
  void read().catch(() => undefined);
  return {
    until(numberId, quality) {
      const { promise, resolve } = Promise.withResolvers<number>();
      awaited.set(`${numberId} ${quality}`, resolve);
      return promise;
    },
    [Symbol.dispose]: () => closing.abort(),
  };
}
