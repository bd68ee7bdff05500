// Owns how a command comes to a gateway: which configuration, in which mode, and with a database that is up to date.

import { type Config, readEnvironment, parseConfig } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { Gateway, GatewayOverrides } from '../gateway.ts';
import type { DemoAnnouncement } from '../demo.ts';
import { createTelemetry } from '../telemetry.ts';
import type { Terminal } from './terminal.ts';

export interface Opened extends AsyncDisposable {
  readonly config: Config;
  readonly gateway: Gateway;
  /** How upstreams are reached; that of the simulator in demo mode. */
  readonly fetch: typeof globalThis.fetch;
  /** Makes the demo's tenant and fleet if they are not there; null outside demo mode. */
  readonly seed: (() => Promise<DemoAnnouncement>) | null;
}

/** Throws one ConfigurationError with all problems. */
export function readConfig({ environment }: Terminal): Config {
  return parseConfig(readEnvironment(environment));
}

/**
 * For commands that end: nothing is asked twice, so nothing is kept in memory. What a server notes would only disturb
 * here, and a person reads sentences, not lines of JSON. A level that was asked for is kept.
 */
export function readCommandConfig(terminal: Terminal): Config {
  const config = { ...readConfig(terminal), answerCacheMb: 0 };
  if (config.logLevel !== 'info') return config;
  return { ...config, logLevel: terminal.stderr.isTTY ? 'error' : 'warn' };
}

/** Whatever state the database is in. */
export async function openGateway(config: Config, terminal: Terminal): Promise<Opened> {
  const telemetry = createTelemetry({
    level: config.logLevel,
    write: (line) => void terminal.stderr.write(line),
  });
  // Loaded here because it takes a while, and help and wrong usage are to be answered at once.
  const { createGateway } = await import('../gateway.ts');
  const { config: complete, overrides, seed } = await completeDemo(config);
  const gateway = await createGateway(complete, { ...overrides, telemetry });
  return {
    config: complete,
    gateway,
    fetch: overrides.fetch ?? globalThis.fetch,
    seed: seed === null ? null : () => seed(gateway),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

interface CompleteConfig {
  readonly config: Config;
  readonly overrides: GatewayOverrides;
  readonly seed: ((gateway: Gateway) => Promise<DemoAnnouncement>) | null;
}

async function completeDemo(config: Config): Promise<CompleteConfig> {
  if (config.mode === 'production') return { config, overrides: {}, seed: null };
  const { openDemo } = await import('../demo.ts');
  return await openDemo(config);
}

/**
 * With all tables. The embedded database is migrated on the way, since nobody else is there to do so; a PostgreSQL that
 * lacks something is refused with UNAVAILABLE.
 */
export async function openMigratedGateway(config: Config, terminal: Terminal): Promise<Opened> {
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
    `The database lacks ${pending.length} migration(s): ${pending.join(', ')}. As the owner of the tables, run: numbers-gateway migrate`,
  );
}
