// A TCP relay in front of PostgreSQL that can stop forwarding on listening connections: a network that falls silent without
// closing anything.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Relay extends AsyncDisposable {
  /** The address of PostgreSQL through the relay. */
  readonly url: string;
  /** Stops forwarding on the listening connections, both ways; returns their number. */
  silence(): number;
  /** Closes the silenced connections. */
  cut(): void;
}

/** One connection through the relay. */
interface RelayedConnection {
  readonly near: Socket;
  readonly far: Socket;
  listens: boolean;
}

export async function openRelay(url: string): Promise<Relay> {
  const target = new URL(url);
  const connections = new Set<RelayedConnection>();
  const silent = new Set<RelayedConnection>();
  const server = createServer((near) => {
    const connection = {
      near,
      far: connect(Number(target.port || 5432), target.hostname),
      listens: false,
    };
    connections.add(connection);
    forward(connection, () => {
      connections.delete(connection);
      silent.delete(connection);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // The address of a TCP server is an AddressInfo.
  const { port } = server.address() as AddressInfo;
  return {
    url: Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(port) }).href,
    silence() {
      for (const connection of [...connections].filter(({ listens }) => listens)) {
        connection.near.unpipe(connection.far).pause();
        connection.far.unpipe(connection.near).pause();
        silent.add(connection);
      }
      return silent.size;
    },
    cut() {
      for (const { near } of silent) near.destroy();
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const { near } of connections) near.destroy();
      await closed;
    },
  };
}

function forward(connection: RelayedConnection, onEnd: () => void): void {
  const { near, far } = connection;
  near.on('data', (bytes: Buffer) => {
    connection.listens ||= /\blisten\b/i.test(bytes.toString('latin1'));
  });
  near.pipe(far);
  far.pipe(near);
  const end = (): void => {
    near.destroy();
    far.destroy();
    onEnd();
  };
  for (const socket of [near, far]) {
    socket.setNoDelay(true);
    // `close` follows.
    socket.on('error', () => undefined);
    socket.once('close', end);
  }
}
