// Owns the command that tells what was done to keys and credentials.

import { type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';
import type { AuditEntry } from '../access/access.ts';
import { parseId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import { toTable } from './terminal.ts';

const maxLimit = 10_000;

export function addAuditCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('audit')
    .summary('what was done to keys and credentials')
    .description('The trail that each change of a key or a credential leaves in the database.')
    .command('list')
    .summary('list what was done, the newest first')
    .description(
      'List what was done to the API keys and the credentials of a tenant, the newest first. Secrets are not in it.',
    )
    .requiredOption('--tenant <id>', 'whose keys and credentials', parseId)
    .option('--limit <count>', 'how many at most', parseLimit, 100)
    .action(({ tenant, limit }) =>
      withGateway(session, async ({ access }) => {
        const entries = await access.listAudit(tenant, limit);
        session.answer(entries.map(toJson), (rows) =>
          toTable(
            ['at', 'action', 'subject', 'actor', 'details'],
            rows.map((it) => [it.at, it.action, it.subject, it.actor, toText(it.details)]),
            'Nothing was done yet.',
          ),
        );
      }),
    );
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!/^\d{1,5}$/.test(text) || limit < 1 || limit > maxLimit) {
    throw new InvalidArgumentError(`Write a number from 1 to ${maxLimit}.`);
  }
  return limit;
}

function toJson({ id, at, actor, action, subject, details }: AuditEntry) {
  return { id, at: at.toISOString(), actor, action, subject, details };
}

function toText(details: AuditEntry['details']): string {
  const told = Object.entries(details).filter(([, value]) => value !== null);
  return told.map(([name, value]) => `${name} ${String(value)}`).join(', ');
}
