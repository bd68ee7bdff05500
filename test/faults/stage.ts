// The environment of a fault run: a restartable PostgreSQL server, simulated upstreams on a port, tenants with numbers, and
// gateways as separate processes.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Pool } from 'pg';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/database/database.ts';
import { createGateway } from '../../src/gateway.ts';
import { createTestSimulator, type TestSimulator } from '../simulator/simulator.ts';
import { toHealthyPhone } from '../harness.ts';
import { startArgs } from '../npm-start.ts';
import { openRestartablePostgres, type RestartablePostgres } from './restartable-postgres.ts';

export interface StagedTenant {
  readonly id: string;
  readonly key: string;
  /** Of its endpoint for webhooks, which `stagedAppSecret` signs. */
  readonly webhookPath: string;
  readonly numbers: readonly { readonly id: string; readonly phoneNumberId: string }[];
}

export interface StagedGateway extends AsyncDisposable {
  readonly url: string;
  readonly process: ChildProcess;
  /** The last 2,000 lines of its output, oldest first. */
  readonly lines: readonly string[];
  isAlive(): boolean;
  /** Sends the signal and waits; resolves to the exit code, or to the signal that ended it. */
  end(signal: NodeJS.Signals): Promise<number | string>;
  observe(): Promise<Observed>;
}

export interface Observed {
  readonly heapUsed: number;
  /** Outside of the heap of V8, such as the bytes of Buffers. */
  readonly external: number;
  readonly rss: number;
  /** Counts of active resources, by kind. */
  readonly resources: Readonly<Record<string, number>>;
}

export interface Stage extends AsyncDisposable {
  readonly postgres: RestartablePostgres;
  readonly simulator: TestSimulator;
  readonly tenants: readonly StagedTenant[];
  /** Of its gateways. */
  readonly environment: Readonly<Record<string, string>>;
  /** As superuser, not through the gateway. Rejects while the server is down. */
  query<Row = Record<string, unknown>>(text: string, values?: unknown[]): Promise<readonly Row[]>;
  startGateway(environment?: Readonly<Record<string, string>>): Promise<StagedGateway>;
}

export interface StageOptions {
  /** The number of numbers of each tenant; one entry per tenant. */
  readonly numbers: readonly number[];
  /** The numbers of a tenant are in accounts of so many, which share an access token; by default in one account, without. */
  readonly numbersOfAccount?: number;
  /** Meta's hourly limit of calls per account; by default the real one. */
  readonly hourlyCalls?: number;
}

export const stagedAppSecret = 'a-secret-of-the-staged-app-0123456789';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const observer = new URL('observer.ts', import.meta.url).href;

export async function openStage(options: StageOptions): Promise<Stage> {
  const made = new AsyncDisposableStack();
  const postgres = made.use(await openRestartablePostgres());
  const simulator = made.use(createTestSimulator());
  const upstream = await simulator.listen();
  const admin = made.adopt(new Pool({ connectionString: postgres.url, max: 4 }), (it) => it.end());
  admin.on('error', () => undefined);
  const url = await prepareDatabase(postgres.url, admin);
  const environment = {
    DATABASE_URL: url,
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
    // Reads in the background are for tests that ask for them.
    SYNC: 'off',
    META_GRAPH_URL: upstream.url,
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'error',
    // Out of reach of any load: these runs test what the process can take.
    RATE_LIMIT: '999999999/10',
  };
  const tenants = await addTenants(environment, simulator, options);
  return {
    postgres,
    simulator,
    tenants,
    environment,
    query: async (text, values = []) => (await admin.query(text, values)).rows as never,
    async startGateway(overrides = {}) {
      return made.use(await startGateway({ ...environment, ...overrides }));
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

async function prepareDatabase(ownerUrl: string, admin: Pool): Promise<string> {
  {
    await using database = await openDatabase({ kind: 'postgres', url: ownerUrl });
    await database.migrate();
  }
  await admin.query(`create role gateway login password 'gateway'; grant gateway_login to gateway`);
  return Object.assign(new URL(ownerUrl), { username: 'gateway', password: 'gateway' }).href;
}

async function addTenants(
  environment: Readonly<Record<string, string>>,
  simulator: TestSimulator,
  { numbers, numbersOfAccount = Infinity, hourlyCalls }: StageOptions,
): Promise<readonly StagedTenant[]> {
  await using gateway = await createGateway(parseConfig(readEnvironment(environment)));
  const tenants: StagedTenant[] = [];
  for (const [index, count] of numbers.entries()) {
    // oxlint-disable no-await-in-loop -- in this order
    const { id } = await gateway.access.createTenant(`Tenant ${index}`);
    const newKey = { tenantId: id, name: 'Key', numberId: null, expiresAt: null };
    const { key } = await gateway.access.createKey(newKey);
    const appSecrets = [stagedAppSecret];
    const { path } = await gateway.webhooks.add({ tenantId: id, proof: 'SIGNED', appSecrets });
    const added: StagedTenant['numbers'][number][] = [];
    let wabaId = '';
    let accessToken = '';
    for (let place = 0; place < count; place++) {
      if (place === 0 || place % numbersOfAccount === 0) {
        wabaId = String(700_000 + index + 1_000 * (place / numbersOfAccount));
        accessToken = createToken();
        simulator.setWaba({
          id: wabaId,
          fields: { name: `Account ${index}` },
          ...(hourlyCalls !== undefined && { hourlyCalls }),
        });
      }
      const phoneNumberId = String(10_000_000 + index * 100_000 + place);
      const digits = `5511${phoneNumberId}`;
      const fields = { display_phone_number: `+${digits}` };
      simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
      const number = await gateway.numbers.create({
        tenantId: id,
        name: `Number ${place}`,
        number: digits,
        provider: 'META',
        state: 'OPEN',
        instanceName: null,
        phoneNumberId,
        wabaId,
        credentials: {
          accessToken: numbersOfAccount === Infinity ? createToken() : accessToken,
          appSecret: null,
        },
      });
      added.push({ id: number.id, phoneNumberId });
    }
    tenants.push({ id, key, webhookPath: path, numbers: added });
    // oxlint-enable no-await-in-loop
  }
  return tenants;
}

function createToken(): string {
  return `EAA${randomBytes(24).toString('hex')}`;
}

async function startGateway(environment: Readonly<Record<string, string>>): Promise<StagedGateway> {
  const args = [...startArgs, '--expose-gc', '--import', observer, main, 'serve'];
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const exit = once(child, 'exit');
  const lines: string[] = [];
  const { promise: listening, resolve, reject } = Promise.withResolvers<string>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream! }).on('line', (line) => {
      lines.push(line);
      if (lines.length > 2_000) lines.shift();
      const { url } = parseLine(line);
      if (stream === child.stdout && url !== undefined) resolve(url);
    });
  }
  child.once('exit', (code) =>
    reject(new Error(`The gateway exited with ${code}:\n${lines.join('\n')}`)),
  );
  const isAlive = () => child.exitCode === null && child.signalCode === null;
  const end: StagedGateway['end'] = async (signal) => {
    if (isAlive()) child.kill(signal);
    const [code, by] = await exit;
    return code ?? by;
  };
  return {
    url: await listening,
    process: child,
    lines,
    isAlive,
    end,
    async observe() {
      const message = once(child, 'message');
      child.send('observe');
      return (await message)[0] as Observed;
    },
    [Symbol.asyncDispose]: async () => void (await end('SIGKILL')),
  };
}

function parseLine(line: string): { readonly url?: string } {
  try {
    return JSON.parse(line) as { url?: string };
  } catch {
    return {};
  }
}
