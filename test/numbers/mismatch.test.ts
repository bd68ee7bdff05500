// Ids and digits that were stored by hand and do not belong to the number: reasons that inform, and say what to store.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCommandLine } from '../admin/command-line.ts';
import {
  openTestGateway,
  type TestGateway,
  type TestNumberOptions,
  toHealthyPhone,
} from '../harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

const reasonMembers = 'entity entityId field value effect scope text solution';

/** The health of a number after a refresh, through both APIs. */
async function refresh(options: TestNumberOptions) {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber(options);
  const { body } = await tenant.graphql<{ number: any }>(
    `{ number(id: "${id}", refresh: true) { health { sendable sendability { verdict replyVerdict reasons { ${reasonMembers} } } } } }`,
  );
  const { body: list } = await tenant.graphql<{ numbers: readonly any[] }>(
    `{ numbers { health { sendable sendability { verdict replyVerdict reasons { ${reasonMembers} } } } } }`,
  );
  const { health } = body.data!.number;
  // What was stored gives the same reasons, and the number is healthy but for them.
  expect(list.data!.numbers).toEqual([{ health }]);
  expect(health).toMatchObject({
    sendable: true,
    sendability: { verdict: 'YES', replyVerdict: 'YES' },
  });
  const { body: detail } = await tenant.rest<any>(`/v1/numbers/${id}?include=sendability`);
  expect(detail).toMatchObject({ health: { sendable: true }, sendability: health.sendability });
  return health.sendability.reasons;
}

describe('the account of a number', () => {
  const ownWabaId = '102290129340111';
  const { fields } = toHealthyPhone('106540352242922', ownWabaId);

  test('that Meta names and that is not stored is told, with the command that stores it', async () => {
    const wabaId = '102290129340222';
    const { health_status } = fields;
    expect(await refresh({ wabaId, waba: {}, phone: { health_status } })).toEqual([
      {
        entity: 'WABA',
        entityId: ownWabaId,
        field: 'health_status.entities.id',
        value: ownWabaId,
        effect: 'INFORMS',
        scope: 'ALL',
        text: `Meta says that the number belongs to the WhatsApp Business account ${ownWabaId}, but ${wabaId} is stored as its account.`,
        solution: `Store the account of the number with: number update --waba-id ${ownWabaId}.`,
      },
    ]);
  });

  test('is not questioned when Meta names it, or none', async () => {
    const { health_status } = fields;
    expect(await refresh({ wabaId: ownWabaId, waba: {}, phone: { health_status } })).toEqual([]);
    const nameless = {
      can_send_message: 'AVAILABLE',
      entities: [
        { entity_type: 'PHONE_NUMBER', id: '1', can_send_message: 'AVAILABLE' },
        { entity_type: 'WABA', can_send_message: 'AVAILABLE' },
      ],
    };
    expect(await refresh({ phone: { health_status: nameless } })).toEqual([]);
  });
});

describe('the digits of a number', () => {
  test('that differ from those at Meta are told, with the command that corrects them', async () => {
    const phone = { display_phone_number: '+55 11 98888-7777' };
    expect(await refresh({ number: '5511988887776', phone })).toEqual([
      {
        entity: 'PHONE_NUMBER',
        entityId: null,
        field: 'display_phone_number',
        value: '+55 11 98888-7777',
        effect: 'INFORMS',
        scope: 'ALL',
        text: 'Meta shows +55 11 98888-7777 as the number of the stored phone number id, but 5511988887776 is stored as the number.',
        solution:
          'Correct the wrong one with: number update --number 5511988887777, or number update --phone-number-id.',
      },
    ]);
  });

  test.each([
    ['15550967852', '+1 555-096-7852', 0],
    ['15550967852', '15550967852', 0],
    ['15550967852', '+1 (555) 096‑7852', 0],
    ['15550967852', null, 0],
    ['15550967852', '', 0],
    // Mobile numbers in Brazil, with the ninth digit and without it.
    ['5511988887777', '+55 11 8888-7777', 0],
    ['551188887777', '+55 11 98888-7777', 0],
    ['5511988887777', '+55 11 8888-7776', 1],
    ['5521988887777', '+55 11 98888-7777', 1],
    // Mobile numbers in Mexico and Argentina.
    ['5215512345678', '+52 55 1234 5678', 0],
    ['525512345678', '+52 1 55 1234 5678', 0],
    ['5491123456789', '+54 11 2345-6789', 0],
    // Without the country code.
    ['11988887777', '+55 11 98888-7777', 1],
    ['4915112345678', '+49 151 12345679', 1],
  ] as const)('%s and %s: %i reasons', async (number, display_phone_number, count) => {
    const reasons = await refresh({ number, phone: { display_phone_number } });
    expect(reasons).toHaveLength(count);
  });
});

test('number show notes both', async () => {
  await using line = await openCommandLine();
  const [phoneNumberId, wabaId, ownWabaId] = [
    '106540352242922',
    '102290129340222',
    '102290129340111',
  ];
  line.simulator.setWaba({ id: wabaId, fields: {} });
  line.simulator.setPhone({
    ...toHealthyPhone(phoneNumberId, ownWabaId, { display_phone_number: '+55 11 98888-7777' }),
    wabaId,
  });
  const tenant = await line.addTenant();
  const { json } = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name Shop --number 5511900000000 --provider META --phone-number-id ${phoneNumberId} --waba-id ${wabaId} --no-check --credentials -`,
    { stdin: '{"accessToken":"EAAtoken"}' },
  );
  await line.run(`number refresh ${json.id}`);
  const { stdout } = await line.run(`number show ${json.id}`, { tty: ['stdout'], columns: 400 });
  expect(stdout).toMatch(/note .*number update --waba-id 102290129340111/);
  expect(stdout).toMatch(/note .*number update --number 5511988887777/);
});
