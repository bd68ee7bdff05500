// Walks over all pages of a fleet while other software changes a tenth of its numbers.

import { randomInt } from 'node:crypto';
import { createRandom } from '../database/tenancy-probe.ts';
import { openTestDatabase, openTestGateway, type DatabaseKind } from '../harness.ts';
import { addLargeFleet } from './large-fleet.ts';

const numbers = 60;
const orders = ['ATTENTION', 'NAME', 'VERDICT_CHANGED_AT', 'OBSERVED_AT', 'CREATED_AT'];
/** Each changes the sort key of an order, and what filters look at. */
const changes = [
  `state = case state when 'OPEN' then 'CLOSE' else 'OPEN' end`,
  `quality_rating = case quality_rating when 'RED' then 'GREEN' else 'RED' end`,
  `name_key = reverse(name_key)`,
  `verdict_changed_at = clock_timestamp()`,
  `observed_at = clock_timestamp()`,
];

const document = `query ($orderBy: FleetOrder, $first: Int, $after: String, $last: Int, $before: String) {
  fleet(orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    nodes { id } pageInfo { startCursor endCursor hasNextPage hasPreviousPage } asOf
  }
}`;

interface Page {
  readonly nodes: readonly { readonly id: string }[];
  readonly asOf: string;
  readonly pageInfo: {
    readonly startCursor: string | null;
    readonly endCursor: string | null;
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
  };
}

/** Returns a sentence for each walk in which a number that did not change was not seen exactly once. */
export async function walkWhileWriting(
  kind: DatabaseKind,
  walks: number,
  seed = randomInt(2 ** 31),
): Promise<readonly string[]> {
  await using database = await openTestDatabase(kind);
  await using gateway = await openTestGateway({
    database,
    environment: { RATE_LIMIT: 'off' },
  });
  const tenant = await gateway.addTenant();
  await addLargeFleet(database, { tenantId: tenant.id, numbers });
  const random = createRandom(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const ids = (
    await database.query<{ id: string }>('select number_id as id from number_status')
  ).map(({ id }) => id);
  const complaints: string[] = [];
  const walk = async (at: number) => {
    const changing = ids.filter(() => random() < 0.1);
    const isForward = random() < 0.5;
    const size = 1 + Math.floor(random() * 20);
    const orderBy = { field: pick(orders), direction: pick(['ASC', 'DESC']) };
    const window = { orderBy, ...(isForward ? { first: size } : { last: size }) };
    const seen = new Map<string, number>();
    const moments = new Set<string>();
    let variables: Readonly<Record<string, unknown>> = window;
    for (;;) {
      // oxlint-disable no-await-in-loop -- a page has the cursor of the next one
      const { body } = await tenant.graphql<{ fleet: Page }>(document, { variables });
      const { nodes, pageInfo, asOf } = body.data!.fleet;
      moments.add(asOf);
      for (const { id } of nodes) seen.set(id, (seen.get(id) ?? 0) + 1);
      if (!(isForward ? pageInfo.hasNextPage : pageInfo.hasPreviousPage)) break;
      variables = {
        ...window,
        ...(isForward ? { after: pageInfo.endCursor } : { before: pageInfo.startCursor }),
      };
      await database.query(`update number_status set ${pick(changes)} where number_id = any($1)`, [
        changing,
      ]);
      // oxlint-enable no-await-in-loop
    }
    const wrong = ids.filter((id) => !changing.includes(id) && seen.get(id) !== 1);
    if (wrong.length > 0) complaints.push(`walk ${at} of seed ${seed}: ${wrong.join(', ')}`);
    if (moments.size !== 1) complaints.push(`walk ${at} of seed ${seed}: ${moments.size} moments`);
  };
  // oxlint-disable-next-line no-await-in-loop -- each walk has its own writer
  for (let at = 0; at < walks; at += 1) await walk(at);
  return complaints;
}
