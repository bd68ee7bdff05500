// What live readings cost at Meta: requests and operations that reach a simulated Graph API over HTTP.

import { openDatabase } from '../../../src/database.ts';
import { readEnvironment, toConfig } from '../../../src/config.ts';
import { createGateway } from '../../../src/gateway.ts';
import {
  createSimulator,
  type SimulatedPhone,
  type Simulator,
} from '../../../src/simulator/simulator.ts';
import { createTelemetry } from '../../../src/telemetry.ts';
import { startGateway } from '../contestants.ts';
import { type BenchDatabase, encryptionKeys, pepper } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { type Answer, ask, toGraphQLQuestion } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { askAtOnce } from '../at-once.ts';
import { type Section, toBar } from './section.ts';

const wabaId = '70000000001';
const numbersOfWaba = 25;
const processes = 3;
const simultaneous = 1_000;

export const countGraphCalls: Section = async ({ openFleet, tell }) => {
  tell('Graph economy');
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const simulator = made.use(createSimulator());
  const { url } = await simulator.listen();
  const tenant = await addTenant(database, simulator, url);
  const gateways = await inTurn(toRange(processes), async () =>
    made.use(await startGateway(database, { META_GRAPH_URL: url })),
  );
  const [gateway] = gateways;
  if (gateway === undefined) throw new Error('No gateway was started.');
  const all = await refreshAll(gateway, simulator, tenant);
  const alone = await refreshHealthAlone(gateway, simulator, tenant);
  tell(`Graph economy: ${simultaneous} refreshes at once`);
  const crowd = await refreshAtOnce(gateways, simulator, tenant);
  return {
    bars: [
      toBar(
        `economy, HTTP requests to Graph for ${numbersOfWaba} numbers of one WABA`,
        all.requests,
        '<=',
        2,
      ),
      toBar('economy, Graph calls for health alone', alone.operations, '<=', 1),
      toBar(
        `economy, upstream reads for ${simultaneous} simultaneous refreshes over ${processes} processes`,
        crowd.operations,
        '<=',
        1,
      ),
      toBar(
        `economy, how many of these ${simultaneous} were answered live`,
        crowd.live,
        '>=',
        simultaneous,
      ),
    ],
    tables: [
      {
        title: 'Calls that reached Graph',
        columns: ['live readings', 'HTTP requests', 'operations in them'],
        rows: [
          [`${numbersOfWaba} numbers, all blocks, one request`, all.requests, all.operations],
          ['one number, health alone', alone.requests, alone.operations],
          [
            `one number, ${simultaneous} requests, ${processes} processes`,
            crowd.requests,
            crowd.operations,
          ],
        ],
      },
    ],
    notes:
      crowd.live < simultaneous
        ? [`The other simultaneous refreshes answered: ${crowd.others}.`]
        : [],
  };
};

interface Tenant {
  readonly key: string;
  readonly numberIds: readonly string[];
}

/** A tenant whose numbers the simulator knows, made by the gateway's own use cases, so that credentials are sealed. */
async function addTenant(
  { url }: BenchDatabase,
  simulator: Simulator,
  graphUrl: string,
): Promise<Tenant> {
  const config = toConfig(
    readEnvironment({
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      META_GRAPH_URL: graphUrl,
    }),
  );
  const database = await openDatabase({ kind: 'postgres', url });
  const telemetry = createTelemetry({ level: 'silent' });
  await using gateway = await createGateway(config, { database, telemetry });
  const { id: tenantId } = await gateway.access.createTenant('Economy');
  const { key } = await gateway.access.createKey({
    tenantId,
    name: 'Bench',
    numberId: null,
    expiresAt: null,
  });
  simulator.setWaba({
    id: wabaId,
    fields: { name: 'Bench', currency: 'BRL' },
    hourlyCalls: 1_000_000,
  });
  const numberIds = await inTurn(toRange(numbersOfWaba), async (index) => {
    const phoneNumberId = String(70_000_000_100 + index);
    simulator.setPhone(toPhone(phoneNumberId));
    const number = await gateway.numbers.create({
      tenantId,
      name: `Number ${index}`,
      number: `55119${70_000_000 + index}`,
      provider: 'META',
      instanceName: null,
      state: 'OPEN',
      phoneNumberId,
      wabaId,
      credentials: { accessToken: 'EAABench', appSecret: null },
    });
    return number.id;
  });
  return { key, numberIds };
}

function toPhone(id: string): SimulatedPhone {
  return {
    id,
    wabaId,
    fields: { display_phone_number: id, status: 'CONNECTED', platform_type: 'CLOUD_API' },
    profile: { about: 'Bench', vertical: 'RETAIL' },
  };
}

interface Count {
  readonly requests: number;
  readonly operations: number;
}

async function refreshAll(
  gateway: StartedProcess,
  simulator: Simulator,
  { key, numberIds }: Tenant,
): Promise<Count> {
  const fields = numberIds.map(
    (id, index) => `n${index}: number(id: "${id}", refresh: true) { ...All }`,
  );
  const source = 'freshness { source }';
  const query = `{ ${fields.join(' ')} } fragment All on WhatsAppNumber {
    health { sendable } meta { phone { ${source} } profile { ${source} } waba { ${source} } } }`;
  simulator.clearCalls();
  const { text } = await ask(gateway.url, toGraphQLQuestion(query, { 'x-api-key': key }));
  assertLive(text, numbersOfWaba * 3);
  return toCount(simulator);
}

async function refreshHealthAlone(
  gateway: StartedProcess,
  simulator: Simulator,
  tenant: Tenant,
): Promise<Count> {
  simulator.clearCalls();
  const { text } = await ask(gateway.url, toHealthQuestion(tenant));
  assertLive(text, 1);
  return toCount(simulator);
}

interface Crowd extends Count {
  readonly live: number;
  /** The other answers, by status. */
  readonly others: string;
}

// Graph answers once all questions have been sent, so that they are simultaneous however slow the machine is.
async function refreshAtOnce(
  gateways: readonly StartedProcess[],
  simulator: Simulator,
  tenant: Tenant,
): Promise<Crowd> {
  simulator.clearCalls();
  const hold = simulator.hold('70000000101');
  const crowd = askAtOnce(
    toRange(simultaneous).map((index) => gateways[index % gateways.length]?.url ?? ''),
    toHealthQuestion({ ...tenant, numberIds: tenant.numberIds.slice(1) }),
  );
  await crowd.sent;
  hold.release();
  const answers = await crowd.answers;
  const others = Map.groupBy(
    answers.filter((answer) => !isLive(answer)),
    ({ status, text }) => `${status} ${/"code":"\w+"/.exec(text)?.[0] ?? text.slice(0, 100)}`,
  );
  return {
    ...toCount(simulator),
    live: answers.filter(isLive).length,
    others: [...others].map(([what, ofThem]) => `${ofThem.length} times ${what}`).join('; '),
  };
}

function isLive({ text }: Pick<Answer, 'text'>): boolean {
  return text.includes('"source":"LIVE"');
}

function toHealthQuestion({ key, numberIds: [id = ''] }: Tenant) {
  const query = `{ number(id: "${id}", refresh: true) { health { sendable freshness { source } } } }`;
  return toGraphQLQuestion(query, { 'x-api-key': key });
}

function assertLive(text: string, times: number): void {
  const live = text.split('"source":"LIVE"').length - 1;
  if (live !== times) {
    throw new Error(`${live} blocks of ${times} were read live: ${text.slice(0, 2_000)}`);
  }
}

function toCount({ calls }: Simulator): Count {
  return {
    requests: calls.length,
    operations: calls.reduce((sum, call) => sum + call.operations.length, 0),
  };
}
