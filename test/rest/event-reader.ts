// Reads a stream of Server-Sent Events as a client without a library does.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

/** A block of the stream, with the fields that were sent. */
export interface ReadEvent {
  readonly id?: string;
  readonly event?: string;
  readonly data?: string;
  readonly retry?: string;
}

export interface EventReader extends AsyncDisposable {
  /** Null at the end of the stream. */
  next(): Promise<ReadEvent | null>;
  /** The next events of this name, whose data are JSON. */
  take(event: string, count: number): Promise<readonly EventData[]>;
}

export interface EventData {
  readonly id: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export function readEvents(response: Response): EventReader {
  if (response.body === null) throw new Error('The response has no body.');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  const next = async (): Promise<ReadEvent | null> => {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end !== -1) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        return Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/, 2)));
      }
      // oxlint-disable-next-line no-await-in-loop -- one chunk after the other
      const { done, value } = await reader.read();
      if (done) return null;
      text += value;
    }
  };
  return {
    next,
    async take(event, count) {
      const taken: EventData[] = [];
      while (taken.length < count) {
        // oxlint-disable-next-line no-await-in-loop -- one event after the other
        const read = await next();
        if (read === null) throw new Error(`The stream has ended after ${taken.length} events.`);
        if (read.event !== event) continue;
        taken.push({ id: read.id ?? '', data: JSON.parse(read.data ?? '') });
      }
      return taken;
    },
    [Symbol.asyncDispose]: () => reader.cancel().catch(() => undefined),
  };
}
