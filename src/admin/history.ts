// The command `number history`, which lists the changes of one number.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { NumberChange } from '../history/change.ts';
import { changeFields } from '../history/change-fields.ts';
import { maxPageSize } from '../history/history.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toChange } from '../rest/change.ts';
import { parseId, parseLimit, parseWords } from './arguments.ts';
import {
  newColumn,
  previousColumn,
  sourceColumn,
  subjectColumn,
  timeColumn,
} from './change-text.ts';
import { type Session, withGateway } from './session.ts';

const examples = `
Examples:
  $ numbers-gateway number history wa_…
  $ numbers-gateway number history wa_… --field VERDICT,QUALITY_RATING --limit 10 --json`;

export function addHistoryCommand(number: CommandUnknownOpts, session: Session): void {
  number
    .command('history')
    .summary('list the changes of a number')
    .description(
      'List the changes of a number, newest first: what changed, when it was observed, and what caused it. It also knows numbers that were removed.',
    )
    .argument('<id>', 'id of the number', parseId)
    .option('--limit <count>', 'how many changes to list', parseLimit, 50)
    .option(
      '--field <words>',
      'VERDICT, STATE, QUALITY_RATING, …',
      parseWords(Object.keys(changeFields)),
    )
    .addHelpText('after', examples)
    .action((id, { limit, field }) =>
      withGateway(session, async (gateway) => {
        const changes = await listHistory(gateway, { id, limit, fields: field ?? null });
        session.printTable(
          changes.map(toChange),
          [timeColumn, subjectColumn, previousColumn, newColumn, sourceColumn],
          'Nothing has changed since changes are recorded.',
        );
      }),
    );
}

interface Wanted {
  readonly id: string;
  readonly limit: number;
  readonly fields: readonly string[] | null;
}

async function listHistory(gateway: Gateway, wanted: Wanted): Promise<readonly NumberChange[]> {
  const tenantId = await findTenant(gateway, wanted.id);
  const listed: NumberChange[] = [];
  let after: string | null = null;
  do {
    const first = Math.min(maxPageSize, wanted.limit - listed.length);
    const request = { numberId: wanted.id, first, after, fields: wanted.fields, since: null };
    // oxlint-disable-next-line no-await-in-loop -- a page has the cursor of the next one
    const page = await gateway.history.listHistory(toOperatorAccess(tenantId), request);
    listed.push(...page.changes);
    after = page.hasNextPage ? (page.changes.at(-1)?.cursor ?? null) : null;
  } while (after !== null && listed.length < wanted.limit);
  return listed;
}

/** Throws NUMBER_NOT_FOUND. Of a number that was removed, only its changes are left, in its tenant. */
async function findTenant({ numbers, access, history }: Gateway, id: string): Promise<string> {
  try {
    return await numbers.getTenantOf(id);
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'NUMBER_NOT_FOUND') throw error;
    const request = { numberId: id, first: 1, after: null, fields: null, since: null };
    for (const tenant of await access.listTenants()) {
      // oxlint-disable-next-line no-await-in-loop -- until it is found
      const { changes } = await history.listHistory(toOperatorAccess(tenant.id), request);
      if (changes.length > 0) return tenant.id;
    }
    throw error;
  }
}
