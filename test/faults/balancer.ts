// A small load balancer before the gateways of a fault run.

import { once } from 'node:events';
import { Agent, createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { StagedGateway } from './stage.ts';

export interface Balancer extends AsyncDisposable {
  readonly url: string;
  readonly targets: Set<StagedGateway>;
}

/** Round robin over the targets that are ready, checked every 100 ms. Keeps connections open and never retries. */
export async function openBalancer(): Promise<Balancer> {
  const targets = new Set<StagedGateway>();
  const ready = new Set<StagedGateway>();
  const agent = new Agent({ keepAlive: true });
  let count = 0;
  const server: Server = createServer((incoming, outgoing) => {
    const all = [...ready].filter((it) => targets.has(it));
    const target = all[count++ % all.length];
    if (target === undefined) return void outgoing.writeHead(502).end();
    const forwarded = request(
      `${target.url}${incoming.url}`,
      { agent, method: incoming.method, headers: incoming.headers },
      (response) => {
        const { connection: _, ...headers } = response.headers;
        outgoing.writeHead(response.statusCode ?? 502, headers);
        response.pipe(outgoing);
        // Of a gateway that was killed in the middle of a response.
        response.once('close', () => response.complete || outgoing.destroy());
      },
    );
    forwarded.once('error', () =>
      outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end(),
    );
    // A client that goes away, as a stream does, ends what it asked for.
    outgoing.once('close', () => forwarded.destroy());
    incoming.pipe(forwarded);
  });
  const check = setInterval(() => {
    for (const target of targets) {
      fetch(`${target.url}/readyz`).then(
        ({ ok }) => void (ok && targets.has(target) ? ready.add(target) : ready.delete(target)),
        () => void ready.delete(target),
      );
    }
  }, 100);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // The address of a TCP server is an AddressInfo.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    targets,
    async [Symbol.asyncDispose]() {
      clearInterval(check);
      agent.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}
