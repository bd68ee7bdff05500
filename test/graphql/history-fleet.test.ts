// `FleetConnection.feedCursor`: whoever loads a fleet and then applies the changes after its cursor has the fleet as it is.

import { randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { recordExpired } from '../../src/history/upkeep.ts';
import { createRandom } from '../database/tenancy-probe.ts';
import {
  databases,
  type GraphQLBody,
  openTestDatabase,
  openTestGateway,
  type TestTenant,
} from '../harness.ts';

interface Page {
  readonly nodes: readonly { readonly id: string; readonly name: string; readonly state: string }[];
  readonly feedCursor: string;
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

interface Reply {
  readonly body: GraphQLBody<{ readonly fleet: Page }>;
}

interface ChangePage {
  readonly changes: readonly {
    readonly numberId: string;
    readonly kind: string;
    readonly field: string | null;
    readonly newValue: string | null;
  }[];
  readonly cursor: string;
  readonly caughtUp: boolean;
}

/** By id: the name and the state. */
type Fleet = Map<string, { NAME: string; STATE: string }>;

const page = `query($first: Int, $after: String) {
  fleet(first: $first, after: $after, orderBy: { field: CREATED_AT, direction: ASC }) {
    nodes { id name state } feedCursor pageInfo { hasNextPage endCursor }
  }
}`;

/** Calls `between` after each page. Returns the numbers of all pages and the cursor of the first one. */
async function loadFleet(tenant: TestTenant, first: number, between: () => Promise<void>) {
  const fleet: Fleet = new Map();
  let cursor: string | null = null;
  let after: string | null = null;
  do {
    // oxlint-disable no-await-in-loop -- a page has the cursor of the next one
    const reply: Reply = await tenant.graphql(page, { variables: { first, after } });
    const { nodes, feedCursor, pageInfo } = reply.body.data!.fleet;
    cursor ??= feedCursor;
    for (const { id, name, state } of nodes) fleet.set(id, { NAME: name, STATE: state });
    after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
    await between();
    // oxlint-enable no-await-in-loop
  } while (after !== null);
  return { fleet, cursor };
}

async function applyChanges(tenant: TestTenant, fleet: Fleet, start: string): Promise<void> {
  const query = `query($after: String) {
    changes(after: $after) { changes { numberId kind field newValue } cursor caughtUp }
  }`;
  let after = start;
  for (let caughtUp = false; !caughtUp;) {
    // oxlint-disable-next-line no-await-in-loop -- a page has the cursor of the next one
    const { body } = await tenant.graphql<{ changes: ChangePage }>(query, { variables: { after } });
    const { changes } = body.data!;
    for (const { numberId, kind, field, newValue } of changes.changes) {
      if (kind === 'REMOVED') fleet.delete(numberId);
      else if (kind === 'ADDED') fleet.set(numberId, JSON.parse(newValue!));
      else if (field === 'NAME' || field === 'STATE') {
        // Of a number that was removed before its page was read, there are changes too.
        const known = fleet.get(numberId);
        if (known !== undefined) known[field] = newValue!;
      }
    }
    after = changes.cursor;
    caughtUp = changes.caughtUp;
  }
}

const toLines = (fleet: Fleet) =>
  [...fleet].map(([id, { NAME, STATE }]) => `${id} ${NAME} ${STATE}`).toSorted();

describe.each(databases)('on %s', (kind) => {
  test('a fleet that is loaded while it changes, and followed from its cursor, misses nothing', async () => {
    const seed = randomInt(2 ** 31);
    const random = createRandom(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
    await using database = await openTestDatabase(kind);
    await using gateway = await openTestGateway({ database, environment: { RATE_LIMIT: 'off' } });
    const tenant = await gateway.addTenant();
    let added = 0;
    const add = () =>
      tenant.addNumber({
        provider: 'PILOT_STATUS',
        instanceName: `i${added}`,
        name: `n${added++}`,
      });
    for (let count = 0; count < 12; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await add();
    }
    const change = async (): Promise<void> => {
      const ids = (await database.query<{ id: string }>('select id from whatsapp_number')).map(
        ({ id }) => id,
      );
      const id = pick(ids);
      const kindOf = random();
      if (kindOf < 0.1) await add();
      else if (kindOf < 0.2 && ids.length > 3) {
        await database.query('delete from whatsapp_number where id = $1', [id]);
      } else if (kindOf < 0.6) {
        await database.query('update whatsapp_number set name = $1 where id = $2', [
          `name ${Math.floor(random() * 1_000_000)}`,
          id,
        ]);
      } else {
        await database.query(
          `update whatsapp_number set state = case state when 'OPEN' then 'CLOSE' else 'OPEN' end where id = $1`,
          [id],
        );
      }
    };
    const written = new AbortController();
    const writer = (async () => {
      // oxlint-disable-next-line no-await-in-loop -- one transaction after the other
      while (!written.signal.aborted) await change();
    })();
    const loaded: { readonly fleet: Fleet; readonly cursor: string | null }[] = [];
    for (let walk = 0; walk < 4; walk += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one walk after the other
      loaded.push(await loadFleet(tenant, 1 + Math.floor(random() * 6), change));
    }
    written.abort();
    await writer;
    const { fleet: current } = await loadFleet(tenant, 200, async () => undefined);
    for (const { fleet, cursor } of loaded) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await applyChanges(tenant, fleet, cursor!);
      expect([seed, ...toLines(fleet)]).toEqual([seed, ...toLines(current)]);
    }
  });

  test('a verdict that another process has let expire too early follows the cursor', async () => {
    let now = new Date();
    await using gateway = await openTestGateway({ database: kind, now: () => now });
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await tenant.graphql(`{ number(id: "${id}", refresh: true) { health { sendable } } }`);
    const { database } = gateway;
    const [{ observedAt } = { observedAt: now }] = await database.query<{ observedAt: Date }>(
      'select observed_at as "observedAt" from number_status',
    );
    // The last moment at which the read is fresh; the clock of the other process is a second ahead.
    now = new Date(observedAt.getTime() + 3_600_999);
    const expiredAt = new Date(now.getTime() + 1_000);
    await recordExpired({ database, now: () => expiredAt, connectionsAreRead: true });
    const { body } = await tenant.graphql<{
      fleet: { nodes: readonly unknown[]; feedCursor: string };
    }>('{ fleet { nodes { health { sendability { verdict } } } feedCursor } }');
    const { nodes, feedCursor } = body.data!.fleet;
    expect(nodes).toEqual([{ health: { sendability: { verdict: 'YES' } } }]);
    const after = await tenant.graphql<{ changes: ChangePage }>(
      `{ changes(after: "${feedCursor}") { changes { field newValue } } }`,
    );
    expect(after.body.data?.changes.changes).toEqual([
      { field: 'VERDICT', newValue: 'UNKNOWN' },
      { field: 'REPLY_VERDICT', newValue: 'UNKNOWN' },
    ]);
  });

  test('the cursor is read by the statement of the page, and only when it is selected', async () => {
    await using gateway = await openTestGateway({
      database: kind,
      environment: { ANSWER_CACHE_MB: '0' },
    });
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const readOf = async (query: string) => {
      gateway.clearStatements();
      const { body } = await tenant.graphql<{ fleet: object }>(query);
      const statements = gateway.statements.filter((text) => text.includes('number_status'));
      expect(statements).toHaveLength(1);
      return { fleet: body.data?.fleet, reads: statements[0]!.includes('feed_position') };
    };
    const feedCursor = expect.stringMatching(/^c1\.[0-9a-f]{32}\.[1-9]\d*$/);
    await readOf('{ fleet { totalCount } }');
    expect(await readOf('{ fleet { nodes { id } } }')).toEqual({
      fleet: { nodes: [{ id }] },
      reads: false,
    });
    expect(await readOf('{ fleet { nodes { id } feedCursor } }')).toEqual({
      fleet: { nodes: [{ id }], feedCursor },
      reads: true,
    });
    expect(await readOf('{ fleet { feedCursor } }')).toEqual({
      fleet: { feedCursor },
      reads: true,
    });
  });
});
