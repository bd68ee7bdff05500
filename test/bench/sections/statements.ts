// Counts the SQL statements of each selection for a small and a large fleet, with a gateway inside this process.

import { readEnvironment, parseConfig } from '../../../src/config.ts';
import { openDatabase } from '../../../src/database/database.ts';
import { createGateway, type Gateway } from '../../../src/gateway.ts';
import { createTelemetry } from '../../../src/telemetry.ts';
import { encryptionKeys, pepper } from '../databases.ts';
import { largeTenant, toNumberId, toTenantKey } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { type BenchRequest, shapes, toGraphQLRequest, toRequest } from '../shapes.ts';
import { atMost, type Findings, type Section, type Workbench } from './section.ts';

const one = 1;
const grownName = 'statements, selections whose count grows with the fleet';

export const statements: Section = {
  toGoals: () => [atMost(0, grownName)],
  measure: countStatements,
};

async function countStatements({ openFleet, log }: Workbench): Promise<Findings> {
  log('statements');
  const { url } = await openFleet();
  let executed = 0;
  const telemetry = createTelemetry({ level: 'silent' });
  const onStatement = (text: string): void => {
    if (!/^(begin|commit|rollback)/.test(text)) executed += 1;
  };
  const database = await openDatabase({ kind: 'postgres', url }, { onStatement });
  const config = parseConfig(
    readEnvironment({
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      // A cached response takes no statement.
      ANSWER_CACHE_MB: '0',
    }),
  );
  await using gateway = await createGateway(config, { database, telemetry });
  const count = async (request: BenchRequest): Promise<number> => {
    executed = 0;
    await send(gateway, request);
    return executed;
  };
  // Excludes statements that a process runs only once.
  await count(toRequest('thin', one));
  const rows = await inTurn(listSelections(), async ({ name, few, many }) => {
    return [name, await count(few), await count(many)] as const;
  });
  const grown = rows.filter(([, few, many]) => few !== many).length;
  return {
    measurements: [{ name: grownName, value: grown }],
    tables: [
      {
        title: 'SQL statements per request, without begin and commit',
        columns: ['selection', 'small fleet', 'large fleet'],
        rows,
      },
    ],
    notes: ['Authentication is one of the statements, and so is setting tenant and role.'],
  };
}

interface Selection {
  readonly name: string;
  readonly few: BenchRequest;
  readonly many: BenchRequest;
}

function listSelections(): readonly Selection[] {
  const everything =
    '{ numbers { id apiKeys { name } health { sendability { verdict reasons { text } } freshness { ageSeconds } } meta { fetchedAt phone { verifiedName } profile { about } waba { name } } } }';
  return [
    ...shapes.map((shape) => ({
      name:
        shape.endsWith('list') || shape === 'thin'
          ? `${shape}: 25, 10,000 numbers`
          : `${shape}: of 25, 10,000`,
      few: toRequest(shape, one),
      many: toRequest(shape, largeTenant),
    })),
    {
      name: 'all of meta: 25, 10,000 numbers',
      few: toGraphQLRequest(everything, toKey(one)),
      many: toGraphQLRequest(everything, toKey(largeTenant)),
    },
    {
      name: 'number(id) once, 25 times',
      few: toGraphQLRequest(toAliases(1), toKey(one)),
      many: toGraphQLRequest(toAliases(25), toKey(one)),
    },
  ];
}

function toKey(place: number): Readonly<Record<string, string>> {
  return { 'x-api-key': toTenantKey(place) };
}

function toAliases(count: number): string {
  const fields = toRange(count).map(
    (index) =>
      `n${index}: number(id: "${toNumberId(one, index + 1)}") { id apiKeys { name } health { sendable } meta { waba { name } } }`,
  );
  return `{ ${fields.join(' ')} }`;
}

/** Throws unless the response is 200 without errors. */
async function send(
  gateway: Gateway,
  { method, path, headers, body }: BenchRequest,
): Promise<void> {
  const request = new Request(new URL(path, 'http://gateway.bench'), {
    method,
    headers,
    ...(method === 'POST' && { body }),
  });
  const response = await gateway.fetch(request);
  const text = await response.text();
  if (response.status !== 200 || text.includes('"errors"')) {
    throw new Error(`The gateway answered ${response.status}: ${text.slice(0, 1_000)}`);
  }
}
