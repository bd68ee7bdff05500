// What the bench and a peer exchange: the environment, and the URL that the peer prints.

import type { Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface PeerEnvironment {
  readonly databaseUrl: string;
  readonly pepper: string;
}

export function readPeerEnvironment(): PeerEnvironment {
  const { DATABASE_URL: databaseUrl, API_KEY_PEPPER: pepper } = process.env;
  if (!databaseUrl || !pepper) throw new Error('A peer needs DATABASE_URL and API_KEY_PEPPER.');
  return { databaseUrl, pepper };
}

/** Listens on a free port of the loopback interface. */
export async function listenAndAnnounce(server: Server): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  announce(server);
}

export function announce(server: Server): void {
  // The address of a TCP server is an AddressInfo.
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
}
