// The environment variables: names, defaults, meanings and checks. No other file reads process.env.

import type { KeyObject } from 'node:crypto';
import {
  oneOf,
  parseCount,
  parseDatabaseUrl,
  parseEncryptionKeys,
  parseFailures,
  parseGraphVersion,
  parseMegabytes,
  parseNetworks,
  parseOrigins,
  parsePepper,
  parsePort,
  parsePorts,
  parseProxies,
  parsePublicUrl,
  parseRateLimit,
  parseUpstreamUrl,
} from './config/values.ts';
import { parseSyncSettings, type SyncSettings, syncVariables } from './config/sync-settings.ts';

/** One row for each variable; README.md has the same table. */
export const environmentVariables = {
  PORT: { default: '4000', meaning: 'TCP port to listen on; 0 for any free port.' },
  HOST: { default: '127.0.0.1', meaning: 'Address to listen on.' },
  PUBLIC_URL: {
    default: '',
    meaning:
      'URL under which callers reach the gateway, `https://…`. Links to the gateway are made from it, never from the Host header.',
  },
  DATABASE_URL: {
    default: '',
    meaning:
      'PostgreSQL database to use, `postgres://…`. If unset, the gateway runs the demo on an embedded database.',
  },
  DATA_DIR: {
    default: '.data',
    meaning: 'Directory of the embedded database and the demo secrets.',
  },
  META_GRAPH_URL: {
    default: 'https://graph.facebook.com',
    meaning: "URL of Meta's Graph API: https, or http on a loopback address.",
  },
  META_GRAPH_VERSION: { default: 'v26.0', meaning: 'Version of the Graph API, v24.0 or later.' },
  SESSION_ENGINE_URL: {
    default: '',
    meaning:
      'URL of the engine that holds the QR sessions. If unset, the stored connection state is returned.',
  },
  SESSION_ENGINE_KEY: {
    default: '',
    meaning:
      'API key of the session engine, sent in the `apikey` header. Required with SESSION_ENGINE_URL.',
  },
  ENCRYPTION_KEYS: {
    default: '',
    meaning:
      'Keys that encrypt stored credentials, `id:base64key,…`, 32 bytes each. The first one encrypts; all of them decrypt. Required with DATABASE_URL.',
  },
  API_KEY_PEPPER: {
    default: '',
    meaning:
      'Secret mixed into the hashes of API keys, at least 32 characters. Required with DATABASE_URL.',
  },
  KEY_FAILURES_PER_MINUTE: {
    default: '20',
    meaning:
      'Maximum number of wrong API keys per client address and minute; further keys get 429, except those verified recently. 0 for no limit.',
  },
  TRUSTED_PROXIES: {
    default: '',
    meaning:
      'Reverse proxies whose `x-forwarded-for` header is trusted: their number, or their addresses and networks, `10.0.0.0/8,…`. If unset, the client address is that of the socket.',
  },
  GRAPHIQL: { default: 'on', meaning: 'Serve the GraphiQL page at GET /graphql: `on` or `off`.' },
  BOARD: {
    default: 'on',
    meaning: 'Serve the board, a page that shows the fleet, at GET /board: `on` or `off`.',
  },
  PERSISTED_QUERIES: {
    default: 'on',
    meaning:
      'Accept the hash of a GraphQL document that was sent before, instead of the document: `on` or `off`.',
  },
  CORS_ORIGINS: {
    default: '',
    meaning: 'Origins whose web pages may call the APIs, separated by commas.',
  },
  LOG_LEVEL: {
    default: 'info',
    meaning:
      'Minimum level of log lines: `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.',
  },
  ANSWER_CACHE_MB: {
    default: '32',
    meaning:
      'Memory for cached responses in MB. 0 turns off this cache and that of verified API keys.',
  },
  OTEL_TRUST_PARENT: {
    default: '0',
    meaning:
      'Whether a request joins the trace in its `traceparent` header: `1`, or `0` to link it. Only with an OpenTelemetry SDK.',
  },
  METRICS: { default: 'on', meaning: 'Serve Prometheus metrics at GET /metrics: `on` or `off`.' },
  GRAPHQL_MAX_TOKENS: {
    default: '2000',
    meaning: 'Maximum number of tokens in a GraphQL document.',
  },
  GRAPHQL_MAX_DEPTH: { default: '8', meaning: 'Maximum nesting depth of fields.' },
  GRAPHQL_MAX_ALIASES: {
    default: '30',
    meaning: 'Maximum number of aliased fields; those of a fragment count at each use.',
  },
  GRAPHQL_MAX_ROOT_FIELDS: {
    default: '30',
    meaning: 'Maximum number of root fields, including repeated ones and `__typename`.',
  },
  GRAPHQL_MAX_DIRECTIVES: { default: '10', meaning: 'Maximum number of directives in a document.' },
  GRAPHQL_MAX_COST: {
    default: '1000',
    meaning: 'Maximum cost of one operation in points; see Limits.',
  },
  RATE_LIMIT: {
    default: '20000/10',
    meaning: 'Points that a tenant may spend per window, `points/seconds`, or `off`.',
  },
  RATE_LIMIT_STORE: {
    default: 'memory',
    meaning:
      'Where points and wrong API keys are counted: `memory` (by each process) or `database` (across all processes).',
  },
  TENANT_MAX_REQUESTS: {
    default: '400',
    meaning: 'Maximum number of concurrent requests per tenant in one process.',
  },
  MAX_REQUESTS: {
    default: '1000',
    meaning:
      'Maximum number of concurrent requests in one process, not counting those that wait for an upstream.',
  },
  KEY_MAX_STREAMS: {
    default: '10',
    meaning: 'Maximum number of open streams and long polls per API key in one process.',
  },
  TENANT_MAX_STREAMS: {
    default: '',
    meaning:
      'Maximum number of open streams and long polls per tenant in one process. If unset, a fifth of MAX_STREAMS.',
  },
  MAX_STREAMS: {
    default: '1000',
    meaning:
      'Maximum number of open streams and long polls in one process. They do not count as requests.',
  },
  HISTORY_RETENTION_DAYS: { default: '400', meaning: 'Days for which the history is kept.' },
  META_EVENT_RETENTION_DAYS: {
    default: '30',
    meaning: "Days for which the events of Meta's webhooks are kept.",
  },
  INCIDENT_RETENTION_DAYS: {
    default: '400',
    meaning: 'Days for which incidents are kept after their end.',
  },
  ALERT_ALLOW_CIDR: {
    default: '',
    meaning: 'Networks that alerts may be sent to beside public addresses, `10.0.0.0/8,…`.',
  },
  ALERT_ALLOW_PORTS: {
    default: '443,8443',
    meaning: 'Ports that alerts may be sent to, separated by commas.',
  },
  ...syncVariables,
  MAX_EVENT_LOOP_DELAY_MS: {
    default: '250',
    meaning: 'Event loop delay above which a busy process sheds load with 503.',
  },
} as const satisfies Record<string, { default: string; meaning: string }>;

export type { SyncSettings } from './config/sync-settings.ts';

export type EnvironmentVariable = keyof typeof environmentVariables;

/** The variables as text. An empty variable counts as unset and gets its default. */
export type Environment = Readonly<Record<EnvironmentVariable, string>>;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Config {
  /** `demo` without DATABASE_URL: embedded database, simulated upstreams, and secrets generated in `dataDirectory`. */
  readonly mode: 'demo' | 'production';
  readonly port: number;
  readonly host: string;
  /** Without a slash at its end; null when it is not known. */
  readonly publicUrl: string | null;
  readonly databaseUrl: string | null;
  readonly dataDirectory: string;
  readonly metaGraphUrl: URL;
  readonly metaGraphVersion: string;
  readonly sessionEngine: { readonly url: URL; readonly key: string } | null;
  /** Never empty in production. Empty in demo mode until the demo adds its generated key. */
  readonly encryptionKeys: readonly { readonly id: string; readonly key: KeyObject }[];
  /** Empty in demo mode until the demo adds its generated pepper. */
  readonly apiKeyPepper: string;
  /** Wrong API keys per client address and minute; 0 for no limit. */
  readonly keyFailuresPerMinute: number;
  /** The number of reverse proxies in front of the gateway, or their addresses and networks. */
  readonly trustedProxies: number | readonly string[];
  readonly graphiql: boolean;
  readonly board: boolean;
  readonly persistedQueries: boolean;
  readonly corsOrigins: readonly string[];
  readonly logLevel: LogLevel;
  /** 0 turns the cache off. */
  readonly answerCacheMb: number;
  readonly trustsTraceParent: boolean;
  readonly metrics: boolean;
  readonly graphqlLimits: GraphQLLimits;
  /** Null for no limit. */
  readonly rateLimit: { readonly points: number; readonly seconds: number } | null;
  readonly rateLimitStore: 'memory' | 'database';
  readonly tenantMaxRequests: number;
  readonly maxRequests: number;
  readonly streamLimits: StreamLimits;
  readonly historyRetentionDays: number;
  readonly metaEventRetentionDays: number;
  readonly incidentRetentionDays: number;
  readonly alertTargets: {
    readonly allowedNetworks: readonly string[];
    readonly allowedPorts: readonly number[];
  };
  readonly maxEventLoopDelayMs: number;
  readonly sync: SyncSettings;
}

/** How many streams may be open in the process. */
export interface StreamLimits {
  readonly key: number;
  readonly tenant: number;
  readonly process: number;
}

/** Upper limits of a GraphQL document and of one operation. */
export interface GraphQLLimits {
  readonly tokens: number;
  readonly depth: number;
  readonly aliases: number;
  readonly rootFields: number;
  readonly directives: number;
  readonly cost: number;
}

/** Every problem of the environment. A problem names its variable and never contains a value that may be secret. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The configuration is invalid:\n- ${problems.join('\n- ')}`);
    this.problems = problems;
  }
}

/** First step: the known variables, with their defaults. */
export function readEnvironment(
  source: Readonly<Record<string, string | undefined>> = process.env,
): Environment {
  const names = Object.keys(environmentVariables) as EnvironmentVariable[];
  return Object.fromEntries(
    names.map((name) => [name, source[name] || environmentVariables[name].default]),
  ) as Environment;
}

/** An API key, for a command that asks a gateway which is running. It configures no gateway. */
export function readGatewayKey(
  source: Readonly<Record<string, string | undefined>> = process.env,
): string {
  return source['GATEWAY_KEY'] ?? '';
}

/** Second step: checks and types. Throws one ConfigurationError with every problem. */
export function parseConfig(environment: Environment): Config {
  const problems: string[] = [];
  const check = createCheck(environment, problems);
  const production = environment.DATABASE_URL !== '';
  const engineUrl = check('SESSION_ENGINE_URL', (text) => text && parseUpstreamUrl(text));
  const config: Config = {
    mode: production ? 'production' : 'demo',
    port: check('PORT', parsePort),
    host: environment.HOST,
    publicUrl: check('PUBLIC_URL', (text) => (text === '' ? null : parsePublicUrl(text))),
    databaseUrl: check('DATABASE_URL', (text) => (text === '' ? null : parseDatabaseUrl(text))),
    dataDirectory: environment.DATA_DIR,
    metaGraphUrl: check('META_GRAPH_URL', parseUpstreamUrl),
    metaGraphVersion: check('META_GRAPH_VERSION', parseGraphVersion),
    sessionEngine: engineUrl ? { url: engineUrl, key: environment.SESSION_ENGINE_KEY } : null,
    encryptionKeys: check('ENCRYPTION_KEYS', (text) => parseEncryptionKeys(text, production)),
    apiKeyPepper: check('API_KEY_PEPPER', (text) => parsePepper(text, production)),
    keyFailuresPerMinute: check('KEY_FAILURES_PER_MINUTE', parseFailures),
    trustedProxies: check('TRUSTED_PROXIES', parseProxies),
    ...parsePages(check),
    persistedQueries: check('PERSISTED_QUERIES', (text) => oneOf(['on', 'off'], text) === 'on'),
    corsOrigins: check('CORS_ORIGINS', parseOrigins),
    logLevel: check('LOG_LEVEL', (text) => oneOf(logLevels, text)),
    answerCacheMb: check('ANSWER_CACHE_MB', parseMegabytes),
    trustsTraceParent: check('OTEL_TRUST_PARENT', (text) => oneOf(['0', '1'], text) === '1'),
    metrics: check('METRICS', (text) => oneOf(['on', 'off'], text) === 'on'),
    graphqlLimits: parseGraphQLLimits((name) => check(name, parseCount)),
    rateLimit: check('RATE_LIMIT', parseRateLimit),
    rateLimitStore: check('RATE_LIMIT_STORE', (text) => oneOf(['memory', 'database'], text)),
    tenantMaxRequests: check('TENANT_MAX_REQUESTS', parseCount),
    maxRequests: check('MAX_REQUESTS', parseCount),
    streamLimits: parseStreamLimits(check),
    ...parseRetention(check),
    alertTargets: {
      allowedNetworks: check('ALERT_ALLOW_CIDR', parseNetworks),
      allowedPorts: check('ALERT_ALLOW_PORTS', parsePorts),
    },
    maxEventLoopDelayMs: check('MAX_EVENT_LOOP_DELAY_MS', parseCount),
    sync: parseSyncSettings(check),
  };
  if (engineUrl && environment.SESSION_ENGINE_KEY === '') {
    problems.push('SESSION_ENGINE_KEY is missing; it is required with SESSION_ENGINE_URL');
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return Object.freeze(config);
}

type Check = <T>(name: EnvironmentVariable, parse: (text: string) => T) => T;

/** Parses a variable, and adds a problem if that fails. */
function createCheck(environment: Environment, problems: string[]): Check {
  return <T>(name: EnvironmentVariable, parse: (text: string) => T): T => {
    try {
      return parse(environment[name]);
    } catch (error) {
      problems.push(`${name} ${(error as Error).message}`);
      // Never used: with a problem, the configuration is refused.
      return undefined as T;
    }
  };
}

const isOn = (text: string): boolean => oneOf(['on', 'off'], text) === 'on';

/** Which pages are served. */
function parsePages(check: Check): Pick<Config, 'graphiql' | 'board'> {
  return { graphiql: check('GRAPHIQL', isOn), board: check('BOARD', isOn) };
}

function parseRetention(
  check: Check,
): Pick<Config, 'historyRetentionDays' | 'metaEventRetentionDays' | 'incidentRetentionDays'> {
  return {
    historyRetentionDays: check('HISTORY_RETENTION_DAYS', parseCount),
    metaEventRetentionDays: check('META_EVENT_RETENTION_DAYS', parseCount),
    incidentRetentionDays: check('INCIDENT_RETENTION_DAYS', parseCount),
  };
}

function parseStreamLimits(check: Check): StreamLimits {
  const process = check('MAX_STREAMS', parseCount);
  const tenant = check('TENANT_MAX_STREAMS', (text) =>
    text === '' ? Math.ceil(process / 5) : parseCount(text),
  );
  return { key: check('KEY_MAX_STREAMS', parseCount), tenant, process };
}

function parseGraphQLLimits(count: (name: EnvironmentVariable) => number): GraphQLLimits {
  return {
    tokens: count('GRAPHQL_MAX_TOKENS'),
    depth: count('GRAPHQL_MAX_DEPTH'),
    aliases: count('GRAPHQL_MAX_ALIASES'),
    rootFields: count('GRAPHQL_MAX_ROOT_FIELDS'),
    directives: count('GRAPHQL_MAX_DIRECTIVES'),
    cost: count('GRAPHQL_MAX_COST'),
  };
}
