// Owns the commands about the database's shape and its tenants.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Tenant } from '../access/access.ts';
import { parseName } from './arguments.ts';
import { openGateway, readCommandConfig } from './opening.ts';
import { type Session, withGateway } from './session.ts';
import { toPrintable, toTable } from './terminal.ts';

export function addMigrateCommand(program: CommandUnknownOpts, session: Session): void {
  program
    .command('migrate')
    .summary('bring the database up to date')
    .description(
      'Apply the migrations that the database lacks, as a role that owns the tables. Safe to run again, also while the gateway serves.',
    )
    .action(async () => {
      const { terminal, answer } = session;
      await using opened = await openGateway(readCommandConfig(terminal), terminal);
      const applied = await opened.gateway.database.migrate();
      answer({ applied }, () =>
        applied.length === 0
          ? 'The database is up to date.'
          : [`Applied ${applied.length} migration(s):`, ...applied].join('\n  '),
      );
    });
}

export function addTenantCommands(program: CommandUnknownOpts, session: Session): void {
  const tenant = program
    .command('tenant')
    .summary('the customers whose numbers are kept apart')
    .description('Tenants: each sees its own numbers and keys, and nothing of the others.');
  tenant
    .command('create')
    .summary('create a tenant')
    .description('Create a tenant and show its id, which the other commands ask for.')
    .requiredOption('--name <name>', 'what people call it, up to 200 characters', parseName)
    .addHelpText('after', '\nExample:\n  $ numbers-gateway tenant create --name "Acme LTDA"')
    .action(({ name }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.createTenant(name);
        session.answer(
          toJson(created),
          () => `Created tenant ${created.id} (${toPrintable(created.name)}).`,
        );
      }),
    );
  tenant
    .command('list')
    .summary('list all tenants')
    .description('List all tenants, the oldest first.')
    .action(() =>
      withGateway(session, async ({ access }) => {
        const tenants = await access.listTenants();
        session.answer(tenants.map(toJson), (rows) =>
          toTable(
            ['id', 'name', 'created'],
            rows.map(({ id, name, createdAt }) => [id, name, createdAt]),
            'There are no tenants yet; make one with: tenant create --name NAME',
          ),
        );
      }),
    );
}

function toJson({ id, name, createdAt }: Tenant) {
  return { id, name, createdAt: createdAt.toISOString() };
}
