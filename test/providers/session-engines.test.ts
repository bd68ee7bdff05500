// What callers see of a number when its session engine refuses, does not know the instance, or answers in other words.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from '../admin/command-line.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';
import {
  type IndependentEngine,
  openIndependentEngine,
  recorded,
  type RecordedAnswer,
} from './independent-engine.ts';

let engine: IndependentEngine;
let gateway: TestGateway;
let line: CommandLine;
beforeAll(async () => {
  engine = await openIndependentEngine();
  line = await openCommandLine();
  gateway = await openTestGateway({
    fetch: globalThis.fetch,
    environment: { SESSION_ENGINE_URL: engine.url },
  });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await line[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const selection = `{ state isFullyConnected health { sendable
  sendability { verdict replyVerdict reasons { entity value effect scope text solution } }
  freshness { source error { code message transient } } } }`;

interface Shown {
  readonly state: string;
  readonly isFullyConnected: boolean;
  readonly health: {
    readonly sendable: boolean;
    readonly sendability: {
      readonly verdict: string;
      readonly replyVerdict: string;
      readonly reasons: readonly Readonly<Record<string, string | null>>[];
    };
    readonly freshness: {
      readonly source: string;
      readonly error: Readonly<Record<string, unknown>> | null;
    };
  };
}

const bothUnknown = { verdict: 'UNKNOWN', replyVerdict: 'UNKNOWN' };

/** Each of the texts is in the reason's text or its solution, and in the failure. */
function expectDoubt({ state, health }: Shown, says: readonly string[]): void {
  expect(state).toBe('OPEN');
  const { reasons, ...verdicts } = health.sendability;
  expect(verdicts).toEqual(bothUnknown);
  expect(reasons).toMatchObject([{ entity: 'SNAPSHOT', effect: 'INCONCLUSIVE', scope: 'ALL' }]);
  const [reason] = reasons;
  for (const part of says) {
    expect(`${reason?.['text']} ${reason?.['solution']}`).toContain(part);
    expect(health.freshness.error?.['message']).toContain(part);
  }
  expect(health.freshness.source).toBe('SNAPSHOT');
}

/** A number that was read as OPEN, and is then refreshed when the engine gives this answer. */
async function refreshAfter(answer: RecordedAnswer, instanceName?: string) {
  const tenant = await gateway.addTenant();
  const named = instanceName === undefined ? {} : { instanceName };
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'CLOSE', ...named });
  const query = async (refresh: boolean): Promise<Shown> => {
    const { body } = await tenant.graphql<{ number: Shown }>(
      `{ number(id: "${id}", refresh: ${refresh}) ${selection} }`,
    );
    return body.data!.number;
  };
  engine.answer(recorded.open);
  expect(await query(true)).toMatchObject({ state: 'OPEN', health: { sendable: true } });
  engine.answer(answer);
  const live = await query(true);
  const stored = await query(false);
  const path = `/v1/numbers/${id}`;
  const rest = {
    status: await tenant.rest(`${path}/status`),
    live: await tenant.rest(`${path}?refresh=1`),
    stored: await tenant.rest(path),
  };
  return { live, stored, rest };
}

describe('the words of engines', () => {
  test.each([
    ['open', 'OPEN'],
    ['OPEN', 'OPEN'],
    ['Open ', 'OPEN'],
    ['connected', 'OPEN'],
    ['CONNECTED', 'OPEN'],
    ['WORKING', 'OPEN'],
    ['connecting', 'CONNECTING'],
    ['CONNECTING', 'CONNECTING'],
    ['STARTING', 'CONNECTING'],
    ['SCAN_QR_CODE', 'CONNECTING'],
    ['QRCODE', 'CONNECTING'],
    ['INITIALIZING', 'CONNECTING'],
    ['close', 'CLOSE'],
    ['Closed', 'CLOSE'],
    ['CLOSED', 'CLOSE'],
    ['disconnected', 'CLOSE'],
    ['refused', 'CLOSE'],
    ['STOPPED', 'CLOSE'],
    ['FAILED', 'CLOSE'],
  ])('%j is %s', async (word, state) => {
    const { live, rest } = await refreshAfter(recorded.evolution(word));
    const isOpen = state === 'OPEN';
    expect(live).toMatchObject({
      state,
      isFullyConnected: isOpen,
      health: {
        sendable: isOpen,
        sendability: { verdict: isOpen ? 'YES' : 'NO' },
        freshness: { source: 'LIVE', error: null },
      },
    });
    expect(rest.status).toMatchObject({ status: 200, body: { state, isFullyConnected: isOpen } });
    expect(rest.live).toMatchObject({ status: 200, body: { state, health: { sendable: isOpen } } });
  });

  test.each([
    ['open', recorded.codechatOpen, 'OPEN'],
    ['close', recorded.codechatClose, 'CLOSE'],
  ] as const)('the state may stand at the top level: %s', async (_, answer, state) => {
    const { live, rest } = await refreshAfter(answer);
    expect(live).toMatchObject({ state, health: { freshness: { source: 'LIVE', error: null } } });
    expect(rest.status).toMatchObject({ status: 200, body: { state } });
  });
});

test('a name of digits may come as a number', async () => {
  const answer = { status: 200, body: '{"instance":{"instanceName":{name},"state":"close"}}' };
  const instanceName = '5511988887777123456';
  const { live, rest } = await refreshAfter(answer, instanceName);
  expect(live).toMatchObject({ state: 'CLOSE', health: { freshness: { error: null } } });
  expect(rest.status).toMatchObject({ status: 200, body: { state: 'CLOSE' } });
});

describe('an instance that does not exist', () => {
  test.each([
    ['Evolution API', recorded.evolutionMissing],
    ['Evolution API with 400', recorded.evolutionMissing400],
    ['CodeChat', recorded.codechatMissing],
    ['WAHA', recorded.wahaMissing],
    ['WPPConnect', recorded.wppconnectMissing],
    ['a code instead of a sentence', recorded.codeMissing],
    ['status 200', { ...recorded.codeMissing, status: 200 }],
    ['status 500', { ...recorded.codeMissing, status: 500 }],
  ] as const)('blocks and is CLOSE, in the words of %s', async (_, answer) => {
    const { live, stored, rest } = await refreshAfter(answer);
    const shown = {
      state: 'CLOSE',
      isFullyConnected: false,
      health: {
        sendable: false,
        sendability: {
          verdict: 'NO',
          replyVerdict: 'NO',
          reasons: [
            {
              entity: 'CONNECTION',
              value: 'CLOSE',
              effect: 'BLOCKS',
              scope: 'ALL',
              text: 'The session engine has no instance for the number.',
              solution:
                'Create or start its instance at the session engine and scan the QR code, or store the right name with: number update --instance.',
            },
          ],
        },
      },
    };
    expect(live).toMatchObject(shown);
    expect(live.health.freshness).toEqual({ source: 'LIVE', error: null });
    expect(stored).toMatchObject(shown);
    expect(rest.status).toMatchObject({
      status: 200,
      body: { state: 'CLOSE', isFullyConnected: false },
    });
    expect(rest.live).toMatchObject({
      status: 200,
      body: { state: 'CLOSE', health: { sendable: false } },
    });
    expect(rest.stored).toMatchObject({ body: { state: 'CLOSE', health: { sendable: false } } });
  });

  test('is forgotten when the instance is created, and when other software stores another state', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'OPEN' });
    const query = async (refresh: boolean) => {
      const { body } = await tenant.graphql(
        `{ number(id: "${id}", refresh: ${refresh}) ${selection} }`,
      );
      return body.data!['number'];
    };
    const sends = { state: 'OPEN', health: { sendability: { verdict: 'YES', reasons: [] } } };
    engine.answer(recorded.evolutionMissing);
    expect(await query(true)).toMatchObject({ state: 'CLOSE' });
    engine.answer(recorded.open);
    expect(await query(true)).toMatchObject(sends);
    engine.answer(recorded.evolutionMissing);
    expect(await query(true)).toMatchObject({ state: 'CLOSE' });
    await gateway.database.query(`update whatsapp_number set state = 'OPEN' where id = $1`, [id]);
    expect(await query(false)).toMatchObject(sends);
  });
});

describe('an answer that gives no state', () => {
  const invalid = ['invalid', 'SESSION_ENGINE_URL'];
  const path = ['without saying anything about the instance', 'SESSION_ENGINE_URL'];
  const redirect = ['redirects', 'SESSION_ENGINE_URL'];
  const noState = ['no connection state', 'Restart the instance'];
  test.each([
    ['no state', recorded.withoutState, noState, true],
    ['null as the state', recorded.nullState, noState, true],
    ['an unknown path of Evolution API', recorded.evolutionUnknownPath, path, false],
    ['an unknown path of WAHA', recorded.wahaUnknownPath, path, false],
    ['a hosting platform without the engine', recorded.platformNotFound, path, false],
    ['a proxy without the engine', recorded.proxyNotFound, path, false],
    ['a redirect', recorded.redirect, redirect, false],
    ['a page', recorded.managerPage, invalid, true],
    ['half an answer', recorded.truncated, invalid, true],
    ['an answer about another instance', recorded.otherInstance, invalid, true],
    ['a state that is no word', recorded.numericState, invalid, true],
    ['an unknown word', recorded.unknownWord, ['"hibernating"', 'Check the instance'], true],
  ] as const)('is inconclusive: %s', async (_, answer, says, transient) => {
    const { live, stored, rest } = await refreshAfter(answer);
    for (const shown of [live, stored]) {
      expectDoubt(shown, says);
      expect(shown).toMatchObject({
        // The engine has answered, and its answer contradicts the state that is stored.
        health: {
          sendable: false,
          freshness: { error: { code: 'ENGINE_INVALID_RESPONSE', transient } },
        },
      });
    }
    for (const { status, body } of [rest.status, rest.live]) {
      expect({ status, code: body['code'] }).toEqual({
        status: 502,
        code: 'ENGINE_INVALID_RESPONSE',
      });
      for (const part of says) expect(body['error']).toContain(part);
    }
    expect(rest.stored).toMatchObject({ body: { state: 'OPEN', health: { sendable: false } } });
  });

  test.each([
    ['by Evolution API', recorded.evolutionKeyRefused],
    ['by a proxy', recorded.proxyKeyRefused],
  ] as const)('is inconclusive: a key that is refused %s', async (_, answer) => {
    const { live, stored, rest } = await refreshAfter(answer);
    const says = ['refused the gateway', 'SESSION_ENGINE_KEY'];
    for (const shown of [live, stored]) {
      expectDoubt(shown, says);
      expect(shown).toMatchObject({
        health: {
          sendable: false,
          freshness: { error: { code: 'ENGINE_ACCESS_DENIED', transient: false } },
        },
      });
    }
    for (const { status, body } of [rest.status, rest.live]) {
      expect({ status, code: body['code'] }).toEqual({ status: 502, code: 'ENGINE_ACCESS_DENIED' });
      for (const part of says) expect(body['error']).toContain(part);
    }
    expect(rest.stored).toMatchObject({ body: { state: 'OPEN', health: { sendable: false } } });
  });

  test('leaves the verdict as it is while the engine is down', async () => {
    const { live, rest } = await refreshAfter(recorded.badGateway);
    expect(live).toMatchObject({
      state: 'OPEN',
      health: {
        sendable: true,
        sendability: { verdict: 'YES', replyVerdict: 'YES', reasons: [] },
        freshness: { source: 'SNAPSHOT', error: { code: 'UNAVAILABLE', transient: true } },
      },
    });
    expect(rest.status.status).toBe(503);
  });
});

describe('the state that an operator gave with the number', () => {
  test.each(['OPEN', 'CLOSE', 'CONNECTING'] as const)(
    'is no evidence before the engine has answered: %s',
    async (state) => {
      const tenant = await gateway.addTenant();
      const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state });
      const { body } = await tenant.graphql(`{ number(id: "${id}") ${selection} }`);
      expect(body.data!['number']).toMatchObject({
        state,
        health: {
          sendable: false,
          sendability: {
            ...bothUnknown,
            reasons: [{ entity: 'SNAPSHOT', effect: 'INCONCLUSIVE' }],
          },
        },
      });
      const { body: detail } = await tenant.rest(`/v1/numbers/${id}`);
      expect(detail).toMatchObject({ state, health: { sendable: false } });
    },
  );
});

describe('the command line', () => {
  test('shows a missing instance as CLOSE and NO', async () => {
    const id = await add();
    engine.answer(recorded.evolutionMissing);
    const refreshed = await run(`number refresh ${id}`);
    expect(refreshed).toMatchObject({ code: 0, stderr: '' });
    expect(await show(id)).toMatchObject({
      state: 'CLOSE',
      health: { sendable: false, sendability: { verdict: 'NO' } },
    });
  });

  test('fails on a refused key, says what to do, and leaves both verdicts open', async () => {
    const id = await add();
    engine.answer(recorded.evolutionKeyRefused);
    const refreshed = await run(`number refresh ${id}`);
    expect(refreshed.code).toBe(1);
    expect(refreshed.stderr).toMatch(/^ENGINE_ACCESS_DENIED: .*SESSION_ENGINE_KEY/m);
    expect(await show(id)).toMatchObject({ state: 'OPEN', health: { sendability: bothUnknown } });
  });

  test('refuses a number without the name of its instance, and accepts it without an engine', async () => {
    const tenant = await line.addTenant();
    const words = `number add --tenant ${tenant} --name Shop --number 55119 --provider PILOT_STATUS`;
    const refused = await run(words);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^INVALID_REQUEST: .*session engine.*--instance/m);
    const accepted = await line.run<{ instanceName: null }>(words, {
      environment: { SESSION_ENGINE_URL: '' },
    });
    expect(accepted.json).toMatchObject({ provider: 'PILOT_STATUS' });
    const { json } = await line.run<readonly unknown[]>(`number list --tenant ${tenant}`);
    expect(json).toHaveLength(1);
  });

  test('does not take the state of number add for an answer of the engine', async () => {
    expect(await show(await add())).toMatchObject({
      state: 'OPEN',
      health: { sendable: false, sendability: bothUnknown },
    });
  });
});

async function run(command: string) {
  return await line.run<{ id: string }>(command, {
    environment: { SESSION_ENGINE_URL: engine.url },
  });
}

async function add(): Promise<string> {
  const tenant = await line.addTenant();
  const { json } = await run(
    `number add --tenant ${tenant} --name Shop --number 55119 --provider PILOT_STATUS --instance shop --state OPEN`,
  );
  return json.id;
}

async function show(id: string) {
  return (await run(`number show ${id}`)).json;
}
