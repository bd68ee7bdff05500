// Incidents from the changes of real databases: each once, told to endpoints in the same transaction, and recorded in the feed.

import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { toCauseLimits } from '../../src/alerts/causes.ts';
import { insertDeliveries } from '../../src/alerts/delivery-store.ts';
import { writeEffect } from '../../src/alerts/effect-store.ts';
import { writeConditions } from '../../src/alerts/evaluation-store.ts';
import { evaluateTenants } from '../../src/alerts/evaluator.ts';
import type { EndpointFormat } from '../../src/alerts/endpoints.ts';
import type { IncidentData, Message } from '../../src/alerts/message.ts';
import { systemClock } from '../../src/clock.ts';
import { databases, openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { openReceiver, type Receiver } from './receiver.ts';

const list = <T>(length: number, create: (at: number) => T) =>
  Array.from({ length }, (_, at) => create(at));

const toPlace = (cursor: string | null) => Number(cursor?.split('.')[2]);

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver();
    gateway = await openTestGateway({
      database: kind,
      alerts: { allowsLocalHttp: true },
      // Jobs that run every five seconds do so every tenth of a second.
      startTimer: (ms, run) => systemClock.startTimer(ms / 50, run),
      environment: { PUBLIC_URL: 'https://numbers.example.com' },
    });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });
  // What a test leaves is not evaluated by the next one.
  beforeEach(async () => {
    for (const statement of [
      'delete from alert_delivery',
      'delete from alert_condition',
      'update alert_position p set sequence = f.last from feed_position f where f.tenant_id = p.tenant_id',
      `insert into alert_position (tenant_id, sequence) select tenant_id, last from feed_position
       on conflict do nothing`,
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await gateway.database.query(statement);
    }
  });

  /** Evaluates everything, as if so many seconds had passed since. */
  async function evaluateAfter(seconds: number): Promise<void> {
    await evaluateTenants({
      database: gateway.database,
      now: () => new Date(Date.now() + seconds * 1_000),
      onOpened: () => undefined,
      limits: toCauseLimits(null),
    });
  }
  const setState = (state: string, ...ids: readonly string[]) =>
    gateway.database.query('update whatsapp_number set state = $1 where id = any($2)', [
      state,
      ids,
    ]);
  const listIncidents = (tenantId: string) =>
    gateway.database.query<Record<string, unknown>>(
      `select rule, scope, subject, member_count as members, closed_at is null as open
       from incident where tenant_id = $1 and rule = 'DISCONNECTED' order by opened_at, id`,
      [tenantId],
    );
  const listReports = async (tenantId: string) => {
    const rows = await gateway.database.query<Record<string, string | null>>(
      `select number_id, waba_id, previous_value, new_value, source from number_change
       where tenant_id = $1 and kind = 'INCIDENT' and new_value like '%"DISCONNECTED"%' order by sequence`,
      [tenantId],
    );
    return rows.map(({ number_id, waba_id, previous_value, new_value, source }) => ({
      of: number_id ?? waba_id,
      source,
      before: (JSON.parse(previous_value ?? 'null') as { state: string } | null)?.state ?? null,
      after: (JSON.parse(new_value!) as { state: string }).state,
    }));
  };
  const addEndpoint = async (
    tenant: TestTenant,
    format: EndpointFormat = 'STANDARD',
    rules: readonly string[] = ['DISCONNECTED'],
  ) => {
    const url = `${receiver.url}/${tenant.id}/${format}`;
    const request = { tenantId: tenant.id, url, format, rules };
    const added = await gateway.gateway.alertEndpoints.add(request);
    if (added.secret !== null) gateway.addSecrets(added.secret);
    return added;
  };
  const listDeliveries = (tenantId: string) =>
    gateway.database.query<{ type: string; id: string; content: string | null }>(
      'select type, id, content from alert_delivery where tenant_id = $1 order by type, id',
      [tenantId],
    );

  test('a cause that lasts opens an incident, which is a change of the number, and its end closes it', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await setState('CLOSE', id);
    await evaluateAfter(0);
    expect(await listIncidents(tenant.id)).toEqual([]);
    await evaluateAfter(61);
    const disconnected = { rule: 'DISCONNECTED', scope: 'NUMBER', subject: id };
    expect(await listIncidents(tenant.id)).toContainEqual({
      ...disconnected,
      members: 1,
      open: true,
    });
    await evaluateAfter(62);
    await setState('OPEN', id);
    await evaluateAfter(63);
    expect(await listIncidents(tenant.id)).toContainEqual({
      ...disconnected,
      members: 1,
      open: false,
    });
    expect(await listReports(tenant.id)).toEqual([
      { of: id, source: 'ALERTS', before: null, after: 'OPEN' },
      { of: id, source: 'ALERTS', before: 'OPEN', after: 'CLOSED' },
    ]);
  });

  test('each change is evaluated once, by several processes at the same time and after a failure in the middle', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant);
    await setState('CLOSE', id);
    await gateway.database.query(
      `create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$`,
    );
    await gateway.database.query(
      'create trigger refuse before insert on alert_delivery for each row execute function refuse()',
    );
    await expect(evaluateAfter(61)).rejects.toThrow('refused');
    expect(await listIncidents(tenant.id)).toEqual([]);
    await gateway.database.query('drop trigger refuse on alert_delivery');
    await gateway.database.query('drop function refuse()');
    await Promise.all([evaluateAfter(61), evaluateAfter(61), evaluateAfter(61)]);
    await evaluateAfter(120);
    expect(await listIncidents(tenant.id)).toHaveLength(1);
    expect(await listReports(tenant.id)).toHaveLength(1);
    expect(await listDeliveries(tenant.id)).toHaveLength(1);
  });

  test('a tenant whose evaluation fails does not keep the others waiting', async () => {
    const tenants = await Promise.all(Array.from({ length: 3 }, () => gateway.addTenant()));
    const numbers = await Promise.all(tenants.map((tenant) => tenant.addNumber()));
    await Promise.all(tenants.map((tenant) => addEndpoint(tenant)));
    await setState('CLOSE', ...numbers.map(({ id }) => id));
    const [failing, ...others] = tenants.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    await gateway.database.query(
      `create function refuse() returns trigger language plpgsql as $$ begin
         if new.tenant_id = '${failing!.id}' then raise 'refused'; end if;
         return new;
       end $$`,
    );
    await gateway.database.query(
      'create trigger refuse before insert on alert_delivery for each row execute function refuse()',
    );
    await expect(evaluateAfter(61)).rejects.toThrow('refused');
    await gateway.database.query('drop trigger refuse on alert_delivery');
    await gateway.database.query('drop function refuse()');
    expect(await listIncidents(failing!.id)).toEqual([]);
    for (const { id } of others) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await listDeliveries(id)).toHaveLength(1);
    }
    await evaluateAfter(62);
    expect(await listDeliveries(failing!.id)).toHaveLength(1);
  });

  test('an incident has any number of members, and a tenant any number of messages', async () => {
    const tenant = await gateway.addTenant();
    const { id: endpointId } = await addEndpoint(tenant);
    const incident = {
      id: `inc_${'1'.repeat(32)}`,
      rule: 'DISCONNECTED',
      severity: 'CRITICAL',
      scope: 'ACCOUNT',
      subject: 'waba',
      members: list(17_000, (at) => `wa_${at}`),
      previousValue: null,
      newValue: null,
      at: Date.now(),
    } as const;
    const deliveries = list(8_000, (at) => ({
      endpointId,
      id: `msg_${at}`,
      type: 'changes',
      content: '{}',
      incidentId: null,
      changeId: null,
    }));
    const stored = list(8_000, (at) => ({
      rule: 'DISCONNECTED' as const,
      scope: 'NUMBER' as const,
      subject: `wa_${at}`,
      member: `wa_${at}`,
      since: 0,
      dueAt: 60_000,
      previousValue: 'OPEN',
      newValue: null,
      coveredBy: null,
    }));
    await gateway.database.withTenant(tenant.id, async (transaction) => {
      await writeEffect(transaction, tenant.id, { kind: 'OPENED', incident }, true);
      await writeConditions(transaction, tenant.id, { stored, deleted: [] });
      await insertDeliveries(transaction, tenant.id, deliveries, new Date());
    });
    expect(await listIncidents(tenant.id)).toMatchObject([{ members: 17_000 }]);
    const [counts] = await gateway.database.query(
      `select (select count(*)::integer from alert_delivery where tenant_id = $1) as deliveries,
         (select count(*)::integer from alert_condition where tenant_id = $1 and due_at = to_timestamp(60)
           and previous_value = 'OPEN' and new_value is null) as conditions,
         (select count(*)::integer from incident_member where tenant_id = $1) as members`,
      [tenant.id],
    );
    expect(counts).toEqual({ deliveries: 8_000, conditions: 8_000, members: 17_000 });
    await gateway.database.query('delete from alert_condition where tenant_id = $1', [tenant.id]);
  });

  test('three numbers of an account are one incident, which takes in a fourth one', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '7777777777';
    const numbers = await Promise.all(
      Array.from({ length: 4 }, () => tenant.addNumber({ wabaId, waba: {} })),
    );
    const [fourth, ...three] = numbers.map(({ id }) => id);
    await setState('CLOSE', ...three);
    await evaluateAfter(61);
    await setState('CLOSE', fourth!);
    await evaluateAfter(200);
    expect(await listIncidents(tenant.id)).toEqual([
      { rule: 'DISCONNECTED', scope: 'ACCOUNT', subject: wabaId, members: 4, open: true },
    ]);
    expect(await listReports(tenant.id)).toEqual([
      { of: wabaId, source: 'ALERTS', before: null, after: 'OPEN' },
    ]);
    await gateway.database.query('delete from whatsapp_number where id = $1', [fourth]);
    await setState('OPEN', ...three);
    await evaluateAfter(300);
    expect(await listIncidents(tenant.id)).toMatchObject([{ members: 4, open: false }]);
  });

  test('an endpoint of the format changes gets every change once, in order', async () => {
    const tenant = await gateway.addTenant();
    await addEndpoint(tenant, 'CHANGES');
    await tenant.addNumber();
    const { id } = await tenant.addNumber();
    await setState('CLOSE', id);
    await evaluateAfter(0);
    await evaluateAfter(61);
    await evaluateAfter(62);
    const deliveries = await listDeliveries(tenant.id);
    const sent = deliveries
      .map(({ content }) => JSON.parse(content!) as Message<{ changes: { cursor: string }[] }>)
      .flatMap(({ data }) => data.changes)
      .map(({ cursor }) => Number(cursor.split('.')[2]))
      .toSorted((a, b) => a - b);
    const stored = await gateway.database.query<{ sequence: number }>(
      'select sequence::integer from number_change where tenant_id = $1 order by 1',
      [tenant.id],
    );
    expect(sent).toEqual(stored.map(({ sequence }) => sequence));
    expect(new Set(deliveries.map(({ type }) => type))).toEqual(new Set(['changes']));
    for (const { content } of deliveries) {
      expect(Buffer.byteLength(content!)).toBeLessThanOrEqual(20_000);
    }
  });

  test('many changes are several messages of at most 20 kB', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant, 'CHANGES');
    await gateway.database.query(
      `insert into number_change (tenant_id, number_id, kind, field, new_value, source, occurred_at)
       select $1, $2, 'FIELD', 'NAME', repeat('é', 1000), 'EXTERNAL', now() from generate_series(1, 450)`,
      [tenant.id, id],
    );
    await gateway.database.query(
      `insert into number_change (tenant_id, number_id, kind, previous_value, new_value, source, occurred_at)
       values ($1, $2, 'LABELS', repeat('標', 3900), repeat('標', 3900), 'EXTERNAL', now())`,
      [tenant.id, id],
    );
    await evaluateAfter(0);
    const contents = (await listDeliveries(tenant.id)).map(({ content }) => content!);
    const sizes = contents.map((content) => Buffer.byteLength(content));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(20_000);
    expect(sizes.length).toBeGreaterThan(50);
    const count = contents.flatMap(
      (it) => (JSON.parse(it) as Message<{ changes: [] }>).data.changes,
    );
    expect(count.length).toBeGreaterThan(450);
  });

  test('what an endpoint has missed is queued again, with the same ids', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const endpoint = await addEndpoint(tenant);
    const start = await tenant.rest<{ cursor: string }>('/v1/changes');
    await setState('CLOSE', id);
    await evaluateAfter(61);
    await evaluateAfter(62);
    await setState('OPEN', id);
    await evaluateAfter(63);
    const queued = await listDeliveries(tenant.id);
    expect(queued.map(({ type }) => type)).toEqual(['incident.closed', 'incident.opened']);
    await gateway.database.query('delete from alert_delivery');
    const { alertEndpoints } = gateway.gateway;
    expect(await alertEndpoints.resend(tenant.id, endpoint.id, start.body.cursor)).toEqual({
      queued: 2,
      next: null,
    });
    expect(await listDeliveries(tenant.id)).toEqual(queued);
    const { body: end } = await tenant.rest<{ cursor: string }>('/v1/changes');
    expect(await alertEndpoints.resend(tenant.id, endpoint.id, end.cursor)).toEqual({
      queued: 0,
      next: null,
    });
    const foreign = end.cursor.replace(/\.[0-9a-f]{32}\./, `.${'0'.repeat(32)}.`);
    await expect(alertEndpoints.resend(tenant.id, endpoint.id, foreign)).rejects.toMatchObject({
      code: 'CURSOR_UNKNOWN',
    });
  });

  test('what is too much to be queued again at once says where to go on', async () => {
    const tenant = await gateway.addTenant();
    const endpoint = await addEndpoint(tenant, 'CHANGES');
    const start = await tenant.rest<{ cursor: string }>('/v1/changes');
    await gateway.database.query(
      `insert into number_change (tenant_id, kind, source, occurred_at)
       select $1, 'LABELS', 'EXTERNAL', now() from generate_series(1, 2100)`,
      [tenant.id],
    );
    await evaluateAfter(0);
    const { alertEndpoints } = gateway.gateway;
    const { next } = await alertEndpoints.resend(tenant.id, endpoint.id, start.body.cursor);
    expect(toPlace(next)).toBe(toPlace(start.body.cursor) + 2_000);
    expect(await alertEndpoints.resend(tenant.id, endpoint.id, next!)).toMatchObject({
      next: null,
    });
  });

  const mute = (value: string, ...ids: readonly string[]) =>
    gateway.database.query(`update whatsapp_number set muted_until = ${value} where id = any($1)`, [
      ids,
    ]);
  const listTypes = async (tenantId: string) =>
    (await listDeliveries(tenantId)).map(({ type }) => type);

  test('endpoints are told of an incident as soon as it has a number that is not muted', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = '7777777771';
    const numbers = await Promise.all(list(4, () => tenant.addNumber({ wabaId, waba: {} })));
    const [fourth, ...three] = numbers.map(({ id }) => id);
    await addEndpoint(tenant);
    await mute(`now() + interval '1 hour'`, ...three);
    await setState('CLOSE', ...three);
    await evaluateAfter(61);
    expect(await listTypes(tenant.id)).toEqual([]);
    await setState('CLOSE', fourth!);
    await evaluateAfter(200);
    expect(await listTypes(tenant.id)).toEqual(['incident.opened']);
    // The last one that recovers is muted.
    await setState('OPEN', fourth!);
    await evaluateAfter(201);
    await setState('OPEN', ...three);
    await evaluateAfter(202);
    expect(await listTypes(tenant.id)).toEqual(['incident.closed', 'incident.opened']);
  });

  test('endpoints are told of an incident when the mute of its number ends, and not of its end if they were not', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant);
    await mute(`now() + interval '300 s'`, id);
    await setState('CLOSE', id);
    await evaluateAfter(61);
    await evaluateAfter(299);
    expect(await listTypes(tenant.id)).toEqual([]);
    await evaluateAfter(302);
    expect(await listTypes(tenant.id)).toEqual(['incident.opened']);
    await setState('OPEN', id);
    await evaluateAfter(303);
    expect(await listTypes(tenant.id)).toEqual(['incident.closed', 'incident.opened']);
    await gateway.database.query('delete from alert_delivery');
    await mute(`now() + interval '2 hours'`, id);
    await setState('CLOSE', id);
    await evaluateAfter(400);
    await setState('OPEN', id);
    await mute('null', id);
    await evaluateAfter(500);
    expect(await listIncidents(tenant.id)).toMatchObject([{ open: false }, { open: false }]);
    expect(await listTypes(tenant.id)).toEqual([]);
  });

  test('what endpoints were not told because of a mute is not sent again', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const endpoint = await addEndpoint(tenant);
    const start = await tenant.rest<{ cursor: string }>('/v1/changes');
    await mute(`now() + interval '1 hour'`, id);
    await setState('CLOSE', id);
    await evaluateAfter(61);
    await setState('OPEN', id);
    await evaluateAfter(63);
    await evaluateAfter(64);
    const { alertEndpoints } = gateway.gateway;
    await alertEndpoints.resend(tenant.id, endpoint.id, start.body.cursor);
    expect(await listTypes(tenant.id)).toEqual([]);
  });

  test('a number that never could send has lost nothing', async () => {
    const tenant = await gateway.addTenant();
    const blocked = { can_send_message: 'BLOCKED', entities: [] };
    const { id } = await tenant.addNumber({ phone: { status: 'BANNED', health_status: blocked } });
    await evaluateAfter(0);
    await tenant.graphql(`{ number(id: "${id}", refresh: true) { id } }`);
    const verdicts = await gateway.database.query<{ new_value: string }>(
      `select new_value from number_change where tenant_id = $1 and field = 'VERDICT'`,
      [tenant.id],
    );
    expect(verdicts.at(-1)).toEqual({ new_value: 'NO' });
    await evaluateAfter(61);
    await gateway.database.query(
      `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
       values ($1, $2, 'VERDICT', 'VERDICT', 'NO', 'UNKNOWN', 'CLOCK', now()),
         ($1, $2, 'VERDICT', 'VERDICT', 'UNKNOWN', 'NO', 'READ', now())`,
      [tenant.id, id],
    );
    await evaluateAfter(200);
    const rules = await gateway.database.query('select rule from incident where tenant_id = $1', [
      tenant.id,
    ]);
    expect(rules).toEqual([]);
  });

  test('a number that is muted opens incidents, of which no endpoint is told', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant);
    await gateway.database.query(
      `update whatsapp_number set muted_until = now() + interval '1 hour' where id = $1`,
      [id],
    );
    await setState('CLOSE', id);
    await evaluateAfter(61);
    expect(await listIncidents(tenant.id)).toHaveLength(1);
    expect(await listDeliveries(tenant.id)).toEqual([]);
  });

  /** As a read that finds it writes them, in the order of the triggers. */
  const change = (tenantId: string, numberId: string, ...changes: (readonly string[])[]) =>
    gateway.database.query(
      `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
       select $1, $2, c ->> 0, c ->> 1, c ->> 2, c ->> 3, 'READ', now() from jsonb_array_elements($3::jsonb) c`,
      [tenantId, numberId, JSON.stringify(changes)],
    );
  const banned = [
    ['FIELD', 'META_STATUS', 'CONNECTED', 'BANNED'],
    ['FIELD', 'STATE', 'OPEN', 'CLOSE'],
    ['VERDICT', 'VERDICT', 'YES', 'NO'],
  ] as const;
  const listMessages = (tenantId: string) =>
    gateway.database.query<{ rules: string; type: string; rule: string; severity: string }>(
      `select array_to_string(e.rules, ' ') as rules, d.type, i.rule, i.severity from alert_delivery d
       join alert_endpoint e on e.id = d.endpoint_id join incident i on i.id = d.incident_id
       where d.tenant_id = $1 order by e.rules, d.type`,
      [tenantId],
    );

  test('a read that finds a number banned is one incident, told once to each endpoint that wants any of what it covers', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant, 'STANDARD', []);
    await addEndpoint(tenant, 'STANDARD', ['ACCOUNT_BANNED', 'SENDABLE_LOST']);
    await addEndpoint(tenant, 'STANDARD', ['DISCONNECTED']);
    await addEndpoint(tenant, 'STANDARD', ['SENDABLE_LOST']);
    await addEndpoint(tenant, 'STANDARD', ['QUALITY_DROPPED']);
    await evaluateAfter(0);
    await change(tenant.id, id, ...banned);
    await evaluateAfter(0);
    await evaluateAfter(100);
    const { body } = await tenant.rest<{ data: Record<string, unknown>[] }>('/v1/incidents');
    expect(body.data).toMatchObject([
      {
        rule: 'ACCOUNT_BANNED',
        covers: ['DISCONNECTED', 'SENDABLE_LOST'],
        text: 'Meta has banned the number. The connection is lost. Conversations cannot be started any more.',
      },
    ]);
    const wanting = ['', 'ACCOUNT_BANNED SENDABLE_LOST', 'DISCONNECTED', 'SENDABLE_LOST'];
    const toMessages = (type: string) =>
      wanting.map((rules) => ({ rules, type, rule: 'ACCOUNT_BANNED', severity: 'CRITICAL' }));
    expect(await listMessages(tenant.id)).toEqual(toMessages('incident.opened'));
    await gateway.database.query('delete from alert_delivery');
    await change(tenant.id, id, ...banned.map(([of, field, from, to]) => [of, field, to, from]));
    await evaluateAfter(101);
    expect(await listMessages(tenant.id)).toEqual(toMessages('incident.closed'));
  });

  test('what a muted number loses because of its ban is told when the mute ends', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await addEndpoint(tenant, 'STANDARD', ['SENDABLE_LOST']);
    await evaluateAfter(0);
    await mute(`now() + interval '200 seconds'`, id);
    await change(tenant.id, id, ...banned);
    await evaluateAfter(100);
    expect(await listMessages(tenant.id)).toEqual([]);
    await evaluateAfter(201);
    expect(await listMessages(tenant.id)).toMatchObject([{ type: 'incident.opened' }]);
  });

  test('numbers of the session engine are one incident of it', async () => {
    const tenant = await gateway.addTenant();
    const numbers = await Promise.all(
      list(3, () => tenant.addNumber({ provider: 'PILOT_STATUS', state: 'OPEN' })),
    );
    await setState('CLOSE', ...numbers.map(({ id }) => id));
    await evaluateAfter(61);
    await evaluateAfter(62);
    const { body } = await tenant.rest<{ data: Record<string, unknown>[] }>('/v1/incidents');
    expect(body.data).toMatchObject([
      {
        rule: 'DISCONNECTED',
        scope: 'ENGINE',
        subject: 'engine',
        subjectName: 'Session engine',
        numberCount: 3,
      },
    ]);
  });

  test('a limit of a portfolio is told once, of all its numbers, when its accounts are read one after the other', async () => {
    const tenant = await gateway.addTenant();
    const waba = { owner_business_info: { id: '990011', name: 'Holding' } };
    const [one, two] = [await tenant.addNumber({ waba }), await tenant.addNumber({ waba })];
    await Promise.all([one, two].map(({ id }) => tenant.rest(`/v1/numbers/${id}?refresh=1`)));
    const raise = (id: string) =>
      change(tenant.id, id, ['FIELD', 'MESSAGING_LIMIT_TIER', 'TIER_1K', 'TIER_10K']);
    await evaluateAfter(0);
    await raise(one.id);
    await evaluateAfter(61);
    await raise(two.id);
    await evaluateAfter(400);
    await gateway.database.query(
      `insert into number_change (tenant_id, waba_id, kind, field, previous_value, new_value, source, occurred_at)
       values ($1, $2, 'FIELD', 'ACCOUNT_MESSAGING_LIMIT_TIER', 'TIER_1K', 'TIER_10K', 'READ', now())`,
      [tenant.id, two.wabaId],
    );
    await evaluateAfter(20_000);
    const { body } = await tenant.rest<{ data: Record<string, unknown>[] }>('/v1/incidents');
    expect(body.data.filter(({ rule }) => rule === 'LIMIT_CHANGED')).toMatchObject([
      {
        scope: 'PORTFOLIO',
        subject: '990011',
        subjectName: 'Holding',
        numberCount: 2,
        numbers: [one.id, two.id].toSorted().map((id) => ({ id })),
        previousValue: 'TIER_1K',
        newValue: 'TIER_10K',
      },
    ]);
  });

  test('nothing of another tenant is evaluated with the changes of a tenant', async () => {
    const [one, other] = [await gateway.addTenant(), await gateway.addTenant()];
    const { id } = await one.addNumber();
    await addEndpoint(other);
    await addEndpoint(other, 'CHANGES');
    await evaluateAfter(0);
    await gateway.database.query('delete from alert_delivery');
    await setState('CLOSE', id);
    await evaluateAfter(61);
    expect(await listIncidents(other.id)).toEqual([]);
    expect(await listDeliveries(other.id)).toEqual([]);
  });

  // The last one, because the jobs go on.
  test('an endpoint is told of an incident and of its end, by messages that verify', async () => {
    const tenant = await gateway.addTenant();
    const { id, number } = await tenant.addNumber({ name: 'Shop' });
    const endpoint = await addEndpoint(tenant, 'STANDARD', ['DISCONNECTED']);
    await addEndpoint(tenant, 'STANDARD', ['TOKEN_REJECTED']);
    const from = receiver.requests.length;
    await setState('CLOSE', id);
    await evaluateAfter(61);
    await gateway.database.query('update alert_delivery set due_at = now()');
    gateway.gateway.startJobs();
    await receiver.received(from + 1);
    await setState('OPEN', id);
    const requests = (await receiver.received(from + 2)).slice(from);
    const messages = requests.map(
      ({ body, headers }) =>
        new Webhook(endpoint.secret!).verify(body, headers) as Message<IncidentData>,
    );
    const [opened, closed] = messages;
    expect(opened).toEqual({
      type: 'incident.opened',
      timestamp: expect.stringMatching(/^20\d\d-.*Z$/),
      data: {
        incident: {
          id: expect.stringMatching(/^inc_[0-9a-f]{32}$/),
          scope: 'NUMBER',
          subject: id,
          subjectName: 'Shop',
          title: `Shop (${number})`,
          state: 'OPEN',
          openedAt: opened!.timestamp,
          closedAt: null,
          numberCount: 1,
        },
        rule: 'DISCONNECTED',
        covers: [],
        severity: 'CRITICAL',
        text: 'The number has lost its connection.',
        previousValue: 'OPEN',
        newValue: 'CLOSE',
        sequence: expect.any(Number),
        cursor: expect.stringMatching(/^c1\.[0-9a-f]{32}\.\d+$/),
        number: { id, name: 'Shop', number },
        numbers: [],
        reasons: expect.arrayContaining([
          { text: expect.any(String), solution: expect.any(String) },
        ]),
        link: `https://numbers.example.com/board/incidents/${opened!.data.incident.id}`,
      },
    });
    expect(closed).toMatchObject({
      type: 'incident.closed',
      data: { incident: { id: opened!.data.incident.id, state: 'CLOSED', numberCount: 1 } },
    });
    // The cursor is that of the change which reports the incident.
    const page = await tenant.rest<{ changes: { kind: string; cursor: string }[] }>(
      `/v1/changes?after=${opened!.data.cursor}&kind=INCIDENT`,
    );
    expect(page.body.changes.map(({ cursor }) => cursor)).toContain(closed!.data.cursor);
  });
});
