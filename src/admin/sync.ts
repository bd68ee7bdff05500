// The commands `sync list` and `sync plan`: how often the accounts of a tenant are read in the background.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { PlannedAccount, PlannedEngine, SyncReport } from '../sync/sync.ts';
import { parseId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatTable, toLayout, type Tone } from './table.ts';

export function addSyncCommands(program: CommandUnknownOpts, session: Session): void {
  const sync = program
    .command('sync')
    .summary('show what is read in the background')
    .description('Show what is read from Meta in the background; see SYNC in the configuration.');
  sync
    .command('list')
    .summary('show when accounts were read, and whether that is on time')
    .description(
      'Show for each account of a tenant, and for its numbers of the session engine, when they were last read in the background, when they are read next, and whether that is on time: ON_TIME, LATE, PAUSED_BUDGET, PAUSED_TOKEN or OFF.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway sync list --tenant ten_…')
    .action(({ tenant }) => printList(session, tenant));
  sync
    .command('plan')
    .summary('show how often accounts are read, and what that takes')
    .description(
      'Show for each account of a tenant how often it is read in the background, how many calls of Meta that takes in an hour, and how many may be made. It reads nothing from Meta, so it also shows with SYNC=off what would be done.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway sync plan --tenant ten_…')
    .action(({ tenant }) => printPlan(session, tenant));
}

async function printList(session: Session, tenant: string): Promise<void> {
  const report = await readReport(session, tenant);
  session.print(report, ({ accounts, engine }) => {
    const rows = [...accounts.map(toListRow), ...(engine === null ? [] : [toEngineRow(engine)])];
    if (rows.length === 0) return withoutNumbers;
    return formatTable(rows, listColumns, toLayout(session.terminal.stdout));
  });
}

async function printPlan(session: Session, tenant: string): Promise<void> {
  const { accounts } = await readReport(session, tenant);
  session.printTable(accounts, planColumns, withoutNumbers);
}

const withoutNumbers = 'The tenant has no accounts. Add numbers with: number import';

async function readReport(session: Session, tenant: string): Promise<SyncReport> {
  return await withGateway(session, async ({ access, sync }) => {
    await access.getTenant(tenant);
    return await sync.report(tenant);
  });
}

/** An account, or the numbers of the session engine. */
interface ListRow extends Pick<
  PlannedAccount,
  'numberCount' | 'cadenceSeconds' | 'state' | 'lastError'
> {
  readonly name: string;
  readonly lastAt: Date | null;
  readonly nextAt: Date | null;
  readonly used: string | null;
}

function toListRow(account: PlannedAccount): ListRow {
  const { wabaId: name, lastSweepAt: lastAt, nextSweepAt: nextAt, usedPercent } = account;
  return { ...account, name, lastAt, nextAt, used: `${usedPercent} %` };
}

function toEngineRow(engine: PlannedEngine): ListRow {
  const { lastReadAt: lastAt, nextReadAt: nextAt } = engine;
  return { ...engine, name: 'session engine', lastAt, nextAt, used: null };
}

const tones: Readonly<Partial<Record<PlannedAccount['state'], Tone>>> = {
  ON_TIME: 'good',
  PAUSED_BUDGET: 'doubtful',
  LATE: 'bad',
  PAUSED_TOKEN: 'bad',
};

type Shared = Pick<ListRow, 'numberCount' | 'cadenceSeconds' | 'state'>;

const numbers: Column<Shared> = { title: 'numbers', cell: (it) => String(it.numberCount) };
const every: Column<Shared> = { title: 'every', cell: (it) => `${it.cadenceSeconds} s` };
const state: Column<Shared> = {
  title: 'state',
  cell: (it) => it.state,
  tone: (it) => tones[it.state] ?? null,
};

const listColumns: readonly Column<ListRow>[] = [
  { title: 'account', cell: ({ name }) => name },
  numbers,
  every,
  { title: 'last', cell: ({ lastAt }) => lastAt?.toISOString() ?? null },
  { title: 'next', cell: ({ nextAt }) => nextAt?.toISOString() ?? null },
  { title: 'used', cell: ({ used }) => used },
  { title: 'last error', cell: ({ lastError }) => lastError },
  state,
];

const planColumns: readonly Column<PlannedAccount>[] = [
  { title: 'account', cell: ({ wabaId }) => wabaId },
  numbers,
  { title: 'new there', cell: ({ newNumberCount }) => String(newNumberCount) },
  every,
  { title: 'calls an hour', cell: (it) => `${it.plannedCallsPerHour} of ${it.budgetCallsPerHour}` },
  {
    title: 'attainable',
    cell: ({ attainableCadenceSeconds: seconds }) => (seconds === null ? null : `${seconds} s`),
    tone: ({ attainable }) => (attainable ? null : 'bad'),
  },
  { title: 'last', cell: ({ lastSweepAt }) => lastSweepAt?.toISOString() ?? null },
  state,
];
