// That gateways can be replaced one after the other under load without a single failure.

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

/** Takes turns among those that are ready, asks that each 100 ms, keeps connections, and tries nothing twice. */
async function openBalancer(): Promise<Balancer> {
  const targets = new Set<StagedGateway>();
  const ready = new Set<StagedGateway>();
  const agent = new Agent({ keepAlive: true });
  let turn = 0;
  const server: Server = createServer((incoming, outgoing) => {
    const all = [...ready];
    const target = all[turn++ % all.length];
    if (target === undefined) return void outgoing.writeHead(502).end();
    const passed = request(
      `${target.url}${incoming.url}`,
      { agent, method: incoming.method, headers: incoming.headers },
      (answer) => {
        const { connection: _, ...headers } = answer.headers;
        outgoing.writeHead(answer.statusCode ?? 502, headers);
        answer.pipe(outgoing);
      },
    );
    passed.once('error', () =>
      outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end(),
    );
    incoming.pipe(passed);
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
  // A listening TCP server has an address with a port.
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

test(`three gateways are replaced at ${perSecond} requests a second`, async () => {
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
  // What this machine cannot take without any restart is no fault of one.
  const calmLoad = startLoad();
  await delay(5_000);
  const calm = await calmLoad.stop();
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
  const answers = await load.stop();
  const failed = answers.filter(({ status }) => status !== 200);
  expect(
    report(
      `rolling SIGTERM over three processes at ${perSecond} requests a second: 0 failures, exit code 0`,
      `${failed.length} failed of ${answers.length} (${toTally(answers)}), exit codes ${codes.join(', ')}; without a restart: ${toTally(calm)}`,
      failed.length === 0 && answers.length > perSecond * 3 && codes.every((code) => code === 0),
    ),
  ).toBe(true);
});
