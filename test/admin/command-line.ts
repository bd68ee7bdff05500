// Runs commands of the command line in this process, on a PostgreSQL database and with simulated upstreams.

import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { WriteStream } from 'node:tty';
import { Client } from 'pg';
import { run as runAdmin, type Terminal } from '../../src/admin/commands.ts';
import { listen } from '../../src/http/server.ts';
import {
  createTestSimulator,
  type TestSimulator,
  type SimulatorOptions,
} from '../simulator/simulator.ts';
import { openTestPostgresUrl, type TestPostgresUrl } from '../harness.ts';

// The environment of a run decides on colours, not that of the tests.
delete process.env['FORCE_COLOR'];

export interface RunOptions {
  /** Content of standard input; empty by default. */
  readonly stdin?: string;
  /** The streams that are a terminal; none by default. */
  readonly tty?: readonly ('stdin' | 'stdout' | 'stderr')[];
  /** The width of the terminal; 200 by default. */
  readonly columns?: number;
  /** Called with each text that is written to standard output. */
  readonly onStdout?: (text: string) => void;
  /** Called with each text that is written to standard error. */
  readonly onStderr?: (text: string) => void;
  /** Overrides variables of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface CommandResult<Json> {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output parsed as JSON; undefined if it is not JSON. */
  readonly json: Json;
}

export interface CommandLine extends AsyncDisposable {
  readonly environment: Readonly<Record<string, string>>;
  readonly database: TestPostgresUrl;
  readonly simulator: TestSimulator;
  /** The arguments as one string, or as an array when one of them contains spaces. */
  run<Json = Record<string, unknown>>(
    args: string | readonly string[],
    options?: RunOptions,
  ): Promise<CommandResult<Json>>;
  /** Runs a statement as the owner of the tables, outside the gateway. */
  query(statement: string): Promise<void>;
  addTenant(): Promise<string>;
}

export interface CommandLineOptions {
  readonly migrated?: boolean;
  readonly simulator?: SimulatorOptions;
}

/** Sets up an installation as in production: the login role is neither a superuser nor the owner of the tables. */
export async function openCommandLine(options: CommandLineOptions = {}): Promise<CommandLine> {
  const resources = new AsyncDisposableStack();
  const { migrated = true } = options;
  const database = resources.use(await openTestPostgresUrl({ migrated }));
  const simulator = resources.use(createTestSimulator(options.simulator));
  const { url } = await simulator.listen();
  const environment = {
    DATABASE_URL: migrated ? database.url : database.ownerUrl,
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
    // Reads in the background are for tests that ask for them.
    SYNC: 'off',
    META_GRAPH_URL: url,
    SESSION_ENGINE_URL: url,
    SESSION_ENGINE_KEY: 'engine-key',
    PORT: '0',
  };
  const run: CommandLine['run'] = (args, overrides) =>
    runCommand(args, { ...overrides, environment: { ...environment, ...overrides?.environment } });
  return {
    environment,
    database,
    simulator,
    run,
    query: (statement) => query(database.ownerUrl, statement),
    async addTenant() {
      const { json } = await run<{ id: string }>('tenant create --name Test');
      return json.id;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function query(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Runs a command with these variables only. */
export async function runCommand<Json>(
  args: string | readonly string[],
  { stdin, tty = [], columns = 200, ...options }: RunOptions = {},
): Promise<CommandResult<Json>> {
  const { environment = {}, signal = AbortSignal.any([]) } = options;
  const stdout = createOutput({
    isTTY: tty.includes('stdout'),
    columns,
    environment,
    onText: options.onStdout,
  });
  const stderr = createOutput({
    isTTY: tty.includes('stderr'),
    columns,
    environment,
    onText: options.onStderr,
  });
  const input = Readable.from(stdin === undefined ? [] : [stdin]);
  const terminal: Terminal = {
    stdin: Object.assign(input, { isTTY: tty.includes('stdin') }),
    stdout: stdout.stream,
    stderr: stderr.stream,
    environment,
    signal,
  };
  const words = typeof args === 'string' ? args.split(' ').filter(Boolean) : args;
  const code = await runAdmin(words, terminal, { listen });
  const text = stdout.read();
  return { code, stdout: text, stderr: stderr.read(), json: parseJson(text) as Json };
}

interface OutputOptions {
  readonly isTTY: boolean;
  readonly columns: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly onText?: ((text: string) => void) | undefined;
}

function createOutput({ isTTY, columns, environment, onText }: OutputOptions): {
  readonly stream: Terminal['stdout'];
  read(): string;
} {
  const chunks: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      chunks.push(chunk.toString());
      onText?.(chunk.toString());
      done();
    },
  });
  // Colours by TERM and NO_COLOR, as of a terminal with this environment.
  const getColorDepth = () => WriteStream.prototype.getColorDepth(environment);
  return {
    stream: Object.assign(stream, { isTTY, columns, getColorDepth }),
    read: () => chunks.join(''),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
