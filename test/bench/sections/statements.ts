// How many SQL statements a question costs, whatever it selects and however many numbers there are: counted in a gateway
// inside this process.

import { readEnvironment, toConfig } from '../../../src/config.ts';
import { openDatabase } from '../../../src/database/database.ts';
import { createGateway, type Gateway } from '../../../src/gateway.ts';
import { createTelemetry } from '../../../src/telemetry.ts';
import { encryptionKeys, pepper } from '../databases.ts';
import { largeTenant, toNumberId, toTenantKey } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { type Question, shapes, toGraphQLQuestion, toQuestion } from '../shapes.ts';
import { atMost, type Findings, type Section, type Workbench } from './section.ts';

const one = 1;
const grownName = 'statements, selections whose count grows with the fleet';

export const statements: Section = {
  toGoals: () => [atMost(0, grownName)],
  measure: countStatements,
};

async function countStatements({ openFleet, tell }: Workbench): Promise<Findings> {
  tell('statements');
  const { url } = await openFleet();
  let executed = 0;
  const telemetry = createTelemetry({ level: 'silent' });
  const onStatement = (text: string): void => {
    if (!/^(begin|commit|rollback)/.test(text)) executed += 1;
  };
  const database = await openDatabase({ kind: 'postgres', url }, { onStatement });
  const config = toConfig(
    readEnvironment({
      DATABASE_URL: url,
      ENCRYPTION_KEYS: encryptionKeys,
      API_KEY_PEPPER: pepper,
      // What is answered from memory takes none.
      ANSWER_CACHE_MB: '0',
    }),
  );
  await using gateway = await createGateway(config, { database, telemetry });
  const count = async (question: Question): Promise<number> => {
    executed = 0;
    await answer(gateway, question);
    return executed;
  };
  // What a process does once in its life is not part of a question.
  await count(toQuestion('thin', one));
  const rows = await inTurn(listSelections(), async ({ name, few, many }) => {
    return [name, await count(few), await count(many)] as const;
  });
  const grown = rows.filter(([, few, many]) => few !== many).length;
  return {
    measurements: [{ name: grownName, value: grown }],
    tables: [
      {
        title: 'SQL statements of a question, but for begin and commit',
        columns: ['selection', 'small fleet', 'large fleet'],
        rows,
      },
    ],
    notes: [
      'Authentication is one of the statements, and so is taking on the tenant and its role.',
    ],
  };
}

interface Selection {
  readonly name: string;
  readonly few: Question;
  readonly many: Question;
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
      few: toQuestion(shape, one),
      many: toQuestion(shape, largeTenant),
    })),
    {
      name: 'all of meta: 25, 10,000 numbers',
      few: toGraphQLQuestion(everything, toKey(one)),
      many: toGraphQLQuestion(everything, toKey(largeTenant)),
    },
    {
      name: 'number(id) once, 25 times',
      few: toGraphQLQuestion(toAliases(1), toKey(one)),
      many: toGraphQLQuestion(toAliases(25), toKey(one)),
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

/** Throws for anything but a good answer. */
async function answer(gateway: Gateway, { method, path, headers, body }: Question): Promise<void> {
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
