// A TCP proxy that does to connections what networks do: it knows nothing of HTTP, only bytes and the time they take.

import { EventEmitter, once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type NetworkFault =
  | { readonly kind: 'latency'; readonly ms: number }
  | { readonly kind: 'reset' }
  /** Takes everything and answers nothing. */
  | { readonly kind: 'blackhole' }
  /** Passes everything on and keeps back every answer. */
  | { readonly kind: 'mute' }
  /** Ends its side once it has heard the request. */
  | { readonly kind: 'half-close' }
  /** Passes so many bytes of the answer, then cuts the connection. */
  | { readonly kind: 'byte-limit'; readonly bytes: number }
  /** Passes the answer in pieces of so many bytes. */
  | { readonly kind: 'slicing'; readonly bytes: number };

export interface FaultProxy extends AsyncDisposable {
  readonly url: string;
  /** Requests whose first bytes hold `text` meet the fault from now on; null heals. */
  setFault(text: string, fault: NetworkFault | null): void;
  /** Resolves when the next request meets a fault. */
  untilFault(): Promise<void>;
}

export async function openFaultProxy(upstream: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(upstream);
  const faults = new Map<string, NetworkFault>();
  const sockets = new Set<Socket>();
  const meetings = new EventEmitter();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    return socket.on('error', () => undefined);
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    let fault: NetworkFault | undefined;
    const far = keep(connect(Number(port), hostname));
    keep(client).on('data', (bytes: Buffer) => {
      const found = [...faults].find(([text]) => bytes.includes(text))?.[1];
      fault = found ?? fault;
      if (found !== undefined) meetings.emit('met');
      if (fault?.kind === 'reset') client.resetAndDestroy();
      else if (fault?.kind === 'half-close') client.end();
      else if (fault?.kind !== 'blackhole') far.write(bytes);
    });
    let passed = 0;
    far.on('data', (bytes: Buffer) => {
      if (fault?.kind === 'mute') return;
      if (fault?.kind === 'latency') {
        setTimeout(() => client.write(bytes), fault.ms);
      } else if (fault?.kind === 'byte-limit') {
        client.write(bytes.subarray(0, Math.max(0, fault.bytes - passed)), () => {
          if (passed >= (fault as { bytes: number }).bytes) client.destroy();
        });
        passed += bytes.length;
      } else if (fault?.kind === 'slicing') writeSlices(client, bytes, fault.bytes);
      else client.write(bytes);
    });
    far.on('close', () => client.destroy());
    client.on('close', () => far.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    setFault: (text, fault) => void (fault ? faults.set(text, fault) : faults.delete(text)),
    untilFault: async () => void (await once(meetings, 'met')),
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function writeSlices(socket: Socket, bytes: Buffer, size: number): void {
  socket.setNoDelay(true);
  const next = (start: number): void => {
    if (start >= bytes.length || socket.destroyed) return;
    socket.write(bytes.subarray(start, start + size), () => setImmediate(next, start + size));
  };
  next(0);
}
