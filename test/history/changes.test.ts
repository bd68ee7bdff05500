// Tests what is recorded as a change, by whom and when, and that nothing else is.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordReadings } from '../../src/numbers/store.ts';
import { writeAllOutdated } from '../../src/numbers/status-upkeep.ts';
import {
  databases,
  openTestGateway,
  toHealthyPhone,
  type TestDatabase,
  type TestGateway,
} from '../harness.ts';

interface Recorded {
  readonly sequence: number;
  readonly kind: string;
  readonly field: string | null;
  readonly previous: string | null;
  readonly value: string | null;
  readonly source: string;
  readonly subject: string;
  readonly observation: string | null;
  readonly occurredAt: Date;
}

async function listChanges(
  { query }: TestDatabase,
  tenantId: string,
  after = 0,
): Promise<readonly Recorded[]> {
  return await query<Recorded>(
    `select sequence::integer, kind, field, previous_value as previous, new_value as value, source,
       coalesce(number_id, waba_id) as subject, observation, occurred_at as "occurredAt"
     from number_change where tenant_id = $1 and sequence > $2 order by sequence`,
    [tenantId, after],
  );
}

async function lastSequence(database: TestDatabase, tenantId: string): Promise<number> {
  const rows = await listChanges(database, tenantId);
  return rows.at(-1)?.sequence ?? 0;
}

/** Without what differs from run to run. */
function toLines(changes: readonly Recorded[]): readonly string[] {
  return changes.map(({ kind, field, previous, value, source }) =>
    [kind, field, `${previous} -> ${value}`, source].join(' '),
  );
}

const live = (id: string) => `{ number(id: "${id}", refresh: true) { id } }`;

describe.each(databases)('on %s, the history has', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('a number that is added, and what its first read finds, one change for each block', async () => {
    const tenant = await gateway.addTenant();
    const { id, number, wabaId } = await tenant.addNumber({
      name: 'Shop',
      phone: { quality_rating: 'GREEN', status: 'CONNECTED' },
      profile: { about: 'Hello', profile_picture_url: 'https://example.com/signed' },
    });
    await tenant.graphql(live(id));
    const changes = await listChanges(gateway.database, tenant.id);
    expect(changes.map((change) => [change.sequence, change.kind, change.field])).toEqual([
      [1, 'ADDED', null],
      [2, 'ADDED', 'PHONE'],
      [3, 'ADDED', 'PROFILE'],
      [4, 'ADDED', 'ACCOUNT'],
      [5, 'VERDICT', 'VERDICT'],
      [6, 'VERDICT', 'REPLY_VERDICT'],
    ]);
    const [added, phone, profile, account, verdict] = changes;
    expect(added).toMatchObject({ source: 'COMMAND_LINE', subject: id });
    expect(JSON.parse(added?.value ?? '')).toEqual({
      STATE: 'OPEN',
      NAME: 'Shop',
      NUMBER: number,
      WABA_ID: wabaId,
    });
    expect(phone).toMatchObject({ source: 'READ', subject: id });
    expect(JSON.parse(phone?.value ?? '')).toMatchObject({
      QUALITY_RATING: 'GREEN',
      META_STATUS: 'CONNECTED',
      HEALTH_PHONE_NUMBER: 'AVAILABLE',
    });
    // Without the URL of the picture, which is signed anew for each read.
    expect(JSON.parse(profile?.value ?? '')).toEqual({ PROFILE_ABOUT: 'Hello' });
    expect(account).toMatchObject({ source: 'READ', subject: wabaId });
    expect(verdict).toMatchObject({ previous: 'UNKNOWN', value: 'YES', source: 'READ' });
    expect(verdict?.observation).toBe(phone?.observation);
  });

  test('each field that a later read finds changed, and nothing of a read that finds nothing new', async () => {
    const tenant = await gateway.addTenant();
    const { id, number, phoneNumberId, wabaId } = await tenant.addNumber({
      phone: { quality_rating: 'GREEN', status: 'CONNECTED' },
      profile: { about: 'Hello', websites: ['https://a.example'] },
    });
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    await tenant.graphql(live(id));
    expect(await listChanges(gateway.database, tenant.id, before)).toEqual([]);

    const fields = {
      display_phone_number: `+${number}`,
      quality_rating: 'RED',
      status: 'BANNED',
      health_status: {
        can_send_message: 'BLOCKED',
        entities: [
          { entity_type: 'PHONE_NUMBER', id: phoneNumberId, can_send_message: 'BLOCKED' },
          { entity_type: 'APP', id: '1', can_send_message: 'LIMITED' },
          { entity_type: 'APP', id: '2', can_send_message: 'AVAILABLE' },
        ],
      },
    };
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields, { about: 'Bye' }));
    gateway.simulator.setWaba({ id: wabaId, fields: { account_review_status: 'REJECTED' } });
    await tenant.graphql(live(id));
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(changes)).toEqual([
      'FIELD STATE OPEN -> CLOSE READ',
      'VERDICT VERDICT YES -> NO READ',
      'VERDICT REPLY_VERDICT YES -> NO READ',
      'FIELD HEALTH_APP AVAILABLE -> LIMITED READ',
      'FIELD HEALTH_BUSINESS AVAILABLE -> null READ',
      'FIELD HEALTH_PHONE_NUMBER AVAILABLE -> BLOCKED READ',
      'FIELD HEALTH_WABA AVAILABLE -> null READ',
      'FIELD META_STATUS CONNECTED -> BANNED READ',
      'FIELD QUALITY_RATING GREEN -> RED READ',
      'FIELD PROFILE_ABOUT Hello -> Bye READ',
      'FIELD PROFILE_WEBSITES ["https://a.example"] -> null READ',
      'FIELD ACCOUNT_COUNTRY BR -> null READ',
      'FIELD ACCOUNT_CURRENCY USD -> null READ',
      'FIELD ACCOUNT_NAME Lucky Shrub -> null READ',
      'FIELD ACCOUNT_OWNERSHIP_TYPE SELF_OWNED -> null READ',
      'FIELD ACCOUNT_REVIEW_STATUS APPROVED -> REJECTED READ',
      'FIELD ACCOUNT_TIMEZONE 1 -> null READ',
      'FIELD ACCOUNT_VERIFICATION_STATUS verified -> null READ',
    ]);
  });

  test('nothing of a read that is older than the stored one', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const record = (quality: string, observedAt: Date) =>
      recordReadings(gateway.database, {
        tenantId: tenant.id,
        holder: 'test',
        observedAt,
        leased: [],
        readings: [
          {
            block: 'phone',
            id,
            data: { qualityRating: quality, status: 'CONNECTED' },
            failure: null,
            state: null,
          },
        ],
      });
    const now = Date.now();
    await record('GREEN', new Date(now));
    const before = await lastSequence(gateway.database, tenant.id);
    await record('RED', new Date(now - 1));
    expect(await listChanges(gateway.database, tenant.id, before)).toEqual([]);
    await record('YELLOW', new Date(now + 1));
    const [change] = await listChanges(gateway.database, tenant.id, before);
    expect(change).toMatchObject({ previous: 'GREEN', value: 'YELLOW' });
    expect(change?.occurredAt).toEqual(new Date(now + 1));
  });

  test('reads that begin to fail, and the one that succeeds again', async () => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId } = await tenant.addNumber();
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    gateway.simulator.setFault(phoneNumberId, { kind: 'error', code: 10 });
    await tenant.graphql(live(id));
    await tenant.graphql(live(id));
    gateway.simulator.setFault(phoneNumberId, null);
    await tenant.graphql(live(id));
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(changes.filter((change) => change.field === 'PHONE'))).toEqual([
      'READ_FAILING PHONE null -> META_ACCESS_DENIED READ',
      'READ_RECOVERED PHONE META_ACCESS_DENIED -> null READ',
    ]);
  });

  test('reads that begin or cease to fail because of the token, and no other change of their failure', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    const limited = 'META_RATE_LIMITED';
    const [late, denied] = ['META_TIMEOUT', 'META_ACCESS_DENIED'];
    for (const code of [late, limited, limited, denied, denied, late, limited, denied, null]) {
      const failure = code === null ? null : JSON.stringify({ code, message: 'It failed.' });
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await gateway.database.query(
        `update number_snapshot set failure = $2::jsonb, attempted_at = clock_timestamp()
         where number_id = $1 and block = 'phone'`,
        [id, failure],
      );
    }
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(changes.filter(({ field }) => field === 'PHONE'))).toEqual([
      'READ_FAILING PHONE null -> META_TIMEOUT EXTERNAL',
      'READ_FAILING PHONE META_RATE_LIMITED -> META_ACCESS_DENIED EXTERNAL',
      'READ_FAILING PHONE META_ACCESS_DENIED -> META_TIMEOUT EXTERNAL',
      'READ_FAILING PHONE META_RATE_LIMITED -> META_ACCESS_DENIED EXTERNAL',
      'READ_RECOVERED PHONE META_ACCESS_DENIED -> null EXTERNAL',
    ]);
  });

  test('reads that cannot be made, and the token that makes them possible', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ credentials: null });
    const before = await lastSequence(gateway.database, tenant.id);
    await tenant.graphql(live(id));
    const failing = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(failing.filter((change) => change.field === 'PHONE'))).toEqual([
      'READ_FAILING PHONE null -> META_ACCESS_DENIED READ',
    ]);
    expect(failing.every(({ occurredAt }) => Math.abs(+occurredAt - Date.now()) < 60_000)).toBe(
      true,
    );
    const after = await lastSequence(gateway.database, tenant.id);
    await gateway.numbers.setCredentials(id, { accessToken: 'new-token', appSecret: null });
    await tenant.graphql(live(id));
    const recovered = await listChanges(gateway.database, tenant.id, after);
    expect(recovered.filter((change) => change.kind === 'READ_FAILING')).toEqual([]);
  });

  test('that reads of former ids fail no more', async () => {
    const tenant = await gateway.addTenant();
    const [{ id, phoneNumberId }, other] = await Promise.all([
      tenant.addNumber(),
      tenant.addNumber(),
    ]);
    gateway.simulator.setFault(phoneNumberId, { kind: 'error', code: 10 });
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    await gateway.numbers.remove(other.id);
    await gateway.numbers.update(id, { phoneNumberId: other.phoneNumberId });
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(changes.filter((change) => change.field === 'PHONE'))).toEqual([
      'READ_RECOVERED PHONE META_ACCESS_DENIED -> null COMMAND_LINE',
    ]);
  });

  test('that the gateway applied new rules', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    await gateway.database.query(
      "update number_status set rules_version = 0, verdict = 'NO' where number_id = $1",
      [id],
    );
    await writeAllOutdated(gateway.database);
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(toLines(changes)).toEqual([
      'VERDICT VERDICT YES -> NO EXTERNAL',
      'VERDICT VERDICT NO -> YES UPKEEP',
    ]);
  });

  test('what other software writes, also of many numbers in one statement', async () => {
    const tenant = await gateway.addTenant();
    const numbers = await Promise.all(
      ['a', 'b', 'c'].map((instanceName) =>
        tenant.addNumber({ provider: 'PILOT_STATUS', instanceName }),
      ),
    );
    const before = await lastSequence(gateway.database, tenant.id);
    await gateway.database.query(
      "update whatsapp_number set state = 'CLOSE', name = name where tenant_id = $1",
      [tenant.id],
    );
    const changes = await listChanges(gateway.database, tenant.id, before);
    const states = changes.filter((change) => change.kind === 'FIELD');
    expect(toLines(states)).toEqual(Array(3).fill('FIELD STATE OPEN -> CLOSE EXTERNAL'));
    expect(new Set(states.map((change) => change.subject))).toEqual(
      new Set(numbers.map((number) => number.id)),
    );
    // The state comes before the verdict that follows from it.
    const ofFirst = changes.filter((change) => change.subject === numbers[0]?.id);
    expect(ofFirst.map((change) => change.kind)).toEqual(['FIELD', 'VERDICT', 'VERDICT']);
    expect(changes.map((change) => change.sequence)).toEqual(
      changes.map((_, index) => before + 1 + index),
    );
  });

  test('a number that is removed, with its account when it was the last one there', async () => {
    const tenant = await gateway.addTenant();
    const { id, wabaId } = await tenant.addNumber();
    await tenant.graphql(live(id));
    const before = await lastSequence(gateway.database, tenant.id);
    await gateway.numbers.remove(id);
    const changes = await listChanges(gateway.database, tenant.id, before);
    expect(changes.map((change) => [change.kind, change.subject, change.source])).toEqual([
      ['REMOVED', id, 'COMMAND_LINE'],
      ['REMOVED', wabaId, 'COMMAND_LINE'],
    ]);
  });

  test('nothing of a tenant that is removed', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await tenant.graphql(live(id));
    await gateway.access.removeTenant(tenant.id);
    expect(await listChanges(gateway.database, tenant.id)).toEqual([]);
    expect(
      await gateway.database.query('select * from feed_position where tenant_id = $1', [tenant.id]),
    ).toEqual([]);
  });
});
