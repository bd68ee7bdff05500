// The log: its lines are complete, are JSON, and never contain a secret.

import { createSecretKey, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createKey } from '../src/access/key.ts';
import type { LogLevel } from '../src/config.ts';
import { GatewayError } from '../src/errors.ts';
import { createVault } from '../src/secrets.ts';
import { createRequestContext } from '../src/http/request-context.ts';
import { createTelemetry, redact, type Telemetry } from '../src/telemetry.ts';

interface Recorder extends Telemetry {
  readonly lines: readonly string[];
  entries(): readonly Record<string, unknown>[];
}

function openRecorder(level: LogLevel = 'trace'): Recorder {
  const lines: string[] = [];
  const telemetry = createTelemetry({ level, write: (line) => lines.push(line) });
  return { ...telemetry, lines, entries: () => lines.map((line) => JSON.parse(line)) };
}

const request = {
  requestId: 'r1',
  method: 'GET',
  path: '/v1/numbers',
  status: 200,
  durationMs: 3,
  tenantId: 'ten_1',
  keyId: 'key_1',
};
const call = {
  upstream: 'graph',
  operations: 3,
  outcome: 'ok',
  status: 200,
  durationMs: 40,
  fbtraceId: null,
  usagePercent: 7,
} as const;

describe('log lines', () => {
  test('each event is one line of JSON with a time, a level and its fields', () => {
    const recorder = openRecorder();
    recorder.requestCompleted(request);
    recorder.upstreamCalled(call);
    recorder.warn('lost a connection', { attempt: 2 });
    recorder.info('started');
    expect(recorder.lines.every((line) => line.endsWith('}\n'))).toBe(true);
    expect(recorder.entries()).toEqual([
      { level: 30, time: expect.any(String), ...request, msg: 'request completed' },
      { level: 20, time: expect.any(String), ...call, msg: 'upstream called' },
      { level: 40, time: expect.any(String), attempt: 2, msg: 'lost a connection' },
      { level: 30, time: expect.any(String), msg: 'started' },
    ]);
  });

  test('a defect is an error with its stack; any other failure is a warning with its code', () => {
    const recorder = openRecorder();
    recorder.requestFailed('r1', new RangeError('broken'));
    recorder.requestFailed('r2', new GatewayError('UNAVAILABLE', 'Later.', { cause: 'no route' }));
    recorder.requestFailed('r3', 'thrown text');
    expect(recorder.entries()).toMatchObject([
      {
        level: 50,
        requestId: 'r1',
        code: 'INTERNAL',
        cause: expect.stringMatching(/broken\n +at/),
      },
      { level: 40, requestId: 'r2', code: 'UNAVAILABLE', cause: 'no route' },
      { level: 50, requestId: 'r3', code: 'INTERNAL', cause: 'thrown text' },
    ]);
  });

  test('a failed upstream call is a warning', () => {
    const recorder = openRecorder();
    recorder.upstreamCalled({ ...call, outcome: 'META_TIMEOUT', status: null });
    expect(recorder.entries()).toMatchObject([{ level: 40, outcome: 'META_TIMEOUT' }]);
  });

  test('a call in the background that fails again and again is a warning when its outcome changes', () => {
    const recorder = openRecorder();
    for (const outcome of [
      'META_TIMEOUT',
      'META_TIMEOUT',
      'META_UNAVAILABLE',
      'ok',
      'META_UNAVAILABLE',
    ]) {
      recorder.upstreamCalled({ ...call, outcome }, 'ten_1 /{version}/{phone} 1');
    }
    recorder.upstreamCalled({ ...call, outcome: 'META_UNAVAILABLE' }, 'ten_1 /{version}/{phone} 2');
    recorder.upstreamCalled({ ...call, outcome: 'META_UNAVAILABLE' });
    expect(recorder.entries().map(({ level }) => level)).toEqual([40, 20, 40, 20, 40, 40, 40]);
  });

  test('an open circuit breaker and a quarantined token are warnings; a retry is logged at debug level', () => {
    const recorder = openRecorder();
    recorder.circuitChanged({ upstream: 'graph', state: 'open', tenantId: null });
    recorder.tokenQuarantined({ tenantId: 'ten_1', metaCode: 190 });
    recorder.upstreamRetried('graph', 2);
    expect(recorder.entries()).toMatchObject([
      {
        level: 40,
        upstream: 'graph',
        state: 'open',
        tenantId: null,
        msg: 'circuit breaker changed',
      },
      { level: 40, tenantId: 'ten_1', metaCode: 190, msg: 'token quarantined' },
      { level: 20, upstream: 'graph', operations: 2, msg: 'upstream retried' },
    ]);
  });

  test('lines below the level are not written, and silent writes none', () => {
    const [warn, silent] = [openRecorder('warn'), openRecorder('silent')];
    for (const recorder of [warn, silent]) {
      recorder.requestCompleted(request);
      recorder.upstreamCalled(call);
      recorder.warn('heard');
      recorder.requestFailed('r1', new Error('heard'));
    }
    expect(warn.entries().map(({ level }) => level)).toEqual([40, 50]);
    expect(silent.lines).toEqual([]);
  });
});

const canary = {
  key: createKey(),
  metaToken: `EAAG${randomBytes(60).toString('hex')}`,
  plainToken: `canary${randomBytes(20).toString('hex')}`,
  proof: randomBytes(32).toString('hex'),
  password: 'canary-p@ss:w0rd',
  encryptionKey: randomBytes(32).toString('base64'),
};
const sealed = createVault([{ id: 'k1', key: createSecretKey(randomBytes(32)) }]).seal('text', {
  table: 't',
  column: 'c',
  tenantId: 'a',
  rowId: 'r',
});

/** Title, secret, and texts that contain it. */
const leaks: readonly (readonly [title: string, secret: string, texts: readonly string[]])[] = [
  [
    'an API key',
    canary.key,
    [
      `no key ${canary.key} found`,
      `x-api-key: ${canary.key}`,
      JSON.stringify({ 'x-api-key': canary.key }),
      `?key=${canary.key}&x=1`,
      `("${canary.key}")`,
    ],
  ],
  [
    "Meta's token",
    canary.metaToken,
    [
      `https://graph.example.com/v26.0/1?access_token=${canary.metaToken}&fields=id`,
      `access_token%3D${canary.metaToken}%26fields`,
      `Malformed access token ${canary.metaToken}`,
      `token_${canary.metaToken}`,
    ],
  ],
  [
    'a token without a recognizable form',
    canary.plainToken,
    [
      `Authorization: Bearer ${canary.plainToken}`,
      JSON.stringify({ authorization: `Bearer ${canary.plainToken}` }),
      JSON.stringify({ accessToken: canary.plainToken }),
      `{"url":"https://x.example.com/?access_token=${canary.plainToken}"}`,
      `access_token%3D${canary.plainToken}`,
      `authorization: OAuth ${canary.plainToken}`,
      `input_token=${canary.plainToken}`,
    ],
  ],
  [
    "the session engine's key",
    canary.plainToken,
    [
      `apikey: ${canary.plainToken}`,
      JSON.stringify({ headers: { apikey: canary.plainToken } }),
      JSON.stringify({ body: JSON.stringify({ apikey: canary.plainToken }) }),
    ],
  ],
  [
    'an app secret and its proof',
    canary.proof,
    [
      `appsecret_proof=${canary.proof}`,
      JSON.stringify({ appsecret_proof: canary.proof }),
      JSON.stringify({ credentials: JSON.stringify({ appSecret: canary.proof }) }),
      `{ appSecret: '${canary.proof}' }`,
      `app_secret=${canary.proof}`,
    ],
  ],
  [
    'the password of the database',
    canary.password,
    [
      `postgres://gateway:${canary.password}@db.example.com:5432/numbers`,
      `cannot reach "postgresql://gateway:${canary.password}@db.example.com/numbers"`,
      `password=${canary.password}`,
    ],
  ],
  ['a sealed value', sealed, [`cannot open ${sealed}`, JSON.stringify({ sealed })]],
  [
    'an encryption key',
    canary.encryptionKey,
    [`ENCRYPTION_KEYS=k1:${canary.encryptionKey}`, JSON.stringify([canary.encryptionKey])],
  ],
  [
    'the pepper',
    canary.plainToken,
    [`API_KEY_PEPPER=${canary.plainToken}`, `{"pepper":"${canary.plainToken}"}`],
  ],
];

/** Every way by which text can get into a line. */
const ways: Readonly<Record<string, (recorder: Recorder, text: string) => void>> = {
  'as the message of a defect': (it, text) => it.requestFailed('r', new Error(text)),
  'as something thrown': (it, text) => it.requestFailed('r', text),
  'in the cause of an expected error': (it, text) =>
    it.requestFailed('r', new GatewayError('UNAVAILABLE', 'x', { cause: new Error(text) })),
  'in a cause of a cause': (it, text) =>
    it.requestFailed('r', new Error('x', { cause: new Error('y', { cause: new Error(text) }) })),
  'in one of several errors': (it, text) =>
    it.requestFailed('r', new AggregateError([new Error(text)], text)),
  'in a stack': (it, text) =>
    it.requestFailed('r', Object.assign(new Error('x'), { stack: `Error: x\n    at ${text}` })),
  'in a property of an error': (it, text) =>
    it.warn('x', { err: Object.assign(new Error('x'), { config: { headers: text } }) }),
  'in a path': (it, text) => it.requestCompleted({ ...request, path: text }),
  'in an outcome': (it, text) => it.upstreamCalled({ ...call, outcome: text }),
  'in a message': (it, text) => it.warn(text),
  'deep in a field': (it, text) => it.info('x', { a: [{ b: text }] }),
};

describe.each(leaks)('%s is never logged', (_, secret, texts) => {
  test.each(Object.entries(ways))('%s', (_way, say) => {
    for (const text of texts) {
      const recorder = openRecorder();
      say(recorder, text);
      expect(recorder.lines).toHaveLength(1);
      // Nor the beginning or end of it.
      expect(recorder.lines[0]).not.toContain(secret.slice(0, 12));
      expect(recorder.lines[0]).not.toContain(secret.slice(-12));
      expect(() => recorder.entries()).not.toThrow();
    }
  });
});

test('nine kinds of secrets are planted', () => {
  expect(leaks).toHaveLength(9);
});

describe('redaction', () => {
  test('keeps what operators need', () => {
    const line = JSON.stringify({
      requestId: '7f0c7f7a-2b66-4f4c-9be6-0d5b62d4fd84',
      path: '/v1/numbers/wa_0123456789abcdef0123456789abcdef/status',
      keyPrefix: 'ps_AbCd',
      keyLast4: 'wXyZ',
      fbtraceId: 'A1b2C3d4E5f6G7h8I9j0K1l',
      url: 'http://127.0.0.1:4000/v1/numbers',
      cause: 'Error: connect ECONNREFUSED 127.0.0.1:5432\n    at file:///app/src/database.ts:10:3',
    });
    expect(redact(line)).toBe(line);
  });

  test('keeps a line valid JSON', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(...leaks.flatMap(([, , texts]) => texts)), (a, b) => {
        expect(() => JSON.parse(redact(JSON.stringify({ a, b: `${a}${b}` })))).not.toThrow();
      }),
    );
  });

  test('takes time linear in the length of the line', () => {
    const pieces = [
      'a',
      'A',
      'ps_',
      'EAA',
      'a://b:',
      'v1.a.',
      'api_key',
      'bearer ',
      'bearer',
      '\\"',
    ];
    const started = performance.now();
    for (const piece of pieces) redact(piece.repeat(100_000 / piece.length));
    // A quadratic pattern takes three seconds for the second piece alone.
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

const idOf = (given: string) =>
  createRequestContext(new Headers({ 'x-request-id': given })).requestId;

describe('the request id', () => {
  test('is that of the caller when it is safe to log', () => {
    expect(idOf('trace-1.2_x')).toBe('trace-1.2_x');
  });

  test.each(['', 'a b', '<script>', 'x'.repeat(65), '"'])(
    'is generated when the caller sends %o',
    (given) => {
      expect(idOf(given)).toMatch(/^[0-9a-f-]{36}$/);
    },
  );
});
