// Owns every environment variable: its name, its default, its meaning and its check. Nobody else reads process.env.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';

/** One row for each variable; the README's table is held against it. */
export const environmentVariables = {
  PORT: { default: '4000', meaning: 'TCP port to listen on; 0 picks a free one.' },
  HOST: { default: '127.0.0.1', meaning: 'Address to listen on.' },
  DATABASE_URL: {
    default: '',
    meaning: 'PostgreSQL to use, `postgres://…`. Unset: the embedded database and demo mode.',
  },
  DATA_DIR: {
    default: '.data',
    meaning: 'Folder of the embedded database and of the demo secrets.',
  },
  META_GRAPH_URL: {
    default: 'https://graph.facebook.com',
    meaning: "Meta's Graph API; https, or http on a loopback address.",
  },
  META_GRAPH_VERSION: { default: 'v26.0', meaning: 'Graph API version, v24.0 or newer.' },
  SESSION_ENGINE_URL: {
    default: '',
    meaning: 'Engine that holds the QR sessions. Unset: the stored state is the answer.',
  },
  SESSION_ENGINE_KEY: { default: '', meaning: 'Its key, sent in the `apikey` header.' },
  ENCRYPTION_KEYS: {
    default: '',
    meaning:
      'Keys for credentials at rest, `id:base64key,…` of 32 bytes each; the first one encrypts, all decrypt. Required with DATABASE_URL.',
  },
  API_KEY_PEPPER: {
    default: '',
    meaning:
      'Secret of at least 32 characters mixed into API key hashes. Required with DATABASE_URL.',
  },
  KEY_FAILURES_PER_MINUTE: {
    default: '20',
    meaning:
      'Wrong API keys that one address may send in a minute before it gets 429; 0 for no limit. Keys that were right lately are let through.',
  },
  TRUSTED_PROXIES: {
    default: '',
    meaning:
      'Proxies whose `x-forwarded-for` is believed: how many stand in front, or their addresses and networks, `10.0.0.0/8,…`. Unset: the address of the socket counts.',
  },
  GRAPHIQL: { default: 'on', meaning: 'Show the GraphiQL page at GET /graphql: `on` or `off`.' },
  CORS_ORIGINS: {
    default: '',
    meaning: 'Origins, separated by commas, whose pages may call the doors.',
  },
  LOG_LEVEL: {
    default: 'info',
    meaning: '`trace` `debug` `info` `warn` `error` `fatal` or `silent`.',
  },
  ANSWER_CACHE_MB: {
    default: '32',
    meaning:
      'Memory for answers and verified keys, kept until the database tells of a change; 0 asks it each time.',
  },
  METRICS: { default: 'on', meaning: 'Answer Prometheus at GET /metrics: `on` or `off`.' },
  GRAPHQL_MAX_TOKENS: { default: '2000', meaning: 'Most tokens of a GraphQL document.' },
  GRAPHQL_MAX_DEPTH: { default: '8', meaning: 'Most fields within fields.' },
  GRAPHQL_MAX_ALIASES: {
    default: '30',
    meaning: 'Most fields with an alias, counted wherever a fragment puts them.',
  },
  GRAPHQL_MAX_ROOT_FIELDS: {
    default: '30',
    meaning: 'Most fields at the root, repeated ones and `__typename` included.',
  },
  GRAPHQL_MAX_DIRECTIVES: { default: '10', meaning: 'Most directives in a document.' },
  GRAPHQL_MAX_COST: {
    default: '1000',
    meaning: 'Most points that one operation may cost; see Limits.',
  },
  RATE_LIMIT: {
    default: '20000/10',
    meaning: 'Points that a tenant may spend, and in how many seconds; or `off`.',
  },
  RATE_LIMIT_STORE: {
    default: 'memory',
    meaning:
      'Where points and wrong API keys are counted: `memory`, each process by itself, or `database`, all processes together.',
  },
  TENANT_MAX_REQUESTS: {
    default: '400',
    meaning: 'Most requests of one tenant under way in this process.',
  },
  MAX_REQUESTS: {
    default: '1000',
    meaning: 'Most requests under way in this process, but for those that wait for an upstream.',
  },
  MAX_EVENT_LOOP_DELAY_MS: {
    default: '250',
    meaning: 'Longer delays of the event loop, while much is under way, count as overload.',
  },
} as const satisfies Record<string, { default: string; meaning: string }>;

export type EnvironmentVariable = keyof typeof environmentVariables;

/** The variables as text; an empty one counts as unset and has its default. */
export type Environment = Readonly<Record<EnvironmentVariable, string>>;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Config {
  /** `demo`: no DATABASE_URL, so embedded database, simulated upstreams, secrets generated into `dataDirectory`. */
  readonly mode: 'demo' | 'production';
  readonly port: number;
  readonly host: string;
  readonly databaseUrl: string | null;
  readonly dataDirectory: string;
  readonly metaGraphUrl: URL;
  readonly metaGraphVersion: string;
  readonly sessionEngine: { readonly url: URL; readonly key: string } | null;
  /** Never empty in production; empty in demo mode until the demo has put its generated one in. */
  readonly encryptionKeys: readonly { readonly id: string; readonly key: KeyObject }[];
  /** '' in demo mode until the demo has put its generated one in. */
  readonly apiKeyPepper: string;
  /** Wrong API keys that one address may send in a minute; 0: as many as it likes. */
  readonly keyFailuresPerMinute: number;
  /** How many proxies stand in front, or their addresses and networks. */
  readonly trustedProxies: number | readonly string[];
  readonly graphiql: boolean;
  readonly corsOrigins: readonly string[];
  readonly logLevel: LogLevel;
  /** 0: nothing is kept. */
  readonly answerCacheMb: number;
  readonly metrics: boolean;
  readonly graphqlLimits: GraphQLLimits;
  /** Null: no limit. */
  readonly rateLimit: { readonly points: number; readonly seconds: number } | null;
  readonly rateLimitStore: 'memory' | 'database';
  readonly tenantMaxRequests: number;
  readonly maxRequests: number;
  readonly maxEventLoopDelayMs: number;
}

/** The largest document and operation that the GraphQL door takes. */
export interface GraphQLLimits {
  readonly tokens: number;
  readonly depth: number;
  readonly aliases: number;
  readonly rootFields: number;
  readonly directives: number;
  readonly cost: number;
}

/** All that is wrong with the environment, at once. The messages name variables, never their values if secret. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The configuration has ${problems.length} problem(s):\n- ${problems.join('\n- ')}`);
    this.problems = problems;
  }
}

/** First step: names and defaults. `source` is process.env unless a test says otherwise. */
export function readEnvironment(
  source: Readonly<Record<string, string | undefined>> = process.env,
): Environment {
  const names = Object.keys(environmentVariables) as EnvironmentVariable[];
  return Object.fromEntries(
    names.map((name) => [name, source[name] || environmentVariables[name].default]),
  ) as Environment;
}

/** Second step: checks and types. Throws one ConfigurationError that lists every problem. */
export function toConfig(environment: Environment): Config {
  const problems: string[] = [];
  const check = <T>(name: EnvironmentVariable, parse: (text: string) => T): T => {
    try {
      return parse(environment[name]);
    } catch (error) {
      problems.push(`${name} ${(error as Error).message}`);
      // Never used: a config with problems is thrown, not returned.
      return undefined as T;
    }
  };
  const production = environment.DATABASE_URL !== '';
  const sessionEngineUrl = check('SESSION_ENGINE_URL', (text) => text && parseUpstreamUrl(text));
  const config: Config = {
    mode: production ? 'production' : 'demo',
    port: check('PORT', parsePort),
    host: environment.HOST,
    databaseUrl: check('DATABASE_URL', (text) => (text === '' ? null : parseDatabaseUrl(text))),
    dataDirectory: environment.DATA_DIR,
    metaGraphUrl: check('META_GRAPH_URL', parseUpstreamUrl),
    metaGraphVersion: check('META_GRAPH_VERSION', parseGraphVersion),
    sessionEngine: sessionEngineUrl
      ? { url: sessionEngineUrl, key: environment.SESSION_ENGINE_KEY }
      : null,
    encryptionKeys: check('ENCRYPTION_KEYS', (text) => parseEncryptionKeys(text, production)),
    apiKeyPepper: check('API_KEY_PEPPER', (text) => parsePepper(text, production)),
    keyFailuresPerMinute: check('KEY_FAILURES_PER_MINUTE', parseFailures),
    trustedProxies: check('TRUSTED_PROXIES', parseProxies),
    graphiql: check('GRAPHIQL', (text) => oneOf(['on', 'off'], text) === 'on'),
    corsOrigins: check('CORS_ORIGINS', parseOrigins),
    logLevel: check('LOG_LEVEL', (text) => oneOf(logLevels, text)),
    answerCacheMb: check('ANSWER_CACHE_MB', parseMegabytes),
    metrics: check('METRICS', (text) => oneOf(['on', 'off'], text) === 'on'),
    graphqlLimits: toGraphQLLimits((name) => check(name, parseCount)),
    rateLimit: check('RATE_LIMIT', parseRateLimit),
    rateLimitStore: check('RATE_LIMIT_STORE', (text) => oneOf(['memory', 'database'], text)),
    tenantMaxRequests: check('TENANT_MAX_REQUESTS', parseCount),
    maxRequests: check('MAX_REQUESTS', parseCount),
    maxEventLoopDelayMs: check('MAX_EVENT_LOOP_DELAY_MS', parseCount),
  };
  if (sessionEngineUrl && environment.SESSION_ENGINE_KEY === '') {
    problems.push('SESSION_ENGINE_KEY is missing; SESSION_ENGINE_URL needs it');
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return Object.freeze(config);
}

function toGraphQLLimits(count: (name: EnvironmentVariable) => number): GraphQLLimits {
  return {
    tokens: count('GRAPHQL_MAX_TOKENS'),
    depth: count('GRAPHQL_MAX_DEPTH'),
    aliases: count('GRAPHQL_MAX_ALIASES'),
    rootFields: count('GRAPHQL_MAX_ROOT_FIELDS'),
    directives: count('GRAPHQL_MAX_DIRECTIVES'),
    cost: count('GRAPHQL_MAX_COST'),
  };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new Error('must be a number from 0 to 65535');
  return port;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new Error('must be a whole number from 1 to 99999999');
  return Number(text);
}

function parseRateLimit(text: string): Config['rateLimit'] {
  if (text === 'off') return null;
  const [, points, seconds] = /^([1-9]\d{0,8})\/([1-9]\d{0,4})$/.exec(text) ?? [];
  if (points === undefined || seconds === undefined) {
    throw new Error('must be points/seconds such as 1000/60, or off');
  }
  return { points: Number(points), seconds: Number(seconds) };
}

function parseDatabaseUrl(text: string): string {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) {
    throw new Error('must look like postgres://user@host:5432/database');
  }
  return text;
}

// Tokens travel to these addresses, so plain http is for this machine alone.
function parseUpstreamUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url?.hostname ?? '');
  if (url?.protocol !== 'https:' && !(url?.protocol === 'http:' && loopback)) {
    throw new Error('must be an https URL, or an http URL on a loopback address');
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new Error('must have no user, password, query or fragment');
  }
  return url;
}

function parseGraphVersion(text: string): string {
  const major = /^v(\d{1,3})\.\d$/.exec(text)?.[1];
  if (major === undefined || Number(major) < 24) {
    throw new Error('must look like v26.0 and be v24.0 or newer');
  }
  return text;
}

function parseEncryptionKeys(text: string, required: boolean): Config['encryptionKeys'] {
  if (text === '') {
    if (!required) return [];
    throw new Error(
      'is missing; make one with: echo "k1:$(head -c 32 /dev/urandom | base64)" and keep it safe',
    );
  }
  const keys = text.split(',').map((entry, index) => {
    const [, id, encoded] = /^\s*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]{43}=?)\s*$/.exec(entry) ?? [];
    if (id === undefined || encoded === undefined) {
      throw new Error(`entry ${index + 1} must be id:base64key with a key of 32 bytes`);
    }
    return { id, key: createSecretKey(Buffer.from(encoded, 'base64')) };
  });
  if (new Set(keys.map((key) => key.id)).size < keys.length) {
    throw new Error('names the same key id twice');
  }
  return keys;
}

function parsePepper(text: string, required: boolean): string {
  if (text === '' && !required) return text;
  if (text === '') {
    throw new Error(
      'is missing; make one with: head -c 32 /dev/urandom | base64, and keep it safe',
    );
  }
  if (text.length < 32) throw new Error('must have at least 32 characters');
  return text;
}

function parseFailures(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new Error('must be a number from 0 to 999999');
  return Number(text);
}

function parseMegabytes(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new Error('must be a number from 0 to 99999');
  return Number(text);
}

function parseProxies(text: string): Config['trustedProxies'] {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  for (const entry of entries) {
    const [, address = '', prefix = '0'] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const longest = isIP(address) === 6 ? 128 : 32;
    if (isIP(address) === 0 || Number(prefix) > longest) {
      throw new Error('must be a number of proxies, or addresses such as 10.0.0.0/8,::1');
    }
  }
  return entries;
}

function parseOrigins(text: string): readonly string[] {
  const origins = text
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '');
  for (const origin of origins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new Error('must be origins such as https://app.example.com, separated by commas');
    }
  }
  return origins;
}

function oneOf<const T extends string>(words: readonly T[], text: string): T {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw new Error(`must be one of: ${words.join(', ')}`);
  return word;
}
