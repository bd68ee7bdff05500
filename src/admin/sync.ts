// The commands `sync list` and `sync plan`: how often the accounts of a tenant are read in the background.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { PlannedAccount, SyncReport } from '../sync/sync.ts';
import { parseId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import type { Column, Tone } from './table.ts';

export function addSyncCommands(program: CommandUnknownOpts, session: Session): void {
  const sync = program
    .command('sync')
    .summary('show what is read in the background')
    .description('Show what is read from Meta in the background; see SYNC in the configuration.');
  sync
    .command('list')
    .summary('show when accounts were read, and whether that is on time')
    .description(
      'Show for each account of a tenant when its numbers were last read in the background, when they are read next, and whether that is on time: ON_TIME, LATE, PAUSED_BUDGET, PAUSED_TOKEN or OFF.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway sync list --tenant ten_…')
    .action(({ tenant }) => printAccounts(session, tenant, listColumns));
  sync
    .command('plan')
    .summary('show how often accounts are read, and what that takes')
    .description(
      'Show for each account of a tenant how often it is read in the background, how many calls of Meta that takes in an hour, and how many may be made. It reads nothing from Meta, so it also shows with SYNC=off what would be done.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway sync plan --tenant ten_…')
    .action(({ tenant }) => printAccounts(session, tenant, planColumns));
}

async function printAccounts(
  session: Session,
  tenant: string,
  columns: readonly Column<PlannedAccount>[],
): Promise<void> {
  await withGateway(session, async ({ access, sync }) => {
    await access.getTenant(tenant);
    const { accounts }: SyncReport = await sync.report(tenant);
    const hint = 'The tenant has no accounts. Add numbers with: number import';
    session.printTable(accounts, columns, hint);
  });
}

const tones: Readonly<Partial<Record<PlannedAccount['state'], Tone>>> = {
  ON_TIME: 'good',
  PAUSED_BUDGET: 'doubtful',
  LATE: 'bad',
  PAUSED_TOKEN: 'bad',
};

const wabaId: Column<PlannedAccount> = { title: 'waba id', cell: (it) => it.wabaId };
const numbers: Column<PlannedAccount> = { title: 'numbers', cell: (it) => String(it.numbers) };
const every: Column<PlannedAccount> = { title: 'every', cell: (it) => `${it.cadenceSeconds} s` };
const last: Column<PlannedAccount> = {
  title: 'last',
  cell: ({ lastSweepAt }) => lastSweepAt?.toISOString() ?? null,
};
const state: Column<PlannedAccount> = {
  title: 'state',
  cell: (it) => it.state,
  tone: (it) => tones[it.state] ?? null,
};

const listColumns: readonly Column<PlannedAccount>[] = [
  wabaId,
  numbers,
  every,
  last,
  { title: 'next', cell: ({ nextSweepAt }) => nextSweepAt?.toISOString() ?? null },
  { title: 'used', cell: ({ usedPercent }) => `${usedPercent} %` },
  { title: 'last error', cell: ({ lastError }) => lastError },
  state,
];

const planColumns: readonly Column<PlannedAccount>[] = [
  wabaId,
  numbers,
  { title: 'new there', cell: ({ unknownNumbers }) => String(unknownNumbers) },
  every,
  { title: 'calls an hour', cell: (it) => `${it.plannedCallsPerHour} of ${it.budgetCallsPerHour}` },
  { title: 'attainable', cell: ({ attainable }) => (attainable ? 'yes' : 'no') },
  last,
  state,
];
