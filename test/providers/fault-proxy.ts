// A TCP proxy that delays, cuts and swallows bytes like a broken network, without knowing HTTP.

import { EventEmitter, once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type NetworkFault =
  | { readonly kind: 'latency'; readonly ms: number }
  | { readonly kind: 'reset' }
  /** Drops every request. */
  | { readonly kind: 'blackhole' }
  /** Forwards requests and drops every response. */
  | { readonly kind: 'mute' }
  /** Closes its side of the connection after the request. */
  | { readonly kind: 'half-close' }
  /** Forwards so many bytes of the response, then closes the connection. */
  | { readonly kind: 'byte-limit'; readonly bytes: number }
  /** Forwards the response in pieces of so many bytes. */
  | { readonly kind: 'slicing'; readonly bytes: number };

export interface FaultProxy extends AsyncDisposable {
  readonly url: string;
  /** Applies the fault to requests that contain `text` in one packet; null removes it. */
  setFault(text: string, fault: NetworkFault | null): void;
  /** Resolves when a fault is applied to the next request. */
  untilFault(): Promise<void>;
}

export async function openFaultProxy(upstream: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(upstream);
  const faults = new Map<string, NetworkFault>();
  const sockets = new Set<Socket>();
  const events = new EventEmitter();
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    return socket.on('error', () => undefined);
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    let fault: NetworkFault | undefined;
    const far = track(connect(Number(port), hostname));
    track(client).on('data', (bytes: Buffer) => {
      const found = [...faults].find(([text]) => bytes.includes(text))?.[1];
      fault = found ?? fault;
      if (found !== undefined) events.emit('applied');
      if (fault?.kind === 'reset') client.resetAndDestroy();
      else if (fault?.kind === 'half-close') client.end();
      else if (fault?.kind !== 'blackhole') far.write(bytes);
    });
    let forwarded = 0;
    far.on('data', (bytes: Buffer) => {
      if (fault?.kind === 'mute') return;
      if (fault?.kind === 'latency') {
        setTimeout(() => client.write(bytes), fault.ms);
      } else if (fault?.kind === 'byte-limit') {
        client.write(bytes.subarray(0, Math.max(0, fault.bytes - forwarded)), () => {
          if (forwarded >= (fault as { bytes: number }).bytes) client.destroy();
        });
        forwarded += bytes.length;
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
    untilFault: async () => void (await once(events, 'applied')),
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
