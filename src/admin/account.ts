// The commands for WhatsApp Business accounts.

import { Argument, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { KnownAccount, WatchMode } from '../fleet/onboarding.ts';
import { parseId, parseMetaId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import type { Column } from './table.ts';

export function addAccountCommands(program: CommandUnknownOpts, session: Session): void {
  const account = program
    .command('account')
    .summary('manage WhatsApp Business accounts')
    .description('Manage the WhatsApp Business accounts of a tenant’s numbers.');
  addList(account, session);
  addWatch(account, session);
}

function addList(account: CommandUnknownOpts, session: Session): void {
  account
    .command('list')
    .summary('list the accounts of a tenant')
    .description(
      'List the WhatsApp Business accounts of a tenant’s numbers, those with the most numbers first.',
    )
    .requiredOption('--tenant <id>', 'tenant of the accounts', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access, onboarding }) => {
        await access.getTenant(tenant);
        session.printTable(
          await onboarding.listAccounts(tenant),
          columns,
          'The tenant has no accounts. Add numbers with: number import',
        );
      }),
    );
}

const columns: readonly Column<KnownAccount>[] = [
  { title: 'waba id', cell: ({ wabaId }) => wabaId },
  { title: 'name', cell: ({ name }) => name, minWidth: 8 },
  { title: 'numbers', cell: ({ numbers }) => String(numbers) },
  { title: 'later numbers', cell: ({ watch }) => watch },
];

const modes = { report: 'REPORT', import: 'IMPORT', off: 'OFF' } as const satisfies Record<
  string,
  WatchMode
>;

function addWatch(account: CommandUnknownOpts, session: Session): void {
  account
    .command('watch')
    .summary('set what happens with numbers that appear in an account later')
    .description(
      'Set what happens with numbers that appear in an account later: report them (the default), import them, or ignore them. It is done when the account is read in the background; sync plan shows how many are new. Numbers that are imported get the access token that has read the list. To add numbers by hand, run: number import',
    )
    .addArgument(
      new Argument('<waba>', 'Meta’s id of the account').argParser(parseMetaId('WABA id')),
    )
    .requiredOption('--tenant <id>', 'tenant that watches the account', parseId)
    .addOption(
      new Option('--mode <mode>', 'what happens')
        .choices(Object.keys(modes) as (keyof typeof modes)[])
        .makeOptionMandatory(),
    )
    .action((wabaId, { tenant, mode }) =>
      withGateway(session, async ({ access, onboarding }) => {
        await access.getTenant(tenant);
        const watch = modes[mode];
        await onboarding.setWatchMode(tenant, wabaId, watch);
        session.print(
          { wabaId, watch },
          () => `Stored ${watch} for numbers that appear in account ${wabaId} later.`,
        );
      }),
    );
}
