// What callers of both APIs and of the command line are told about sending, after a read of what Meta sends on the wire.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from '../admin/command-line.ts';
import { openTestGateway, type TestGateway, type TestNumber } from '../harness.ts';

type Fields = Readonly<Record<string, unknown>>;

const toAvailable = (type: string) => ({
  entity_type: type,
  id: '1',
  can_send_message: 'AVAILABLE',
});

/** Health as Graph sends it: all four entities are AVAILABLE, but for those that are given. */
function toWireHealth(...given: readonly Fields[]): Fields {
  const types = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'];
  return {
    can_send_message: 'AVAILABLE',
    entities: types.map(
      (type) => given.find((entity) => entity['entity_type'] === type) ?? toAvailable(type),
    ),
  };
}

const toBlocked = (entity_type: string, ...codes: readonly (number | string)[]) => ({
  entity_type,
  can_send_message: 'BLOCKED',
  errors: codes.map((error_code) => ({ error_code })),
});

const flagged = { status: 'FLAGGED', quality_rating: 'RED', health_status: toWireHealth() };
const restricted = { status: 'RESTRICTED', health_status: toWireHealth() };
const rateLimited = { status: 'RATE_LIMITED', health_status: toWireHealth() };
const unpaid = { health_status: toWireHealth(toBlocked('WABA', 138_024, '141006')) };
const callsAsText = { health_status: toWireHealth(toBlocked('PHONE_NUMBER', '138024')) };
const disabled = { health_status: toWireHealth(toBlocked('WABA', 141_006, 131_031)) };
const banned = { status: 'BANNED', health_status: toWireHealth() };
const unregistered = {
  status: null,
  platform_type: 'NOT_APPLICABLE',
  health_status: toWireHealth(toBlocked('PHONE_NUMBER')),
};

/** What Graph sends, and the answers: `verdict`, `replyVerdict`, `sendable` and the connection state. */
const cases = [
  ['low quality', flagged, 'YES', 'YES', true, 'OPEN'],
  ['a used-up limit', restricted, 'NO', 'YES', false, 'OPEN'],
  ['throttled sending', rateLimited, 'YES', 'YES', true, 'OPEN'],
  ['no payment method, and no calls', unpaid, 'NO', 'YES', false, 'OPEN'],
  ['no calls, with the code as text', callsAsText, 'YES', 'YES', true, 'OPEN'],
  ['no payment method, and a locked account', disabled, 'NO', 'NO', false, 'OPEN'],
  ['a ban', banned, 'NO', 'NO', false, 'CLOSE'],
  ['no registration', unregistered, 'NO', 'NO', false, 'CONNECTING'],
] as const;

let gateway: TestGateway;
let line: CommandLine;
let lineTenant: string;
beforeAll(async () => {
  gateway = await openTestGateway();
  line = await openCommandLine();
  lineTenant = await line.addTenant();
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await line[Symbol.asyncDispose]();
});

const sendability = `sendability { verdict replyVerdict reasons { entity field effect scope blocks } }`;

describe.each(cases)('with %s', (_, phone, verdict, replyVerdict, sendable, state) => {
  test('a live and a stored read say the same over GraphQL and REST', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ phone });
    for (const live of [true, false]) {
      // oxlint-disable no-await-in-loop -- the second shows what the first stored
      const query = `{ number(id: "${id}", refresh: ${live}) { state health { sendable ${sendability} } } }`;
      const { body } = await tenant.graphql<Record<string, any>>(query);
      expect(body.data!['number']).toMatchObject({
        state,
        health: { sendable, sendability: { verdict, replyVerdict } },
      });
      const path = `/v1/numbers/${id}?include=sendability${live ? '&refresh=1' : ''}`;
      expect((await tenant.rest(path)).body).toMatchObject({
        state,
        health: { sendable },
        sendability: { verdict, replyVerdict },
      });
      // oxlint-enable no-await-in-loop
    }
  });

  test('the command line says the same', async () => {
    const id = await addNumber(phone);
    const { json } = await line.run(`number refresh ${id}`);
    const expected = { state, health: { sendable, sendability: { verdict, replyVerdict } } };
    expect(json).toMatchObject([expected]);
    expect((await line.run(`number show ${id}`)).json).toMatchObject(expected);
    const { stdout } = await line.run(`number show ${id}`, { tty: ['stdout'] });
    expect(stdout).toMatch(new RegExp(`^verdict +${verdict}$`, 'm'));
    expect(stdout).toMatch(new RegExp(`^reply verdict +${replyVerdict}$`, 'm'));
  });
});

let added = 0;

/** On the command line, with what Graph sends of it. */
async function addNumber(phone: Fields): Promise<string> {
  added += 1;
  const [phoneNumberId, wabaId] = [`77000000000${added}`, '880000000001'];
  line.simulator.setWaba({ id: wabaId, fields: { name: 'Acme' } });
  const fields = { status: 'CONNECTED', platform_type: 'CLOUD_API', ...phone };
  line.simulator.setPhone({ id: phoneNumberId, wabaId, fields, profile: {} });
  const words = `number add --tenant ${lineTenant} --name Shop --number 551190000000${added} --provider META
    --phone-number-id ${phoneNumberId} --waba-id ${wabaId} --no-check --credentials -`;
  const stdin = '{"accessToken":"EAAtoken"}';
  const { json, stderr } = await line.run<{ id: string }>(words.split(/\s+/), { stdin });
  expect(stderr).not.toContain('INVALID');
  return json.id;
}

test('a ban is given as the reason once, with its own advice', async () => {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ phone: banned });
  const query = `{ number(id: "${id}", refresh: true) { health { sendability { reasons { entity text solution blocks } } } } }`;
  const { body } = await tenant.graphql<Record<string, any>>(query);
  const { reasons } = body.data!['number'].health.sendability;
  expect(reasons.filter(({ blocks }: { blocks: boolean }) => blocks)).toEqual([
    {
      entity: 'PHONE_NUMBER',
      text: 'Meta has banned the number.',
      solution: "Appeal in Meta's Business Support Home.",
      blocks: true,
    },
  ]);
});

describe('sendable, after a read that said YES,', () => {
  test.each([
    ['a dead token', { kind: 'error', code: 190, subcode: 463, status: 401 }, false],
    ['a missing permission', { kind: 'error', code: 200 }, false],
    ['a deleted number', { kind: 'error', code: 33 }, false],
    ['a locked account', { kind: 'error', code: 131_031 }, false],
    ['a refusal that depends on the country', { kind: 'error', code: 130_497 }, false],
    ['a temporary error', { kind: 'error', code: 2, transient: true }, true],
    ['throttling', { kind: 'throttled', minutes: 5 }, true],
    ['a lost connection', { kind: 'reset' }, true],
  ] as const)('and then %s', async (_, fault, sendable) => {
    const tenant = await gateway.addTenant();
    const number = await tenant.addNumber();
    await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
    setFault(number, fault);
    await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
    // Age alone changes nothing.
    for (const hours of [0, 72]) {
      // oxlint-disable no-await-in-loop -- the second is later
      await gateway.database.query(
        `update number_snapshot set observed_at = observed_at - interval '${hours} hours',
           judged_at = judged_at - interval '${hours} hours' where number_id = $1`,
        [number.id],
      );
      const { body } = await tenant.rest(`/v1/numbers/${number.id}`);
      expect(body).toMatchObject({ health: { sendable } });
      const { body: graphql } = await tenant.graphql<Record<string, any>>(
        `{ number(id: "${number.id}") { health { sendable sendability { verdict } } } }`,
      );
      expect(graphql.data!['number'].health).toMatchObject({ sendable });
      // oxlint-enable no-await-in-loop
    }
  });
});

function setFault(number: TestNumber, fault: Parameters<TestGateway['simulator']['setFault']>[1]) {
  for (const node of [number.phoneNumberId, number.wabaId]) gateway.simulator.setFault(node, fault);
}

test('a read that is refused because of the country of recipients leaves both verdicts open, over both APIs', async () => {
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber();
  await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
  setFault(number, { kind: 'error', code: 130_497 });
  const { body: live } = await tenant.graphql<Record<string, any>>(
    `{ number(id: "${number.id}", refresh: true) { health { sendable sendability { verdict replyVerdict
       reasons { code effect scope text solution } } } } }`,
  );
  const open = {
    verdict: 'UNKNOWN',
    replyVerdict: 'UNKNOWN',
    reasons: [
      {
        code: 130_497,
        effect: 'INCONCLUSIVE',
        scope: 'ALL',
        text: expect.stringContaining('certain countries'),
        solution: expect.stringContaining('Messaging Policy'),
      },
    ],
  };
  expect(live.data!['number'].health).toEqual({ sendable: false, sendability: open });
  const { body: rest } = await tenant.rest(`/v1/numbers/${number.id}?include=sendability`);
  expect(rest).toMatchObject({ health: { sendable: false }, sendability: open });
});
