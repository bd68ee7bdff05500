// What commands run on: their terminal, the configuration, and a gateway that is open for as long as the command runs.

import { type Config, readEnvironment, parseConfig } from '../config.ts';
import type { Demo, DemoAnnouncement } from '../demo/demo.ts';
import { GatewayError } from '../errors.ts';
import type { Gateway, GatewayOverrides } from '../gateway.ts';
import { createTelemetry } from '../telemetry.ts';
import type { Print, PrintTable, Terminal } from './terminal.ts';

export interface Session {
  readonly terminal: Terminal;
  readonly print: Print;
  readonly printTable: PrintTable;
  /** Whether --json was given. */
  wantsJson(): boolean;
  /** Reports a problem and sets the exit code, 1 by default; the command may still print its result. */
  fail(code: string, message: string, exitCode?: number): void;
  /** Reports a problem that does not make the command fail. */
  warn(code: string, message: string): void;
}

/** Opens a gateway for `work` and closes it afterwards. */
export async function withGateway<T>(
  { terminal }: Session,
  work: (gateway: Gateway) => Promise<T>,
): Promise<T> {
  await using opened = await openMigratedGateway(readCommandConfig(terminal), terminal);
  return await work(opened.gateway);
}

export interface OpenedGateway extends AsyncDisposable {
  readonly config: Config;
  readonly gateway: Gateway;
  /** The `fetch` for upstreams; in demo mode it reaches the simulator. */
  readonly fetch: typeof globalThis.fetch;
  /** Adds the demo data that is missing; null outside demo mode. */
  readonly seed: (() => Promise<DemoAnnouncement>) | null;
  /** Lets things happen at the simulated Meta; null if there is none. */
  readonly play: (() => AsyncDisposable | null) | null;
}

/** Throws one ConfigurationError with all problems. */
export function readConfig({ environment }: Terminal): Config {
  return parseConfig(readEnvironment(environment));
}

/**
 * The configuration of a command that ends by itself: no response cache, and by default no log lines below `warn`, or
 * below `error` on a terminal. A log level other than `info` is kept.
 */
export function readCommandConfig(terminal: Terminal): Config {
  const config = { ...readConfig(terminal), answerCacheMb: 0 };
  if (config.logLevel !== 'info') return config;
  return { ...config, logLevel: terminal.stderr.isTTY ? 'error' : 'warn' };
}

/** Opens a gateway whether or not its database is migrated. */
export async function openGateway(config: Config, terminal: Terminal): Promise<OpenedGateway> {
  const telemetry = createTelemetry({
    level: config.logLevel,
    write: (line) => void terminal.stderr.write(line),
  });
  // Loading the gateway takes a while, and --help and usage errors do not need it.
  const { createGateway } = await import('../gateway.ts');
  const { config: complete, overrides, demo } = await completeConfig(config);
  const gateway = await createGateway(complete, { ...overrides, telemetry });
  return {
    config: complete,
    gateway,
    fetch: overrides.fetch ?? globalThis.fetch,
    seed: demo === null ? null : () => demo.seed(gateway),
    play: demo === null ? null : () => demo.play(gateway),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

interface CompleteConfig {
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  readonly demo: Demo | null;
}

async function completeConfig(config: Config): Promise<CompleteConfig> {
  if (config.mode === 'production') return { config, overrides: {}, demo: null };
  const { openDemo } = await import('../demo/demo.ts');
  const demo = await openDemo(config);
  return { config: demo.config, overrides: demo.overrides, demo };
}

/**
 * Opens a gateway on a migrated database. The embedded database is migrated first, since only this process uses it; a
 * PostgreSQL database with pending migrations is refused with UNAVAILABLE.
 */
export async function openMigratedGateway(
  config: Config,
  terminal: Terminal,
): Promise<OpenedGateway> {
  await using failed = new AsyncDisposableStack();
  const opened = failed.use(await openGateway(config, terminal));
  if (config.mode === 'demo') await opened.gateway.database.migrate();
  else await refusePending(opened.gateway);
  failed.move();
  return opened;
}

async function refusePending({ database }: Gateway): Promise<void> {
  const pending = await database.pendingMigrations();
  if (pending.length === 0) return;
  throw new GatewayError(
    'UNAVAILABLE',
    `The database is missing ${pending.length} migration(s): ${pending.join(', ')}. As the owner of the tables, run: numbers-gateway migrate`,
  );
}
