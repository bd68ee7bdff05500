// Alerts while receivers fail, processes die and processes are replaced: no message is lost, and none is repeated that was
// marked as delivered.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { createGateway } from '../../src/gateway.ts';
import {
  type Behaviour,
  openReceiver,
  type Receiver,
  switchProtocols,
  testCertificate,
} from '../alerts/receiver.ts';
import { report, toMs, toPercentile } from './figures.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const receiverCount = 10;
const made = new AsyncDisposableStack();
let stage: Stage;
let endpoints: readonly StagedEndpoint[];
let environment: Readonly<Record<string, string>>;

/** A request as the receiver saw it. */
interface Attempt {
  readonly id: string;
  readonly at: number;
  /** Of this endpoint, with this one. */
  readonly open: number;
  /** Of all endpoints, with this one. */
  readonly openInAll: number;
}

interface StagedEndpoint {
  readonly tenantId: string;
  readonly id: string;
  readonly secret: string;
  readonly receiver: Receiver;
  readonly attempts: Attempt[];
  /** The ids whose request was answered with 204. */
  readonly accepted: string[];
  /** What it answers; 204 by default. */
  behave: (id: string, attempt: number) => Behaviour;
}

/** Requests that have no response, of all endpoints. */
const running = new Set<{ readonly id: string; readonly at: number }>();

beforeAll(async () => {
  stage = made.use(await openStage({ numbers: Array.from({ length: receiverCount }, () => 1) }));
  const receivers = await Promise.all(
    Array.from({ length: receiverCount }, async () => made.use(await openReceiver({ tls: true }))),
  );
  const directory = await mkdtemp(join(tmpdir(), 'alerts-'));
  made.defer(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'ca.pem'), testCertificate);
  environment = {
    ALERT_ALLOW_CIDR: '127.0.0.0/8',
    ALERT_ALLOW_PORTS: receivers.map(({ port }) => port).join(','),
    NODE_EXTRA_CA_CERTS: join(directory, 'ca.pem'),
  };
  await using gateway = await createGateway(
    parseConfig(readEnvironment({ ...stage.environment, ...environment })),
  );
  const added: StagedEndpoint[] = [];
  for (const [index, receiver] of receivers.entries()) {
    const tenantId = stage.tenants[index]!.id;
    const url = `https://127.0.0.1:${receiver.port}/hook`;
    const request = { tenantId, url, format: 'STANDARD', rules: [] } as const;
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { id, secret } = await gateway.alertEndpoints.add(request);
    added.push(observe({ tenantId, id, secret: secret!, receiver }));
  }
  endpoints = added;
}, 120_000);
afterAll(() => made.disposeAsync());

function observe(
  endpoint: Pick<StagedEndpoint, 'tenantId' | 'id' | 'secret' | 'receiver'>,
): StagedEndpoint {
  const staged: StagedEndpoint = {
    ...endpoint,
    attempts: [],
    accepted: [],
    behave: () => 204,
  };
  endpoint.receiver.behave((response) => {
    const id = String(response.req.headers['webhook-id']);
    const request = { id: endpoint.id, at: Date.now() };
    running.add(request);
    response.once('finish', () => running.delete(request));
    // Before `close`, which comes when the receiver has closed its side too.
    response.socket?.once('end', () => running.delete(request));
    response.once('close', () => {
      running.delete(request);
      if (response.writableFinished && response.statusCode === 204) staged.accepted.push(id);
    });
    const ofOne = [...running].filter((it) => it.id === endpoint.id).length;
    staged.attempts.push({ id, at: request.at, open: ofOne, openInAll: running.size });
    const count = staged.attempts.filter((it) => it.id === id).length;
    answer(response, staged.behave(id, count));
  });
  return staged;
}

function answer(response: ServerResponse, behaviour: Behaviour): void {
  if (behaviour === 'hang') return;
  // A socket of TLS cannot send a reset.
  if (behaviour === 'reset') response.socket?.destroy();
  else if (typeof behaviour === 'function') behaviour(response);
  else response.writeHead(behaviour).end();
}

let messages = 0;

/** Queues messages as an evaluation does, and returns their ids. */
async function queue(endpoint: StagedEndpoint, count: number): Promise<readonly string[]> {
  const ids = Array.from(
    { length: count },
    () => `msg_${(messages += 1).toString().padStart(32, '0')}`,
  );
  await stage.query(
    `insert into alert_delivery (tenant_id, endpoint_id, id, type, content, created_at, due_at)
     select $1, $2, id, 'test', json_build_object('type', 'test', 'data', id)::text, now(), now()
     from unnest($3::text[]) id`,
    [endpoint.tenantId, endpoint.id, ids],
  );
  return ids;
}

/** Makes what waits for its next attempt due, until nothing is left or the time is over. Returns how many are left. */
async function hurry(timeoutMs: number, hurries = true): Promise<number> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    // oxlint-disable no-await-in-loop -- until nothing is left
    if (hurries) {
      await stage.query('update alert_delivery set due_at = now() where claimed_until is null');
    }
    const [row] = await stage.query<{ left: number }>(
      'select count(*)::int as left from alert_delivery',
    );
    if (row!.left === 0 || Date.now() > until) return row!.left;
    await sleep(200);
    // oxlint-enable no-await-in-loop
  }
}

function reset(): void {
  for (const endpoint of endpoints) {
    endpoint.attempts.length = 0;
    endpoint.accepted.length = 0;
    endpoint.behave = () => 204;
  }
}

/** How many requests do not verify, or have another body than the first one with their id. */
function countFalse({ receiver, secret }: StagedEndpoint): number {
  const bodies = new Map<string, string>();
  return receiver.requests.filter(({ headers, body }) => {
    const id = headers['webhook-id']!;
    const first = bodies.get(id) ?? body;
    bodies.set(id, first);
    try {
      new Webhook(secret).verify(body, headers);
      return first !== body;
    } catch {
      // Only requests of the last minutes verify; those of earlier tests do not count.
      return Date.now() - Number(headers['webhook-timestamp']) * 1_000 < 200_000;
    }
  }).length;
}

/** Whether each was accepted once, at its second attempt. */
function isOnce({ accepted, attempts }: StagedEndpoint, ids: readonly string[]): boolean {
  const isWhole = new Set(accepted).size === ids.length && accepted.length === ids.length;
  return isWhole && attempts.length === 2 * ids.length;
}

/** Ids that were accepted more than once. */
function listRepeated({ accepted }: StagedEndpoint): readonly string[] {
  return accepted.filter((id, at) => accepted.indexOf(id) !== at);
}

const starting = () => stage.startGateway(environment);
const areMet = (met: readonly boolean[]) => met.every(Boolean);

test('two processes deliver to a receiver that fails by script: each message once, by requests that verify', async () => {
  reset();
  const [failing, gone, slow] = endpoints as [StagedEndpoint, StagedEndpoint, StagedEndpoint];
  const failures: readonly Behaviour[] = [
    500,
    (response) => response.writeHead(429, { 'retry-after': '8' }).end(),
    'reset',
    switchProtocols,
    (response) => response.writeHead(301, { location: `${gone.receiver.url}/other` }).end(),
  ];
  const ids = await queue(failing, 32);
  failing.behave = (id, attempt) =>
    attempt === 1 ? failures[ids.indexOf(id) % failures.length]! : 204;
  slow.behave = (_, attempt) => (attempt === 1 ? 'hang' : 204);
  const slowIds = await queue(slow, 8);
  gone.behave = () => 410;
  await queue(gone, 5);
  const gateways = [await starting(), await starting()];
  const left = await hurry(120_000, false);
  const delays = ids.map((id) => {
    const [first, second] = failing.attempts.filter((it) => it.id === id);
    return (second?.at ?? Infinity) - (first?.at ?? 0);
  });
  const asked = delays.filter((_, at) => at % failures.length === 1);
  const usual = delays.filter((_, at) => at % failures.length !== 1);
  const [off] = await stage.query<{ state: string; reason: string; changes: number }>(
    `select state, off_reason as reason, (
       select count(*)::int from number_change c where c.tenant_id = e.tenant_id and c.kind = 'ENDPOINT'
         and c.new_value::jsonb ->> 'reason' = 'GONE'
     ) as changes from alert_endpoint e where id = $1`,
    [gone.id],
  );
  // The next claim comes at most 5 s after the time of the retry.
  const met = areMet([
    report('nothing is left after two minutes', `${left} of 45 messages`, left === 0),
    report(
      'each message is accepted once, at its second attempt',
      `${failing.accepted.length + slow.accepted.length} accepted, ${failing.attempts.length + slow.attempts.length} attempts for 40 messages`,
      isOnce(failing, ids) && isOnce(slow, slowIds),
    ),
    report(
      'every request verifies',
      `${countFalse(failing) + countFalse(slow)} do not`,
      countFalse(failing) + countFalse(slow) === 0,
    ),
    report(
      'the second attempt follows after 5 s plus or minus a fifth, and up to 5 s for the next look',
      `${toMs(Math.min(...usual))} to ${toMs(Math.max(...usual))}`,
      Math.min(...usual) >= 3_900 && Math.max(...usual) < 13_000,
    ),
    report(
      'Retry-After: 8 is honoured',
      `${toMs(Math.min(...asked))} to ${toMs(Math.max(...asked))}`,
      Math.min(...asked) >= 7_900 && Math.max(...asked) < 15_000,
    ),
    report(
      '301 is not followed',
      `${gone.attempts.filter(({ id }) => ids.includes(id)).length} requests elsewhere`,
      gone.attempts.every(({ id }) => !ids.includes(id)),
    ),
    report(
      '410 switches the endpoint off, once, and nothing more is sent to it',
      `${off!.state} ${off!.reason}, ${off!.changes} changes, ${gone.attempts.length} requests`,
      off!.state === 'OFF' &&
        off!.reason === 'GONE' &&
        off!.changes === 1 &&
        gone.attempts.length <= 5,
    ),
    report(
      'at most 4 in flight for an endpoint',
      `${Math.max(...failing.attempts.map(({ open }) => open))}`,
      failing.attempts.concat(slow.attempts).every(({ open }) => open <= 4),
    ),
  ]);
  expect(met).toBe(true);
  await Promise.all(gateways.map((gateway) => gateway.end('SIGTERM')));
});

test('kill -9 between the request and its mark: the same message again, nothing lost, nothing else repeated', async () => {
  reset();
  const three = endpoints.slice(2, 5);
  const first = await starting();
  const queued = new Map<StagedEndpoint, readonly string[]>();
  for (const endpoint of three) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    queued.set(endpoint, await queue(endpoint, 30));
  }
  const inFlight = new Set<string>();
  const held: ServerResponse[] = [];
  const { promise: full, resolve } = Promise.withResolvers<void>();
  let isKilled = false;
  for (const endpoint of three) {
    endpoint.behave = (id) => {
      if (isKilled || endpoint.attempts.length <= 10) return 204;
      return (response) => {
        // It has arrived, and its response never does.
        inFlight.add(id);
        held.push(response);
        if (inFlight.size === 12) resolve();
      };
    };
  }
  await full;
  const before = three.map(({ accepted }) => new Set(accepted));
  await first.end('SIGKILL');
  isKilled = true;
  for (const response of held) response.destroy();
  const second = await starting();
  const killedAt = Date.now();
  const left = await hurry(90_000, false);
  const tookMs = Date.now() - killedAt;
  const missing = three.flatMap((endpoint) =>
    queued.get(endpoint)!.filter((id) => !endpoint.accepted.includes(id)),
  );
  const attempted = three.flatMap(({ attempts }) => attempts.map(({ id }) => id));
  const repeated = new Set(attempted.filter((id, at) => attempted.indexOf(id) !== at));
  const others = [...repeated].filter((id) => !inFlight.has(id));
  const met = areMet([
    report('nothing is lost', `${missing.length + left} of 90`, missing.length + left === 0),
    report(
      'what was in flight is sent again with the same id and content, and verifies',
      `${repeated.size} of 12 again, ${three.reduce((sum, it) => sum + countFalse(it), 0)} false`,
      repeated.size === 12 && three.every((it) => countFalse(it) === 0),
    ),
    report(
      'nothing else is repeated',
      `${others.length} others, ${before.reduce((sum, it) => sum + it.size, 0)} were marked before`,
      others.length === 0,
    ),
    report(
      'another process takes over within 30 s, and 5 s for the next look',
      toMs(tookMs),
      tookMs < 45_000,
    ),
  ]);
  expect(met).toBe(true);
  await second.end('SIGTERM');
});

test('processes are replaced while receivers fail: nothing lost, nothing repeated that was accepted', async () => {
  reset();
  const used = endpoints.slice(2, 6);
  const queued = new Map<StagedEndpoint, readonly string[]>();
  for (const endpoint of used) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    queued.set(endpoint, await queue(endpoint, 200));
    let requests = 0;
    // Each third one fails, and each takes a while, so that some are in flight when a process stops.
    endpoint.behave = () => {
      requests += 1;
      const status = requests % 3 === 0 ? 500 : 204;
      return (response) => void setTimeout(() => response.writeHead(status).end(), 200);
    };
  }
  let gateways: StagedGateway[] = [await starting(), await starting()];
  const done = new AbortController();
  const hurrying = hurry(180_000).finally(() => done.abort());
  let rolls = 0;
  while (!done.signal.aborted && rolls < 6) {
    // oxlint-disable no-await-in-loop -- one after the other
    const [oldest, ...others] = gateways;
    await oldest!.end('SIGTERM');
    gateways = [...others, await starting()];
    rolls += 1;
    await sleep(1_000);
    // oxlint-enable no-await-in-loop
  }
  const left = await hurrying;
  const missing = used.flatMap((endpoint) =>
    queued.get(endpoint)!.filter((id) => !endpoint.accepted.includes(id)),
  );
  const repeated = used.flatMap(listRepeated);
  const met = areMet([
    report(
      'nothing is lost',
      `${missing.length + left} of 800 in ${rolls} rolls`,
      missing.length + left === 0,
    ),
    report(
      'nothing that was accepted is sent again',
      `${repeated.length} of 800`,
      repeated.length === 0,
    ),
    report(
      'at most 4 in flight for an endpoint, by two processes',
      `${Math.max(...used.flatMap(({ attempts }) => attempts.map(({ open }) => open)))}`,
      used.every(({ attempts }) => attempts.every(({ open }) => open <= 4)),
    ),
  ]);
  expect(met).toBe(true);
  await Promise.all(gateways.map((gateway) => gateway.end('SIGTERM')));
});

test('an endpoint that hangs does not delay the messages of another tenant, and a process sends 32 at most', async () => {
  reset();
  const [hanging, healthy, ...more] = endpoints.slice(0, 1).concat(endpoints.slice(2)) as [
    StagedEndpoint,
    StagedEndpoint,
    ...StagedEndpoint[],
  ];
  hanging.behave = () => 'hang';
  await queue(hanging, 40);
  const gateway = await starting();
  while (hanging.attempts.length < 4) {
    // oxlint-disable-next-line no-await-in-loop -- until it hangs
    await sleep(50);
  }
  const delays = async (): Promise<readonly number[]> => {
    const found: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      // oxlint-disable no-await-in-loop -- one after the other
      const at = Date.now();
      const ids = await queue(healthy, 5);
      while (!ids.every((id) => healthy.accepted.includes(id))) await sleep(20);
      found.push(Date.now() - at);
      // oxlint-enable no-await-in-loop
    }
    return found;
  };
  const beside = await delays();
  // Now as many hang as a process sends at once.
  for (const endpoint of more) {
    endpoint.behave = () => 'hang';
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await queue(endpoint, 10);
  }
  while (running.size < 32) {
    // oxlint-disable-next-line no-await-in-loop -- until all are used
    await sleep(50);
  }
  const at = Date.now();
  const ids = await queue(healthy, 5);
  while (!ids.every((id) => healthy.accepted.includes(id))) {
    // oxlint-disable-next-line no-await-in-loop -- until they have arrived
    await sleep(50);
  }
  const besideAll = Date.now() - at;
  const inFlight = endpoints.flatMap(({ attempts }) => attempts.map((it) => it.openInAll));
  const ofOne = endpoints.flatMap(({ attempts }) => attempts.map(({ open }) => open));
  const met = areMet([
    report(
      "another tenant's messages arrive within the 5 s of the next look while one endpoint hangs",
      `${toMs(Math.min(...beside))} to ${toMs(toPercentile(beside, 1))}`,
      Math.max(...beside) < 6_500,
    ),
    report(
      'at most 32 in flight of a process',
      `${Math.max(...inFlight)}`,
      Math.max(...inFlight) === 32,
    ),
    report(
      'at most 4 in flight for an endpoint',
      `${Math.max(...ofOne)}`,
      Math.max(...ofOne) === 4,
    ),
    report(
      'while 8 endpoints hang, which takes all 32, they arrive after two attempts of 15 s and the next look',
      toMs(besideAll),
      besideAll < 37_000,
    ),
  ]);
  expect(met).toBe(true);
  await gateway.end('SIGTERM');
});
