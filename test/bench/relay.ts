// Owns a relay in front of PostgreSQL that can hold back what the connections say that have asked to be notified: a
// network that has fallen silent without closing anything.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Relay extends AsyncDisposable {
  /** The given address, through the relay. */
  readonly url: string;
  /** From now on nothing passes over the connections that listen, neither way; answers how many these are. */
  silence(): number;
  /** Ends those that were silenced, as a network does in the end. */
  cut(): void;
}

/** One connection through the relay. */
interface Line {
  readonly near: Socket;
  readonly far: Socket;
  listens: boolean;
}

export async function openRelay(url: string): Promise<Relay> {
  const target = new URL(url);
  const lines = new Set<Line>();
  const silent = new Set<Line>();
  const server = createServer((near) => {
    const line = {
      near,
      far: connect(Number(target.port || 5432), target.hostname),
      listens: false,
    };
    lines.add(line);
    join(line, () => {
      lines.delete(line);
      silent.delete(line);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(port) }).href,
    silence() {
      for (const line of [...lines].filter(({ listens }) => listens)) {
        line.near.unpipe(line.far).pause();
        line.far.unpipe(line.near).pause();
        silent.add(line);
      }
      return silent.size;
    },
    cut() {
      for (const { near } of silent) near.destroy();
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const { near } of lines) near.destroy();
      await closed;
    },
  };
}

function join(line: Line, left: () => void): void {
  const { near, far } = line;
  near.on('data', (bytes: Buffer) => {
    line.listens ||= /\blisten\b/i.test(bytes.toString('latin1'));
  });
  near.pipe(far);
  far.pipe(near);
  const end = (): void => {
    near.destroy();
    far.destroy();
    left();
  };
  for (const socket of [near, far]) {
    socket.setNoDelay(true);
    // The close that follows is what counts.
    socket.on('error', () => undefined);
    socket.once('close', end);
  }
}
