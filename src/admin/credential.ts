// The commands for shared credentials.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { CheckedCredential, SharedCredential } from '../fleet/credentials.ts';
import { parseId, parseName, UsageError } from './arguments.ts';
import { parseCredentialsSource, readCredentials } from './credentials.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatCount, formatTime, toPrintable } from './table.ts';

export function addCredentialCommands(program: CommandUnknownOpts, session: Session): void {
  const credential = program
    .command('credential')
    .summary('manage access tokens that many numbers share')
    .description(
      'Manage access tokens that many numbers share, such as those of an import. The tokens themselves are never shown.',
    );
  addList(credential, session);
  addSet(credential, session);
  addCheck(credential, session);
}

function addList(credential: CommandUnknownOpts, session: Session): void {
  credential
    .command('list')
    .summary('list the shared credentials of a tenant')
    .description('List the shared credentials of a tenant, and how many numbers use each.')
    .requiredOption('--tenant <id>', 'tenant of the credentials', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access, onboarding }) => {
        await access.getTenant(tenant);
        const listed = await onboarding.credentials.list(tenant);
        session.printTable(
          listed.map(toJson),
          columns,
          'The tenant has no shared credentials. Store one with: credential set',
        );
      }),
    );
}

const setExamples = `
Examples:
  $ numbers-gateway credential set --tenant ten_… --name fleet --credentials - < credentials.json
  $ numbers-gateway credential set cred_… --tenant ten_… --credentials - < credentials.json`;

function addSet(credential: CommandUnknownOpts, session: Session): void {
  credential
    .command('set')
    .summary('store a shared credential, or replace its access token')
    .description(
      'Store a shared credential; or, with an id, replace its access token for all numbers that use it. Meta is asked first, and a token that it refuses is not stored.',
    )
    .argument('[id]', 'id of the credential to replace, from: credential list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the credential', parseId)
    .option('--name <name>', 'name of the credential; required for a new one', parseName)
    .requiredOption(
      '--credentials <path>',
      'JSON file with the access token, or - for standard input',
      parseCredentialsSource,
    )
    .option('--no-check', 'store the token without asking Meta')
    .addHelpText('after', setExamples)
    .action(async (id, { tenant, name, credentials: source, check }) => {
      if (id === undefined && name === undefined) {
        throw new UsageError('Specify --name for a new credential, or the id of one to replace.');
      }
      const credentials = await readCredentials(source, session.terminal);
      await withGateway(session, async ({ access, onboarding }) => {
        await access.getTenant(tenant);
        const { signal } = session.terminal;
        const stored = await onboarding.credentials.set({
          tenantId: tenant,
          id: id ?? null,
          name: name ?? null,
          credentials,
          check,
          signal,
        });
        session.print(
          toJson(stored),
          () =>
            `Stored credential ${stored.id} (${toPrintable(stored.name)}) for ${formatCount(stored.numbers, 'number')}.`,
        );
      });
    });
}

function addCheck(credential: CommandUnknownOpts, session: Session): void {
  credential
    .command('check')
    .summary('ask Meta about shared credentials')
    .description(
      'Ask Meta whether shared access tokens are valid and when they expire, and store the dates. The exit code is 1 when Meta refuses one, or cannot be asked.',
    )
    .argument('[id]', 'id of the credential; by default all of the tenant', parseId)
    .requiredOption('--tenant <id>', 'tenant of the credentials', parseId)
    .action((id, { tenant }) =>
      withGateway(session, async ({ access, onboarding }) => {
        await access.getTenant(tenant);
        const checked = await onboarding.credentials.check(
          tenant,
          id ?? null,
          session.terminal.signal,
        );
        session.printTable(
          checked.map(toCheckedJson),
          [...columns, problemColumn],
          'The tenant has no shared credentials.',
        );
        for (const { credential: failed, problem } of checked) {
          if (problem === null) continue;
          // It may be valid.
          const isRefused = problem.code !== 'NOT_INSPECTED';
          const report = isRefused ? session.fail : session.warn;
          report(problem.code, `${failed.id}: ${problem.message}`);
        }
      }),
    );
}

function toJson(credential: SharedCredential) {
  const { id, name, numbers, appId, createdAt, updatedAt } = credential;
  return {
    id,
    name,
    numbers,
    appId,
    expiresAt: toIso(credential.expiresAt),
    dataAccessExpiresAt: toIso(credential.dataAccessExpiresAt),
    checkedAt: toIso(credential.checkedAt),
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

function toCheckedJson({ problem, credential }: CheckedCredential) {
  return { ...toJson(credential), problem };
}

type CredentialJson = ReturnType<typeof toJson>;

const columns: readonly Column<CredentialJson>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name, minWidth: 8 },
  { title: 'numbers', cell: ({ numbers }) => String(numbers) },
  { title: 'app', cell: ({ appId }) => appId, omitOrder: 1 },
  { title: 'expires', cell: (credential) => formatExpiry(credential) },
  {
    title: 'data access ends',
    cell: ({ dataAccessExpiresAt }) => dataAccessExpiresAt && formatTime(dataAccessExpiresAt),
    omitOrder: 2,
  },
  {
    title: 'checked',
    cell: ({ checkedAt }) => (checkedAt === null ? 'never' : formatTime(checkedAt)),
    omitOrder: 3,
  },
];

const problemColumn: Column<ReturnType<typeof toCheckedJson>> = {
  title: 'problem',
  cell: ({ problem }) => problem?.code ?? null,
  tone: () => 'bad',
};

function formatExpiry({ expiresAt, checkedAt }: CredentialJson): string | null {
  if (expiresAt !== null) return formatTime(expiresAt);
  return checkedAt === null ? null : 'never';
}

function toIso(date: Date | null): string | null {
  return date?.toISOString() ?? null;
}
