// The verbs for tests of the command line: a PostgreSQL database, simulated upstreams, and commands run in this process.

import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { Client } from 'pg';
import { run, type Terminal } from '../../src/admin.ts';
import { listen } from '../../src/http/server.ts';
import {
  createSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../src/simulator/simulator.ts';
import { openTestPostgresUrl, type TestPostgresUrl } from '../harness.ts';

export interface RunOptions {
  /** What is piped in; nothing unless told. */
  readonly stdin?: string;
  /** Which streams are a person's terminal. */
  readonly person?: readonly ('stdin' | 'stdout' | 'stderr')[];
  /** Variables that differ. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Ran<Json> {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What standard output holds, if that is one JSON value. */
  readonly json: Json;
}

export interface CommandLine extends AsyncDisposable {
  readonly environment: Readonly<Record<string, string>>;
  readonly database: TestPostgresUrl;
  readonly simulator: Simulator;
  /** The words of the command; an array where a word has spaces. */
  run<Json = Record<string, unknown>>(
    words: string | readonly string[],
    options?: RunOptions,
  ): Promise<Ran<Json>>;
  /** One statement with all rights, as other software or an operator would send it. */
  query(statement: string): Promise<void>;
  addTenant(): Promise<string>;
}

export interface CommandLineOptions {
  readonly migrated?: boolean;
  readonly simulator?: SimulatorOptions;
}

/** As in production: a role that is neither superuser nor owner, and upstreams on addresses of this machine. */
export async function openCommandLine(options: CommandLineOptions = {}): Promise<CommandLine> {
  const made = new AsyncDisposableStack();
  const { migrated = true } = options;
  const database = made.use(await openTestPostgresUrl({ migrated }));
  const simulator = made.use(createSimulator(options.simulator));
  const { url } = await simulator.listen();
  const environment = {
    DATABASE_URL: migrated ? database.url : database.ownerUrl,
    ENCRYPTION_KEYS: `test:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
    META_GRAPH_URL: url,
    SESSION_ENGINE_URL: url,
    SESSION_ENGINE_KEY: 'engine-key',
    PORT: '0',
  };
  const runHere: CommandLine['run'] = (words, told) =>
    runCommand(words, { ...told, environment: { ...environment, ...told?.environment } });
  return {
    environment,
    database,
    simulator,
    run: runHere,
    query: (statement) => query(database.ownerUrl, statement),
    async addTenant() {
      const { json } = await runHere<{ id: string }>('tenant create --name Test');
      return json.id;
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
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

/** In this process; `environment` is all there is. */
export async function runCommand<Json>(
  words: string | readonly string[],
  { stdin, person = [], environment = {}, signal = AbortSignal.any([]) }: RunOptions = {},
): Promise<Ran<Json>> {
  const stdout = createOutput(person.includes('stdout'));
  const stderr = createOutput(person.includes('stderr'));
  const input = Readable.from(stdin === undefined ? [] : [stdin]);
  const terminal: Terminal = {
    stdin: Object.assign(input, { isTTY: person.includes('stdin') }),
    stdout: stdout.stream,
    stderr: stderr.stream,
    environment,
    signal,
  };
  const args = typeof words === 'string' ? words.split(' ').filter(Boolean) : words;
  const code = await run(args, terminal, { listen });
  const text = stdout.read();
  return { code, stdout: text, stderr: stderr.read(), json: parseJson(text) as Json };
}

function createOutput(isTTY: boolean): { stream: Terminal['stdout']; read(): string } {
  const chunks: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      chunks.push(chunk.toString());
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY, columns: 200 }), read: () => chunks.join('') };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
