// The command `fleet watch`, which prints changes as they are committed.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toChange } from '../rest/change.ts';
import { parseId } from './arguments.ts';
import {
  type ChangeJson,
  createNumberNames,
  newColumn,
  type NumberNames,
  previousColumn,
  sourceColumn,
  subjectColumn,
  timeColumn,
} from './change-text.ts';
import { type Session, withGateway } from './session.ts';
import { createRunningTable, toLayout } from './table.ts';

const examples = `
Examples:
  $ numbers-gateway fleet watch --tenant ten_…
  $ numbers-gateway fleet watch --tenant ten_… | jq -r 'select(.field == "VERDICT") | .numberId'
  $ numbers-gateway fleet watch --tenant ten_… --after c1.…`;

export function addWatchCommand(fleet: CommandUnknownOpts, session: Session): void {
  fleet
    .command('watch')
    .summary('print the changes of a tenant’s numbers as they happen')
    .description(
      'Print the changes of a tenant’s numbers as they happen, the newest last: a table on a terminal, one line of JSON for each change in a pipe or with --json. It goes on when the database was restarted. Ctrl+C ends it.',
    )
    .requiredOption('--tenant <id>', 'tenant of the numbers', parseId)
    .option(
      '--after <cursor>',
      'begin after this cursor, which each line of JSON has; by default now',
    )
    .addHelpText('after', examples)
    .action((options) => watch(options, session));
}

interface WatchOptions {
  readonly tenant: string;
  readonly after?: string | undefined;
}

async function watch({ tenant, after }: WatchOptions, session: Session): Promise<void> {
  const { stdout } = session.terminal;
  // Its reader may have ended, as in `… | head`.
  const closed = new AbortController();
  stdout.once('error', () => closed.abort());
  const signal = AbortSignal.any([session.terminal.signal, closed.signal]);
  const isTable = stdout.isTTY === true && !session.wantsJson();
  await withGateway(session, async (gateway) => {
    const { access, history } = gateway;
    await access.getTenant(tenant);
    const pages = await history.watchChanges(toOperatorAccess(tenant), {
      after: after ?? null,
      filter: {},
      signal,
    });
    const names = createNumberNames(gateway, tenant);
    const format = isTable ? createTableFormat(session, names) : formatLines;
    if (isTable) stdout.write(format([]));
    for await (const { changes } of pages) {
      if (isTable) await names.learn(changes);
      stdout.write(format(changes.map(toChange)));
    }
  });
}

type Format = (changes: readonly ChangeJson[]) => string;

const formatLines: Format = (changes) =>
  changes.map((change) => `${JSON.stringify(change)}\n`).join('');

function createTableFormat({ terminal }: Session, names: NumberNames): Format {
  const format = createRunningTable<ChangeJson>([
    { ...timeColumn, width: 20 },
    {
      title: 'number',
      cell: ({ numberId, wabaId }) => names.get(numberId) ?? numberId ?? wabaId,
      minWidth: 12,
      width: 20,
    },
    { ...subjectColumn, minWidth: 16, width: 24 },
    { ...previousColumn, width: 14 },
    { ...newColumn, width: 14 },
    { ...sourceColumn, width: 12 },
  ]);
  return (changes) => format(changes, toLayout(terminal.stdout));
}
