// Gateways are replaced one after the other under load without a failed request.

import { once } from 'node:events';
import { Agent, createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report } from './figures.ts';
import { startRate, toTally } from './load.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({ numbers: [3] });
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

interface Balancer extends AsyncDisposable {
  readonly url: string;
  readonly targets: Set<StagedGateway>;
}

/** Round robin over the targets that are ready, checked every 100 ms. Keeps connections open and never retries. */
async function openBalancer(): Promise<Balancer> {
  const targets = new Set<StagedGateway>();
  const ready = new Set<StagedGateway>();
  const agent = new Agent({ keepAlive: true });
  let count = 0;
  const server: Server = createServer((incoming, outgoing) => {
    const all = [...ready];
    const target = all[count++ % all.length];
    if (target === undefined) return void outgoing.writeHead(502).end();
    const forwarded = request(
      `${target.url}${incoming.url}`,
      { agent, method: incoming.method, headers: incoming.headers },
      (response) => {
        const { connection: _, ...headers } = response.headers;
        outgoing.writeHead(response.statusCode ?? 502, headers);
        response.pipe(outgoing);
      },
    );
    forwarded.once('error', () =>
      outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end(),
    );
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

const perSecond = Number(process.env['RATE'] ?? 300);

test(`replacing three gateways at ${perSecond} requests a second fails none of them`, async () => {
  await using balancer = await openBalancer();
  const tenant = stage.tenants[0]!;
  const first = await Promise.all([1, 2, 3].map(() => stage.startGateway()));
  for (const gateway of first) balancer.targets.add(gateway);
  await delay(500);
  const paths = ['/v1/numbers', `/v1/numbers/${tenant.numbers[0]!.id}`];
  const startLoad = () =>
    startRate(perSecond, (index) => ({
      url: `${balancer.url}${paths[index % 2]}`,
      key: tenant.key,
    }));
  // Printed for comparison: what the machine does without a restart.
  const loadWithoutRestart = startLoad();
  await delay(5_000);
  const withoutRestart = await loadWithoutRestart.stop();
  const load = startLoad();
  await delay(1_000);
  const codes: (number | string)[] = [];
  for (const old of first) {
    // oxlint-disable no-await-in-loop -- one after the other
    const replacement = await stage.startGateway();
    balancer.targets.add(replacement);
    await delay(300);
    codes.push(await old.end('SIGTERM'));
    balancer.targets.delete(old);
    // oxlint-enable no-await-in-loop
  }
  await delay(500);
  const responses = await load.stop();
  const failed = responses.filter(({ status }) => status !== 200);
  expect(
    report(
      `rolling SIGTERM over three processes at ${perSecond} requests a second: 0 failures, exit code 0`,
      `${failed.length} failed of ${responses.length} (${toTally(responses)}), exit codes ${codes.join(', ')}; without a restart: ${toTally(withoutRestart)}`,
      failed.length === 0 && responses.length > perSecond * 3 && codes.every((code) => code === 0),
    ),
  ).toBe(true);
});
