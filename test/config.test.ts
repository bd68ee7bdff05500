// The configuration: defaults, checks, and that every problem is reported without a secret.

import { expect, test } from 'vitest';
import {
  type Config,
  ConfigurationError,
  type EnvironmentVariable,
  environmentVariables,
  readEnvironment,
  parseConfig,
} from '../src/config.ts';

type Variables = Partial<Record<EnvironmentVariable, string>>;

const key = Buffer.alloc(32, 7).toString('base64');
const pepper = 'p'.repeat(32);
const production: Variables = {
  DATABASE_URL: 'postgres://gateway:hunter2@db.example.com:5432/numbers',
  ENCRYPTION_KEYS: `k1:${key}`,
  API_KEY_PEPPER: pepper,
};

const configOf = (variables: Variables): Config => parseConfig(readEnvironment(variables));

function problemsOf(variables: Variables): readonly string[] {
  try {
    configOf(variables);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
}

test('an empty environment configures the demo on a loopback address', () => {
  const config = configOf({});
  expect(config).toMatchObject({
    mode: 'demo',
    port: 4000,
    host: '127.0.0.1',
    databaseUrl: null,
    dataDirectory: '.data',
    metaGraphVersion: 'v26.0',
    sessionEngine: null,
    encryptionKeys: [],
    apiKeyPepper: '',
    graphiql: true,
    board: true,
    corsOrigins: [],
    logLevel: 'info',
  });
  expect(config.metaGraphUrl.href).toBe('https://graph.facebook.com/');
});

test('the configuration is immutable', () => {
  expect(Object.isFrozen(configOf({}))).toBe(true);
});

test('an empty variable counts as unset', () => {
  const names = Object.keys(environmentVariables) as EnvironmentVariable[];
  const empty = Object.fromEntries(names.map((name) => [name, '']));
  expect(readEnvironment(empty)).toEqual(readEnvironment({}));
});

test('unknown variables are ignored', () => {
  expect(Object.keys(readEnvironment({ PATH: '/bin', NODE_OPTIONS: 'x' }))).toEqual(
    Object.keys(environmentVariables),
  );
});

test('DATABASE_URL and both secrets configure production', () => {
  const config = configOf(production);
  expect(config).toMatchObject({ mode: 'production', apiKeyPepper: pepper });
  expect(config.encryptionKeys.map(({ id, key: { symmetricKeySize } }) => [id, symmetricKeySize]))
    // One key of 256 bits.
    .toEqual([['k1', 32]]);
});

test('production without secrets reports both variables and how to generate them', () => {
  expect(problemsOf({ DATABASE_URL: 'postgres://db.example.com/numbers' })).toEqual([
    expect.stringMatching(/^ENCRYPTION_KEYS is missing; generate one and keep it safe: /),
    expect.stringMatching(/^API_KEY_PEPPER is missing; generate one and keep it safe: /),
  ]);
});

const wrong: Variables = {
  PORT: '70000',
  DATABASE_URL: 'mysql://root:canary-database@db/x',
  PUBLIC_URL: 'https://user:canary-public@numbers.example.com',
  META_GRAPH_URL: 'http://graph.facebook.com',
  META_GRAPH_VERSION: 'v23.0',
  SESSION_ENGINE_URL: 'ftp://engine.example.com',
  ENCRYPTION_KEYS: 'k1:canary-encryption',
  API_KEY_PEPPER: 'canary-pepper',
  GRAPHIQL: 'yes',
  BOARD: '1',
  CORS_ORIGINS: 'https://app.example.com/path',
  LOG_LEVEL: 'loud',
};

test('all problems are reported at once, each with the name of its variable', () => {
  const names = problemsOf(wrong).map((problem) => problem.split(' ')[0]);
  expect(names.toSorted()).toEqual(Object.keys(wrong).toSorted());
});

test('a problem never contains a value that may be secret', () => {
  expect(problemsOf(wrong).join('\n')).not.toContain('canary');
});

test('the message of the error lists all problems', () => {
  expect(() => configOf(wrong)).toThrow(
    /^The configuration is invalid:\n- (.|\n)*PORT(.|\n)*LOG_LEVEL/,
  );
});

test.each(['-1', '65536', '4000x', '4e3', ' ', '0x50'])('%o is refused as a port', (PORT) => {
  expect(problemsOf({ PORT })).toHaveLength(1);
});

test.each(['0', '1', '65535'])('%s is accepted as a port', (PORT) => {
  expect(configOf({ PORT }).port).toBe(Number(PORT));
});

test.each([
  'http://localhost:4001',
  'http://127.0.0.1:4001',
  'http://127.1.2.3',
  'http://[::1]:4001',
  'https://graph.example.com',
])('tokens may be sent to %s', (META_GRAPH_URL) => {
  expect(configOf({ META_GRAPH_URL }).metaGraphUrl.origin).toBe(META_GRAPH_URL);
});

test.each([
  'http://graph.facebook.com',
  'http://localhost.example.com',
  'http://127.0.0.1.example.com',
  'http://10.0.0.1',
  'http://0.0.0.0',
  'https://user:password@graph.example.com',
  'https://graph.example.com?x=1',
  'https://graph.example.com#x',
  'file:///etc/passwd',
  'graph.facebook.com',
])('%s is refused as the URL of an upstream', (META_GRAPH_URL) => {
  expect(problemsOf({ META_GRAPH_URL })).toHaveLength(1);
});

test.each([
  ['', null],
  ['https://numbers.example.com', 'https://numbers.example.com'],
  ['https://numbers.example.com/', 'https://numbers.example.com'],
  ['http://10.0.0.1:4000/numbers/', 'http://10.0.0.1:4000/numbers'],
])('PUBLIC_URL %o is the public URL %o', (PUBLIC_URL, url) => {
  expect(configOf({ PUBLIC_URL }).publicUrl).toBe(url);
});

test.each([
  'numbers.example.com',
  'ftp://x.example',
  'https://x.example?a=1',
  'https://x.example#a',
])('%s is refused as the public URL', (PUBLIC_URL) => {
  expect(problemsOf({ PUBLIC_URL })).toHaveLength(1);
});

test.each(['26.0', 'v26', 'v23.0', 'v26.0/..', 'v026.0x', 'latest'])(
  '%s is refused as a version of the Graph API',
  (META_GRAPH_VERSION) => {
    expect(problemsOf({ META_GRAPH_VERSION })).toHaveLength(1);
  },
);

test('encryption keys keep their order', () => {
  const other = Buffer.alloc(32, 8).toString('base64');
  const config = configOf({ ...production, ENCRYPTION_KEYS: `new:${key}, old:${other}` });
  expect(config.encryptionKeys.map(({ id }) => id)).toEqual(['new', 'old']);
});

test.each([
  ['a key id twice', `k1:${key},k1:${key}`],
  ['a key of 31 bytes', `k1:${Buffer.alloc(31).toString('base64')}`],
  ['a key of 33 bytes', `k1:${Buffer.alloc(33).toString('base64')}`],
  ['no id', key],
  ['an empty entry', `k1:${key},`],
  ['a dot in the id', `k.1:${key}`],
])('encryption keys with %s are refused', (_, ENCRYPTION_KEYS) => {
  expect(problemsOf({ ENCRYPTION_KEYS })).toHaveLength(1);
});

test('SESSION_ENGINE_URL requires SESSION_ENGINE_KEY', () => {
  const SESSION_ENGINE_URL = 'https://engine.example.com';
  expect(problemsOf({ SESSION_ENGINE_URL })).toEqual([
    expect.stringMatching(/^SESSION_ENGINE_KEY is missing/),
  ]);
  expect(configOf({ SESSION_ENGINE_URL, SESSION_ENGINE_KEY: 'x' }).sessionEngine).toMatchObject({
    key: 'x',
  });
});

test('CORS_ORIGINS is split at commas, and each entry must be an origin', () => {
  const CORS_ORIGINS = 'https://a.example.com, http://localhost:3000,';
  expect(configOf({ CORS_ORIGINS }).corsOrigins).toEqual([
    'https://a.example.com',
    'http://localhost:3000',
  ]);
  expect(problemsOf({ CORS_ORIGINS: '*' })).toHaveLength(1);
});

test('alerts may be sent to the networks and ports that are listed', () => {
  expect(configOf({}).alertTargets).toEqual({ allowedNetworks: [], allowedPorts: [443, 8443] });
  const given = { ALERT_ALLOW_CIDR: '10.0.0.0/8, fd00::/8', ALERT_ALLOW_PORTS: '443,9443' };
  expect(configOf(given).alertTargets).toEqual({
    allowedNetworks: ['10.0.0.0/8', 'fd00::/8'],
    allowedPorts: [443, 9443],
  });
});

test.each([
  '10.0.0.1',
  '10.0.0.0/33',
  '10.1/8',
  'fd00::/129',
  'fe80::1%eth0/64',
  'localhost',
  '/8',
])('%s is refused as a network', (ALERT_ALLOW_CIDR) => {
  expect(problemsOf({ ALERT_ALLOW_CIDR })).toHaveLength(1);
});

test.each(['0', '65536', 'https', '443;8443'])('%s is refused as ports', (ALERT_ALLOW_PORTS) => {
  expect(problemsOf({ ALERT_ALLOW_PORTS })).toHaveLength(1);
});
