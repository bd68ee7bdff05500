// The command `sync plan`, which says how often the accounts of a tenant are read in the background.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { PlannedAccount } from '../sync/sync.ts';
import { parseId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import type { Column } from './table.ts';

export function addSyncCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('sync')
    .summary('show what is read in the background')
    .description('Show what is read from Meta in the background; see SYNC in the configuration.')
    .command('plan')
    .summary('show how often accounts are read, and what that takes')
    .description(
      'Show for each account of a tenant how often it is read in the background, how many calls of Meta that takes in an hour, and how many may be made. It reads nothing from Meta, so it also shows with SYNC=off what would be done.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway sync plan --tenant ten_…')
    .action(({ tenant }) =>
      withGateway(session, async ({ access, sync }) => {
        await access.getTenant(tenant);
        session.printTable(
          (await sync.report(tenant)).accounts,
          columns,
          'The tenant has no accounts. Add numbers with: number import',
        );
      }),
    );
}

const columns: readonly Column<PlannedAccount>[] = [
  { title: 'waba id', cell: ({ wabaId }) => wabaId },
  { title: 'numbers', cell: ({ numbers }) => String(numbers) },
  { title: 'new there', cell: ({ unknownNumbers }) => String(unknownNumbers) },
  { title: 'every', cell: ({ cadenceSeconds }) => `${cadenceSeconds} s` },
  { title: 'calls an hour', cell: (it) => `${it.plannedCallsPerHour} of ${it.budgetCallsPerHour}` },
  { title: 'attainable', cell: ({ attainable }) => (attainable ? 'yes' : 'no') },
  { title: 'last', cell: ({ lastSweepAt }) => lastSweepAt?.toISOString() ?? null },
  { title: 'state', cell: ({ state }) => state },
];
