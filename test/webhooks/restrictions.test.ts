// Restrictions that webhooks announce: what callers see of them, in the fleet and in the feed, until they end.

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeCursor } from '../../src/history/cursor.ts';
import { writeAllOutdated } from '../../src/numbers/status-upkeep.ts';
import { followNotices } from '../../src/webhooks/notice-upkeep.ts';
import {
  databases,
  openTestGateway,
  type TestGateway,
  type TestTenant,
  toHealthyPhone,
} from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';
const start = 'RESTRICTED_BIZ_INITIATED_MESSAGING';
const replies = 'RESTRICTED_CUSTOMER_INITIATED_MESSAGING';
const other = 'RESTRICTED_UTILITY_TEMPLATES';
const minuteMs = 60_000;

const toSeconds = (time: Date) => Math.floor(time.getTime() / 1_000);

const refresh = (tenant: TestTenant, id: string) => tenant.rest(`/v1/numbers/${id}?refresh=1`);

async function see(tenant: TestTenant, id: string) {
  const { body } = await tenant.graphql<Record<string, any>>(
    `{ number(id: "${id}") {
      health { sendable sendability { verdict replyVerdict reasons { field value text solution effect scope } } }
      meta { waba { restrictions { type typeRaw expiresAt remediation reportedAt } } }
    } }`,
  );
  const { health, meta } = body.data!['number'];
  return { ...health, ...health.sendability, restrictions: meta?.waba?.restrictions };
}

/** The verdicts of a fleet's facets, how many are restricted, and the ids of the restricted. */
async function seeFleet(tenant: TestTenant) {
  const { body } = await tenant.graphql<Record<string, any>>(
    `{ fleet(filter: { restricted: true }) { nodes { id } }
      all: fleet { facets { restricted verdict { value count } replyVerdict { value count } } } }`,
  );
  const { facets } = body.data!['all'];
  return {
    restricted: body.data!['fleet'].nodes.map((node: { id: string }) => node.id),
    count: facets.restricted,
    verdict: toText(facets.verdict),
    replyVerdict: toText(facets.replyVerdict),
  };
}

const toText = (counts: readonly { value: string; count: number }[]) =>
  counts.map(({ value, count }) => `${value} ${count}`).join(' ');

const summarize = (changes: readonly Record<string, string | null>[]) =>
  changes.map(({ wabaId, previousValue, newValue, source, occurredAt }) => ({
    wabaId,
    from: JSON.parse(previousValue ?? 'null'),
    to: JSON.parse(newValue ?? 'null'),
    source,
    occurredAt,
  }));

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  let time: Date;
  const now = () => time;
  const inMinutes = (minutes: number) => new Date(time.getTime() + minutes * minuteMs);

  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind, now });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const follow = () =>
    followNotices({ database: gateway.database, now, sync: gateway.gateway.sync });

  /** When a read of the account was last made due. */
  async function findRequest(wabaId: string): Promise<number> {
    const [row] = await gateway.database.query<{ at: Date }>(
      `select requested_at as at from sync_plan where subject_id = $1 and kind = 'REQUEST'`,
      [wabaId],
    );
    return row?.at.getTime() ?? 0;
  }

  async function openTenant() {
    // In whole seconds, as Meta's times are.
    time = new Date(Math.floor(Date.now() / 1_000) * 1_000);
    const tenant = await gateway.addTenant();
    const { path } = await gateway.gateway.webhooks.add({
      tenantId: tenant.id,
      proof: 'SIGNED',
      appSecrets: [appSecret],
    });
    const deliver = async (wabaId: string, at: Date, value: object): Promise<void> => {
      const changes = [{ field: 'account_update', value }];
      const entry = [{ id: wabaId, time: toSeconds(at), changes }];
      const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
      const signature = createHmac('sha256', appSecret).update(body).digest('hex');
      const headers = { 'x-hub-signature-256': `sha256=${signature}` };
      const { status } = await gateway.rest(path, { method: 'POST', body, headers });
      expect(status).toBe(200);
    };
    /** Of all types that are given, with their ends. */
    const restrict = (wabaId: string, at: Date, ends: Readonly<Record<string, Date | null>>) =>
      deliver(wabaId, at, {
        event: 'ACCOUNT_RESTRICTION',
        restriction_info: Object.entries(ends).map(([restriction_type, end], index) => ({
          restriction_type,
          // As a number and as text.
          expiration: end && (index === 0 ? toSeconds(end) : String(toSeconds(end))),
          remediation: 'Ask for a review.',
        })),
      });
    return { tenant, deliver, restrict };
  }

  async function listChanges(tenant: TestTenant, kinds: string) {
    const [row] = await gateway.database.query<{ epoch: string }>(
      'select epoch from feed_position where tenant_id = $1',
      [tenant.id],
    );
    const cursor = encodeCursor({ epoch: row?.epoch ?? '', sequence: 0 });
    const { body } = await tenant.rest<{ changes: readonly Record<string, string | null>[] }>(
      `/v1/changes?kind=${kinds}&after=${cursor}&limit=200`,
    );
    return body.changes;
  }

  test('one that blocks the start of conversations is a reason, and decides the verdict of fresh and of old numbers', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    expect(await see(tenant, id)).toMatchObject({ verdict: 'YES', restrictions: [] });
    const end = inMinutes(90);
    await restrict(wabaId, inMinutes(-1), { [start]: end });
    const reason = {
      field: 'restriction_type',
      value: start,
      text: expect.stringMatching(
        /^Meta has restricted the account until \d+ \w{3}, \d\d:\d\d UTC\. /,
      ),
      solution: 'Ask for a review.',
      effect: 'BLOCKS',
      scope: 'BUSINESS_INITIATED',
    };
    const restriction = {
      type: start,
      typeRaw: start,
      expiresAt: end.toISOString(),
      remediation: 'Ask for a review.',
      reportedAt: inMinutes(-1).toISOString(),
    };
    const expected = { sendable: false, verdict: 'NO', restrictions: [restriction] };
    expect(await see(tenant, id)).toMatchObject({
      ...expected,
      replyVerdict: 'YES',
      reasons: [reason],
    });
    expect(await seeFleet(tenant)).toEqual({
      restricted: [id],
      count: 1,
      verdict: 'NO 1',
      replyVerdict: 'YES 1',
    });
    const { body } = await tenant.rest<Record<string, any>>(
      `/v1/numbers/${id}?include=sendability`,
    );
    expect(body['health'].sendable).toBe(false);
    expect(body['sendability'].reasons).toMatchObject([reason]);
    time = inMinutes(61);
    expect(await see(tenant, id)).toMatchObject({ ...expected, replyVerdict: 'UNKNOWN' });
    expect(await seeFleet(tenant)).toMatchObject({ verdict: 'NO 1', replyVerdict: 'UNKNOWN 1' });
  });

  test('one of replies blocks replies alone, and another one informs', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    await restrict(wabaId, inMinutes(-2), { [replies]: inMinutes(60) });
    expect(await see(tenant, id)).toMatchObject({
      verdict: 'YES',
      replyVerdict: 'NO',
      sendable: true,
    });
    await restrict(wabaId, inMinutes(-1), { [other]: null, A_WORD_OF_TOMORROW: inMinutes(60) });
    expect(await see(tenant, id)).toMatchObject({
      verdict: 'YES',
      replyVerdict: 'YES',
      reasons: [
        { value: other, effect: 'INFORMS' },
        { value: 'A_WORD_OF_TOMORROW', effect: 'INFORMS' },
      ],
      restrictions: [{ type: other }, { type: 'UNRECOGNIZED', typeRaw: 'A_WORD_OF_TOMORROW' }],
    });
    expect(await seeFleet(tenant)).toMatchObject({ count: 1, verdict: 'YES 1' });
  });

  test('it counts for all numbers of the account, those that are added later too, and for no others', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    const healthy = await tenant.addNumber();
    await restrict(wabaId, inMinutes(-1), { [start]: null });
    const later = await tenant.addNumber({ wabaId });
    const linked = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    for (const number of [id, healthy.id, later.id]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await refresh(tenant, number);
    }
    const { restricted } = await seeFleet(tenant);
    expect(restricted.toSorted()).toEqual([id, later.id].toSorted());
    expect(await see(tenant, healthy.id)).toMatchObject({ verdict: 'YES' });
    const reasons = (await see(tenant, linked.id)).reasons as readonly { field: string }[];
    expect(reasons.map(({ field }) => field)).not.toContain('restriction_type');
  });

  test('at its end a cached answer is not served any more, without a write', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    await restrict(wabaId, inMinutes(-1), { [start]: inMinutes(10) });
    expect(await see(tenant, id)).toMatchObject({ verdict: 'NO' });
    const ofAccount = `{ number(id: "${id}") { meta { waba { restrictions { type } } } } }`;
    const { text } = await tenant.graphql(ofAccount);
    time = new Date(inMinutes(10).getTime() - 1);
    expect((await tenant.graphql(ofAccount)).text).toBe(text);
    time = new Date(time.getTime() + 1);
    expect((await tenant.graphql(ofAccount)).text).not.toBe(text);
    expect(await see(tenant, id)).toMatchObject({ verdict: 'YES', restrictions: [] });
  });

  test('its end is recorded once, however many processes look and however late, and makes the account due', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    const reportedAt = inMinutes(-1).toISOString();
    const [first, second] = [inMinutes(10), inMinutes(20)];
    await restrict(wabaId, inMinutes(-1), { [start]: first, [replies]: second });
    await follow();
    expect(await seeFleet(tenant)).toMatchObject({ verdict: 'NO 1', replyVerdict: 'NO 1' });
    time = inMinutes(12);
    const requests = [await findRequest(wabaId)];
    await Promise.all([1, 2, 3].map(() => follow()));
    await follow();
    requests.push(await findRequest(wabaId));
    expect(await seeFleet(tenant)).toMatchObject({ verdict: 'YES 1', replyVerdict: 'NO 1' });
    time = inMinutes(30);
    await follow();
    await follow();
    requests.push(await findRequest(wabaId));
    expect(requests).toEqual([...new Set(requests)].toSorted((one, next) => one - next));
    expect(await seeFleet(tenant)).toMatchObject({ count: 0, replyVerdict: 'YES 1' });
    const startEnds = { type: start, expiresAt: first.toISOString() };
    const repliesEnd = { type: replies, expiresAt: second.toISOString() };
    const opened = { wabaId, from: null, source: 'WEBHOOK', occurredAt: reportedAt };
    const closed = { wabaId, to: null, source: 'CLOCK' };
    expect(summarize(await listChanges(tenant, 'RESTRICTION'))).toEqual([
      { ...opened, to: startEnds },
      { ...opened, to: repliesEnd },
      { ...closed, from: startEnds, occurredAt: first.toISOString() },
      { ...closed, from: repliesEnd, occurredAt: second.toISOString() },
    ]);
    const verdicts = await listChanges(tenant, 'VERDICT');
    expect(verdicts.map((it) => [it['field'], it['newValue'], it['source']].join(' '))).toEqual([
      'VERDICT YES READ',
      'REPLY_VERDICT YES READ',
      'VERDICT NO WEBHOOK',
      'REPLY_VERDICT NO WEBHOOK',
      'VERDICT YES CLOCK',
      'REPLY_VERDICT YES CLOCK',
    ]);
  });

  test('a newer list replaces it, an older one does not, and neither does an event without a list', async () => {
    const { tenant, deliver, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    await restrict(wabaId, inMinutes(-5), { [start]: inMinutes(60) });
    await restrict(wabaId, inMinutes(-6), {});
    await deliver(wabaId, inMinutes(-4), { event: 'VERIFIED_ACCOUNT' });
    expect(await see(tenant, id)).toMatchObject({ verdict: 'NO' });
    await restrict(wabaId, inMinutes(-3), { [start]: inMinutes(90) });
    await restrict(wabaId, inMinutes(-2), {});
    expect(await see(tenant, id)).toMatchObject({ verdict: 'YES', restrictions: [] });
    const [one, two] = [inMinutes(60), inMinutes(90)].map((end) => end.toISOString());
    expect(summarize(await listChanges(tenant, 'RESTRICTION'))).toMatchObject([
      { from: null, to: { expiresAt: one } },
      { from: { expiresAt: one }, to: { expiresAt: two }, occurredAt: inMinutes(-3).toISOString() },
      { from: { expiresAt: two }, to: null, occurredAt: inMinutes(-2).toISOString() },
    ]);
  });

  test('without an expiry time it ends with two reads of an available account, 15 minutes apart', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId, phoneNumberId } = await tenant.addNumber();
    const setAccount = (can_send_message: string) => {
      const entity = { entity_type: 'WABA', id: wabaId, can_send_message };
      const health_status = { can_send_message, entities: [entity] };
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, { health_status }));
    };
    await restrict(wabaId, inMinutes(-120), { [start]: null });
    // Reads have the time of the clock, so former ones are moved into the past.
    const readAfter = async (minutes: number) => {
      const move = `interval '${minutes} minutes'`;
      await gateway.database.query(
        `update account_notice set available_from = available_from - ${move}, available_to = available_to - ${move}
         where waba_id = $1`,
        [wabaId],
      );
      await refresh(tenant, id);
      time = new Date();
      await follow();
      const { verdict } = await see(tenant, id);
      expect(await seeFleet(tenant)).toMatchObject({ verdict: `${verdict} 1` });
      return verdict;
    };
    expect(await readAfter(1)).toBe('NO');
    expect(await readAfter(10)).toBe('NO');
    setAccount('LIMITED');
    expect(await readAfter(10)).toBe('NO');
    setAccount('AVAILABLE');
    expect(await readAfter(10)).toBe('NO');
    expect(await readAfter(14)).toBe('NO');
    expect(await readAfter(1)).toBe('YES');
    const changes = summarize(await listChanges(tenant, 'RESTRICTION'));
    expect(changes).toHaveLength(2);
    const [row] = await gateway.database.query<{ at: Date }>(
      'select available_to as at from account_notice where waba_id = $1',
      [wabaId],
    );
    const occurredAt = row?.at.toISOString();
    expect(changes[1]).toMatchObject({ to: null, source: 'CLOCK', occurredAt });
    // What has ended does not begin again.
    setAccount('LIMITED');
    expect(await readAfter(1)).toBe('YES');
  });

  test('in any order and however often they arrive, events leave the same state', async () => {
    const { tenant, deliver } = await openTenant();
    const expiration = toSeconds(inMinutes(600));
    const events = [
      [-9, { event: 'ACCOUNT_RESTRICTION', restriction_info: [{ restriction_type: start }] }],
      [-8, { event: 'ACCOUNT_RESTRICTION', restriction_info: [] }],
      [-7, { restriction_info: [{ restriction_type: replies, expiration: String(expiration) }] }],
      [
        -6,
        {
          restriction_info: [{ restriction_type: start, expiration }, { restriction_type: other }],
        },
      ],
      [-6, { event: 'DISABLED_UPDATE', ban_info: { waba_ban_state: 'REINSTATE' } }],
      [-7, { event: 'DISABLED_UPDATE', ban_info: { waba_ban_state: 'DISABLE' } }],
    ] as const;
    const rotate = (by: number) => [...events.slice(by), ...events.slice(0, by)];
    const orders = [
      events,
      events.toReversed(),
      rotate(2),
      rotate(4),
      [...rotate(3), ...rotate(1), ...events],
    ];
    const states: unknown[] = [];
    for (const order of orders) {
      // oxlint-disable no-await-in-loop -- one after the other
      const { id, wabaId } = await tenant.addNumber();
      for (const [minutes, value] of order) await deliver(wabaId, inMinutes(minutes), value);
      const [state] = await gateway.database.query<Record<string, unknown>>(
        `select a.notices, a.open, a.effect, a.next_end, a.ends_by_reads, s.restriction
         from account_notice a join number_status s on s.tenant_id = a.tenant_id and s.waba_id = a.waba_id
         where s.number_id = $1`,
        [id],
      );
      const text = JSON.stringify(state).replaceAll(/"digest": ?"\w+",?/g, '');
      states.push(JSON.parse(text.replaceAll(',}', '}')));
      // oxlint-enable no-await-in-loop
    }
    for (const state of states) expect(state).toEqual(states[0]);
    expect(states[0]).toMatchObject({
      notices: { ban: { value: { state: 'REINSTATE' } } },
      open: [{ type: start }, { type: other }],
      effect: 'START',
      ends_by_reads: true,
      restriction: 'START',
    });
  });

  test('events that the previous release has stored are applied', async () => {
    const { tenant } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await refresh(tenant, id);
    const payload = { restriction_info: [{ restriction_type: start, remediation: '\u0000' }] };
    await gateway.database.query(
      `insert into meta_event (tenant_id, digest, waba_id, field, event, payload, happened_at, outcome)
       values ($1, 'digest', $2, 'account_update', 'ACCOUNT_RESTRICTION', $3, now(), 'RECEIVED')`,
      [tenant.id, wabaId, JSON.stringify(payload)],
    );
    expect(await see(tenant, id)).toMatchObject({ verdict: 'YES' });
    await Promise.all([follow(), follow()]);
    expect(await see(tenant, id)).toMatchObject({ verdict: 'NO' });
    expect(await listChanges(tenant, 'RESTRICTION')).toHaveLength(1);
    await follow();
    expect(await listChanges(tenant, 'RESTRICTION')).toHaveLength(1);
  });

  test('a status that is derived again keeps it', async () => {
    const { tenant, restrict } = await openTenant();
    const { id, wabaId } = await tenant.addNumber();
    await restrict(wabaId, inMinutes(-1), { [start]: null });
    await gateway.database.query(
      'update number_status set rules_version = 0, restriction = null where number_id = $1',
      [id],
    );
    await writeAllOutdated(gateway.database);
    expect(await seeFleet(tenant)).toMatchObject({ restricted: [id], verdict: 'NO 1' });
  });

  test('it is forgotten with the last number of the account', async () => {
    const { tenant, restrict } = await openTenant();
    const [one, two] = [await tenant.addNumber(), await tenant.addNumber()];
    await restrict(one.wabaId, inMinutes(-1), { [start]: null });
    await restrict(two.wabaId, inMinutes(-1), { [start]: null });
    await gateway.numbers.remove(one.id);
    const rows = await gateway.database.query<{ id: string }>(
      'select waba_id as id from account_notice where tenant_id = $1',
      [tenant.id],
    );
    expect(rows.map(({ id }) => id)).toEqual([two.wabaId]);
  });
});
