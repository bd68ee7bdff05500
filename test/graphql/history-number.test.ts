// The fields of a number that look back: `history`, `timeline` and `availability`.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordReadings } from '../../src/numbers/store.ts';
import {
  databases,
  openTestGateway,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A good read of a number that can send, with these differences. */
async function read(
  { database }: TestGateway,
  { tenant, id, observedAt }: { tenant: TestTenant; id: string; observedAt: Date },
  fields: object = {},
): Promise<void> {
  const canSendMessage = 'AVAILABLE';
  const entities = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'].map((entityType) => ({
    entityType,
    canSendMessage,
    additionalInfo: [],
    errors: [],
  }));
  const data = {
    status: 'CONNECTED',
    nameStatus: 'APPROVED',
    platformType: 'CLOUD_API',
    qualityRating: 'GREEN',
    healthStatus: { canSendMessage, entities },
    ...fields,
  };
  const state = 'OPEN' as const;
  await recordReadings(database, {
    tenantId: tenant.id,
    holder: 'test',
    observedAt,
    leased: [],
    readings: [{ block: 'phone', id, data, failure: null, state }],
  });
}

interface Connection {
  readonly nodes: readonly { readonly field: string | null; readonly newValue: string | null }[];
  readonly edges: readonly {
    readonly cursor: string;
    readonly node: { readonly cursor: string };
  }[];
  readonly pageInfo: Readonly<Record<string, unknown>>;
}

interface Span {
  readonly value: string | null;
  readonly from: string;
  readonly to: string;
  readonly certainty: string;
}

interface Past {
  readonly history: Connection;
  readonly timeline: readonly Span[];
  readonly availability: { readonly sendableShare: number | null; readonly observedShare: number };
}

async function ask(tenant: TestTenant, id: string, selection: string): Promise<Past> {
  const { body } = await tenant.graphql<{ number: Past }>(`{ number(id: "${id}") ${selection} }`);
  if (body.errors !== undefined) throw new Error(JSON.stringify(body.errors));
  return body.data!.number;
}

const toTimeline = (field: string, from: Date, to: Date | null) =>
  `{ timeline(field: ${field}, from: "${from.toISOString()}", to: ${to === null ? null : `"${to.toISOString()}"`}) { value from to certainty } }`;
const linesOf = (spans: readonly Span[], start: Date) =>
  spans.map(
    ({ value, from, certainty }) =>
      `${value} ${Math.round((Date.parse(from) - start.getTime()) / 60_000)} ${certainty}`,
  );

describe.each(databases)('on %s', (kind) => {
  let now = new Date();
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    gateway = await openTestGateway({
      database: kind,
      now: () => now,
      environment: { ANSWER_CACHE_MB: '10' },
    });
    tenant = await gateway.addTenant();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const rename = async ({ id }: TestNumber, ...names: readonly string[]) => {
    for (const name of names) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await gateway.database.query('update whatsapp_number set name = $1 where id = $2', [
        name,
        id,
      ]);
    }
  };

  describe('the history of a number', () => {
    const page = `nodes { field newValue } edges { cursor node { cursor } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }`;

    test('has its changes, newest first, in pages', async () => {
      const number = await tenant.addNumber({ name: 'a' });
      await rename(number, 'b', 'c', 'd');
      const { history } = await ask(tenant, number.id, `{ history(first: 2) { ${page} } }`);
      expect(history.nodes).toEqual([
        { field: 'NAME', newValue: 'd' },
        { field: 'NAME', newValue: 'c' },
      ]);
      const cursors = history.edges.map(({ cursor }) => cursor);
      expect(history.edges.map(({ node }) => node.cursor)).toEqual(cursors);
      expect(history.pageInfo).toEqual({
        hasNextPage: true,
        hasPreviousPage: false,
        startCursor: cursors[0],
        endCursor: cursors[1],
      });
      const rest = `{ history(after: "${cursors[1]}") { ${page} } }`;
      const { history: older } = await ask(tenant, number.id, rest);
      expect(older.nodes.map(({ field }) => field)).toEqual(['NAME', null]);
      expect(older.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
    });

    test('has those of the given fields, since the given time, and of this number alone', async () => {
      const [number, other] = [await tenant.addNumber(), await tenant.addNumber()];
      await gateway.database.query("update whatsapp_number set state = 'CLOSE' where id = $1", [
        number.id,
      ]);
      await rename(number, 'b');
      await rename(other, 'x');
      const fieldsOf = async (args: string) => {
        const { history } = await ask(tenant, number.id, `{ history(${args}) { ${page} } }`);
        return history.nodes.map(({ field }) => field);
      };
      expect(await fieldsOf('fields: [STATE]')).toEqual(['STATE']);
      expect(await fieldsOf('fields: []')).toEqual([]);
      expect(await fieldsOf('first: 10')).toEqual([
        'NAME',
        'REPLY_VERDICT',
        'VERDICT',
        'STATE',
        null,
      ]);
      expect(await fieldsOf('since: "2100-01-01T00:00:00Z"')).toEqual([]);
      // Years that PostgreSQL does not parse.
      expect(await fieldsOf('fields: [STATE], since: "0000-01-01T00:00:00Z"')).toEqual(['STATE']);
      expect(await fieldsOf('since: "9999-12-31T23:59:59-12:00"')).toEqual([]);
    });

    test.each([
      ['first: 0', 'INVALID_REQUEST'],
      ['first: 201', 'INVALID_REQUEST'],
      ['after: "x"', 'INVALID_CURSOR'],
      ['after: "c1.00000000000000000000000000000000.1"', 'CURSOR_UNKNOWN'],
    ])('is refused for %s', async (args, code) => {
      const { id } = await tenant.addNumber();
      const { body } = await tenant.graphql(
        `{ number(id: "${id}") { history(${args}) { ${page} } } }`,
      );
      expect(body).toMatchObject({ data: { number: null }, errors: [{ extensions: { code } }] });
    });
  });

  describe('the timeline of a value', () => {
    test('has what was read, when, and for how long it was known', async () => {
      now = new Date();
      const start = now;
      const { id } = await tenant.addNumber({ name: 'timeline' });
      const at = (minutes: number) => new Date(start.getTime() + minutes * 60_000);
      await read(gateway, { tenant, id, observedAt: at(10) });
      await read(gateway, { tenant, id, observedAt: at(30) }, { qualityRating: 'RED' });
      // After a gap.
      await read(gateway, { tenant, id, observedAt: at(120) }, { qualityRating: 'RED' });
      now = at(240);
      const spansOf = async (field: string, from: Date, to: Date | null) =>
        linesOf((await ask(tenant, id, toTimeline(field, from, to))).timeline, start);
      expect(await spansOf('QUALITY_RATING', at(5), null)).toEqual([
        'null 5 UNOBSERVED',
        'GREEN 10 OBSERVED',
        'RED 30 OBSERVED',
        'RED 90 UNOBSERVED',
        'RED 120 OBSERVED',
        // The clock has not recorded that the last read has expired.
        'RED 180 UNOBSERVED',
      ]);
      expect(await spansOf('META_STATUS', at(60), at(200))).toEqual([
        'CONNECTED 60 OBSERVED',
        'CONNECTED 90 UNOBSERVED',
        'CONNECTED 120 OBSERVED',
        'CONNECTED 180 UNOBSERVED',
      ]);
      expect(await spansOf('VERDICT', at(130), at(150))).toEqual(['YES 130 OBSERVED']);
      const { timeline } = await ask(tenant, id, toTimeline('STATE', at(20), at(10_000)));
      expect(timeline.at(-1)?.to).toBe(now.toISOString());
      const ancient = toTimeline('STATE', new Date('0000-01-01Z'), new Date('0000-02-01Z'));
      expect((await ask(tenant, id, ancient)).timeline).toMatchObject([
        { value: null, certainty: 'UNOBSERVED' },
      ]);
    });

    test('is refused for a time that is too long, empty or in the future', async () => {
      const { id } = await tenant.addNumber();
      const messageOf = async (from: Date, to: Date | null) => {
        const query = `{ number(id: "${id}") ${toTimeline('STATE', from, to)} }`;
        const { body } = await tenant.graphql(query);
        expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_REQUEST' } }]);
        return body.errors?.[0]?.message;
      };
      const [longAgo, yesterday, tomorrow] = [93, 1, -1].map(
        (days) => new Date(now.getTime() - days * dayMs),
      ) as [Date, Date, Date];
      expect(await messageOf(longAgo, null)).toBe(
        'A timeline has at most 92 days; select a shorter time between from and to.',
      );
      const order = '`from` must be before `to`, and in the past.';
      expect(await messageOf(yesterday, longAgo)).toBe(order);
      expect(await messageOf(tomorrow, null)).toBe(order);
    });

    test('is refused beyond 1,000 spans', async () => {
      now = new Date();
      const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', instanceName: 'flapping' });
      await gateway.database.query(
        `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
         select $1, $2, 'FIELD', 'STATE', 'OPEN', case i % 2 when 0 then 'OPEN' else 'CLOSE' end, 'EXTERNAL',
           now() + i * interval '1 second'
         from generate_series(1, 1100) i`,
        [tenant.id, id],
      );
      const start = now;
      now = new Date(start.getTime() + 2 * hourMs);
      const messageOf = async (seconds: number) => {
        const to = new Date(start.getTime() + seconds * 1_000);
        const query = `{ number(id: "${id}") ${toTimeline('STATE', start, to)} }`;
        return (await tenant.graphql(query)).body.errors?.[0]?.message;
      };
      const message =
        'The timeline has more than 1000 spans; select a shorter time between from and to.';
      expect(await messageOf(1_090)).toBe(message);
      expect(await messageOf(7_000)).toBe(message);
      expect(await messageOf(900)).toBeUndefined();
    });
  });

  describe('the availability of a number', () => {
    test('is the share of the observed time in which it could send', async () => {
      now = new Date();
      const start = now;
      const { id } = await tenant.addNumber();
      const at = (minutes: number) => new Date(start.getTime() + minutes * 60_000);
      await read(gateway, { tenant, id, observedAt: at(0) });
      await read(gateway, { tenant, id, observedAt: at(30) }, { status: 'BANNED' });
      await read(gateway, { tenant, id, observedAt: at(60) });
      now = at(24 * 60);
      const { availability } = await ask(
        tenant,
        id,
        '{ availability(days: 1) { sendableShare observedShare } }',
      );
      // From 0 to 30 and from 60 to 120 minutes it could, for 120 minutes it was observed.
      expect(availability.sendableShare).toBeCloseTo(90 / 120, 3);
      expect(availability.observedShare).toBeCloseTo(120 / (24 * 60), 3);
    });

    test('is unknown for a number that was never read, and refused for more than 92 days', async () => {
      const { id } = await tenant.addNumber();
      const selection = '{ availability { sendableShare observedShare } }';
      expect((await ask(tenant, id, selection)).availability).toEqual({
        sendableShare: null,
        observedShare: 0,
      });
      const { body } = await tenant.graphql(
        `{ number(id: "${id}") { availability(days: 93) { observedShare } } }`,
      );
      expect(body.errors?.[0]?.message).toBe('The availability is that of the last 1 to 92 days.');
    });
  });

  test('the past of many numbers is read by one statement for each field, and not cached', async () => {
    const { graphql, ...other } = await gateway.addTenant();
    await Promise.all(['a', 'b', 'c'].map((name) => other.addNumber({ name })));
    const from = new Date(now.getTime() - dayMs).toISOString();
    const query = `{ fleet(first: 10) { nodes { id
      history(first: 1) { nodes { kind newValue } }
      timeline(field: STATE, from: "${from}") { to }
      availability { observedShare } } } }`;
    const send = async () =>
      await graphql<{ fleet: { nodes: readonly (Past & { id: string })[] } }>(query);
    await send();
    gateway.clearStatements();
    const before = await send();
    expect(before.body.errors).toBeUndefined();
    const nodes = before.body.data!.fleet.nodes;
    expect(nodes.map(({ history }) => history.nodes.length)).toEqual([1, 1, 1]);
    const statements = gateway.statements.filter((text) => text.includes('number_change'));
    expect(statements).toHaveLength(3);
    now = new Date(now.getTime() + 1_000);
    const after = await send();
    expect(after.body.data!.fleet.nodes[0]!.timeline.at(-1)!.to).toBe(now.toISOString());
  });

  test('a number of another tenant has no past', async () => {
    const { id } = await tenant.addNumber({ name: 'Foreign' });
    const other = await gateway.addTenant();
    const past = 'history { nodes { cursor } } availability { observedShare }';
    const { body, text } = await other.graphql(`{ number(id: "${id}") { ${past} } }`);
    expect(body).toMatchObject({ data: { number: null } });
    expect(text).toContain('NUMBER_NOT_FOUND');
    expect(text).not.toContain('Foreign');
  });
});
