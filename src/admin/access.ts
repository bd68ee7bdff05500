// The commands for tenants, their API keys, and the audit log.

import { type CommandUnknownOpts, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { ApiKey, AuditEntry, NewApiKey, Tenant } from '../access/access.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { keyScopes, type KeyScope } from '../access/key.ts';
import { parseDuration, parseFutureDate, parseId, parseName } from './arguments.ts';
import { confirm, requireConfirmation } from './confirm.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatAge, formatCount, formatTime, toPrintable } from './table.ts';

export function addTenantCommands(program: CommandUnknownOpts, session: Session): void {
  const tenant = program
    .command('tenant')
    .summary('manage tenants')
    .description('Manage tenants. A tenant has access to its own numbers only.');
  tenant
    .command('create')
    .summary('create a tenant')
    .description('Create a tenant and print its id, which other commands require.')
    .requiredOption('--name <name>', 'name of the tenant, up to 200 characters', parseName)
    .addHelpText('after', '\nExample:\n  $ numbers-gateway tenant create --name "Acme LTDA"')
    .action(({ name }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.createTenant(name);
        session.print(
          toTenantJson(created),
          () => `Created tenant ${created.id} (${toPrintable(created.name)}).`,
        );
      }),
    );
  tenant
    .command('list')
    .summary('list all tenants')
    .description('List all tenants, oldest first.')
    .action(() =>
      withGateway(session, async ({ access }) => {
        const tenants = await access.listTenants();
        session.printTable(
          tenants.map(toTenantJson),
          tenantColumns,
          'There are no tenants. Create one with: tenant create --name NAME',
        );
      }),
    );
  addRemoveTenant(tenant, session);
}

function addRemoveTenant(tenant: CommandUnknownOpts, session: Session): void {
  tenant
    .command('remove')
    .summary('remove a tenant with its numbers and keys')
    .description(
      'Remove a tenant with its numbers, keys, credentials and everything that is stored about them. Only its audit log stays. Nothing changes at Meta or at the session engine.',
    )
    .argument('<id>', 'id of the tenant, from: tenant list', parseId)
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway tenant remove ten_…\n  $ numbers-gateway tenant remove ten_… --yes      in a script',
    )
    .action(async (id, { yes = false }) => {
      requireConfirmation(session, yes);
      await withGateway(session, async ({ access, numbers }) => {
        const { name } = await access.getTenant(id);
        const count = (await numbers.list(toOperatorAccess(id), minimalProjection)).length;
        const consequence = `This removes tenant ${id} (${name}), its ${formatCount(count, 'number')}, and all of its keys.`;
        if (!(await confirm(session, { consequence, answer: name, yes }))) return;
        const removed = await access.removeTenant(id);
        session.print(
          { ...toTenantJson(removed), numbers: removed.numbers, keys: removed.keys },
          () =>
            `Removed tenant ${id} (${toPrintable(name)}) with ${formatCount(removed.numbers, 'number')} and ${formatCount(removed.keys, 'usable key')}. Its audit log stays.`,
        );
      });
    });
}

const minimalProjection = {
  details: false,
  apiKeys: false,
  health: 'nothing',
  meta: null,
} as const;

function toTenantJson({ id, name, createdAt }: Tenant) {
  return { id, name, createdAt: createdAt.toISOString() };
}

const tenantColumns: readonly Column<ReturnType<typeof toTenantJson>>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name, minWidth: 8 },
  { title: 'created', cell: ({ createdAt }) => formatTime(createdAt), omitOrder: 1 },
];

export function addKeyCommands(program: CommandUnknownOpts, session: Session): void {
  const key = program
    .command('key')
    .summary('manage API keys')
    .description('Manage API keys, which callers send in the x-api-key header.');
  addCreateKey(key, session);
  addListKeys(key, session);
  addRevokeKey(key, session);
  addRotateKey(key, session);
}

function addCreateKey(key: CommandUnknownOpts, session: Session): void {
  key
    .command('create')
    .summary('create an API key and print it once')
    .description(
      'Create an API key and print it. Only a hash is stored, so the key cannot be shown again.',
    )
    .requiredOption('--tenant <id>', 'tenant of the key', parseId)
    .option('--number <id>', 'bind the key to this number instead of the whole tenant', parseId)
    .option('--name <name>', 'name of the key', parseName, 'default')
    .option('--expires <time>', 'expiry date or time, ISO 8601 (default: never)', parseFutureDate)
    .addOption(createScopeOption())
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway key create --tenant ten_… --name dashboard\n  $ numbers-gateway key create --tenant ten_… --number wa_… --expires 2030-12-31\n  $ numbers-gateway key create --tenant ten_… --name relay --scope webhooks\n  $ numbers-gateway key create --tenant ten_… --name board --scope operate',
    )
    .action(({ tenant, number, name, expires, scope }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.createKey({
          tenantId: tenant,
          name,
          numberId: number ?? null,
          ...(scope !== undefined && { scopes: scope }),
          expiresAt: expires ?? null,
        });
        session.print(toNewKeyJson(created), () => formatNewKey(created));
      }),
    );
}

function createScopeOption() {
  const scopes = Object.keys(keyScopes) as KeyScope[];
  return new Option(
    '--scope <scope>',
    "what the key allows, may be repeated: read, to read numbers; operate, to mute and label them, to acknowledge incidents and to request reads too; webhooks, to deliver Meta's webhooks (default: read)",
  )
    .choices(scopes)
    .argParser((text: string, former: readonly KeyScope[] | undefined) => {
      const scope = scopes.find((it) => it === text);
      if (scope === undefined)
        throw new InvalidArgumentError(`Use ${scopes.join(', ').replace(/, (\w+)$/, ' or $1')}.`);
      return [...(former ?? []), scope];
    });
}

function addListKeys(key: CommandUnknownOpts, session: Session): void {
  key
    .command('list')
    .summary('list the API keys of a tenant')
    .description(
      'List the API keys of a tenant, oldest first, including expired and revoked ones. The keys themselves are not shown.',
    )
    .requiredOption('--tenant <id>', 'tenant of the keys', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access }) => {
        const keys = await access.listKeys(tenant);
        session.printTable(
          keys.map(toKeyJson),
          keyColumns,
          'The tenant has no API keys. Create one with: key create --tenant ID',
        );
      }),
    );
}

function addRevokeKey(key: CommandUnknownOpts, session: Session): void {
  key
    .command('revoke')
    .summary('revoke an API key')
    .description('Revoke an API key immediately. Revoking a revoked key changes nothing.')
    .argument('<id>', 'id of the key, from: key list', parseId)
    .action((id) =>
      withGateway(session, async ({ access }) => {
        const revoked = await access.revokeKey(id);
        session.print(
          toKeyJson(revoked),
          () => `Revoked key ${revoked.id} (${formatHint(revoked)}).`,
        );
      }),
    );
}

function addRotateKey(key: CommandUnknownOpts, session: Session): void {
  key
    .command('rotate')
    .summary('replace an API key and print the new one once')
    .description(
      'Create a new API key with the name, number, scopes and expiry of an existing one, and print it. The old key keeps working during the overlap, so that callers can switch to the new one.',
    )
    .argument('<id>', 'id of the key to replace, from: key list', parseId)
    .addOption(
      new Option('--overlap <duration>', 'how long the old key keeps working: 0, 90s, 30m, 24h, 7d')
        .argParser(parseDuration)
        .default(parseDuration('24h'), '24h'),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway key rotate key_…                 the old key expires in 24 hours\n  $ numbers-gateway key rotate key_… --overlap 0     the old key leaked: it expires now',
    )
    .action((id, { overlap }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.rotateKey(id, overlap);
        session.print(toNewKeyJson(created), () => formatNewKey(created));
      }),
    );
}

function toNewKeyJson(created: NewApiKey) {
  const { id, name, keyPrefix, keyLast4, tenantId, numberId, scopes, expiresAt } = created;
  return {
    id,
    key: created.key,
    name,
    keyPrefix,
    keyLast4,
    tenantId,
    numberId,
    scopes,
    expiresAt: toIso(expiresAt),
  };
}

function toKeyJson({
  id,
  name,
  keyPrefix,
  keyLast4,
  tenantId,
  numberId,
  scopes,
  ...times
}: ApiKey) {
  return {
    id,
    name,
    keyPrefix,
    keyLast4,
    tenantId,
    numberId,
    scopes,
    expiresAt: toIso(times.expiresAt),
    revokedAt: toIso(times.revokedAt),
    lastUsedAt: toIso(times.lastUsedAt),
    state: toKeyState(times),
  };
}

type KeyState = 'USABLE' | 'EXPIRED' | 'REVOKED';

function toKeyState({ revokedAt, expiresAt }: Pick<ApiKey, 'revokedAt' | 'expiresAt'>): KeyState {
  if (revokedAt !== null) return 'REVOKED';
  return expiresAt !== null && expiresAt.getTime() <= Date.now() ? 'EXPIRED' : 'USABLE';
}

const keyColumns: readonly Column<ReturnType<typeof toKeyJson>>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name, minWidth: 8 },
  { title: 'key', cell: formatHint, omitOrder: 1 },
  { title: 'number', cell: ({ numberId }) => numberId, omitOrder: 4 },
  { title: 'scopes', cell: ({ scopes }) => scopes.join(', '), omitOrder: 5 },
  {
    title: 'state',
    cell: ({ state }) => state.toLowerCase(),
    tone: ({ state }) => (state === 'USABLE' ? 'good' : 'bad'),
  },
  {
    title: 'since or until',
    cell: ({ revokedAt, expiresAt }) => formatOptionalTime(revokedAt ?? expiresAt),
    omitOrder: 3,
  },
  { title: 'last used', cell: ({ lastUsedAt }) => formatLastUse(lastUsedAt), omitOrder: 2 },
];

function formatOptionalTime(timestamp: string | null): string | null {
  return timestamp === null ? null : formatTime(timestamp);
}

function formatLastUse(timestamp: string | null): string {
  if (timestamp === null) return 'never';
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(timestamp)) / 1_000));
  return `${formatAge(seconds)} ago`;
}

function formatNewKey({ id, key, numberId, scopes, expiresAt }: NewApiKey): string {
  const subject = numberId === null ? 'the whole tenant' : `number ${numberId}`;
  const expiry = expiresAt === null ? 'never expires' : `expires at ${expiresAt.toISOString()}`;
  return [
    `Created key ${id} for ${subject} with the scope ${scopes.join(' and ')}; it ${expiry}.`,
    '',
    `  ${key}`,
    '',
    'Save the key now: it is shown only once.',
  ].join('\n');
}

function formatHint({ keyPrefix, keyLast4 }: Pick<ApiKey, 'keyPrefix' | 'keyLast4'>): string {
  return `${keyPrefix}…${keyLast4}`;
}

function toIso(date: Date | null): string | null {
  return date?.toISOString() ?? null;
}

const maxAuditEntries = 10_000;

export function addAuditCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('audit')
    .summary('read the audit log')
    .description(
      'Read the audit log, which records every change of an API key or credentials, and changes and removals of numbers.',
    )
    .command('list')
    .summary('list the audit log of a tenant')
    .description(
      'List the changes of the API keys, credentials and numbers of a tenant, newest first, also of a tenant that was removed. The log contains no secrets.',
    )
    .requiredOption('--tenant <id>', 'tenant of the entries', parseId)
    .option('--limit <count>', 'maximum number of entries', parseLimit, 100)
    .action(({ tenant, limit }) =>
      withGateway(session, async ({ access }) => {
        const entries = await access.listAudit(tenant, limit);
        session.printTable(
          entries.map(toAuditJson),
          auditColumns,
          'The audit log of the tenant is empty.',
        );
      }),
    );
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!/^\d{1,5}$/.test(text) || limit < 1 || limit > maxAuditEntries) {
    throw new InvalidArgumentError(`Use a number from 1 to ${maxAuditEntries}.`);
  }
  return limit;
}

function toAuditJson({ id, at, actor, action, subject, details }: AuditEntry) {
  return { id, at: at.toISOString(), actor, action, subject, details };
}

function formatDetails(details: AuditEntry['details']): string {
  const known = Object.entries(details).filter(([, value]) => value !== null);
  return known.map(([name, value]) => `${name} ${String(value)}`).join(', ');
}

const auditColumns: readonly Column<ReturnType<typeof toAuditJson>>[] = [
  { title: 'at', cell: ({ at }) => formatTime(at) },
  { title: 'action', cell: ({ action }) => action, minWidth: 10 },
  { title: 'subject', cell: ({ subject }) => subject },
  { title: 'actor', cell: ({ actor }) => actor, omitOrder: 2 },
  { title: 'details', cell: ({ details }) => formatDetails(details), minWidth: 12, omitOrder: 1 },
];
