// Owns the commands about API keys.

import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { ApiKey, NewApiKey } from '../access/access.ts';
import { parseDuration, parseFuture, parseId, parseName } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import { toTable } from './terminal.ts';

export function addKeyCommands(program: CommandUnknownOpts, session: Session): void {
  const key = program
    .command('key')
    .summary('the API keys of a tenant')
    .description('API keys: what callers send in the x-api-key header.');
  addCreate(key, session);
  addList(key, session);
  addRevoke(key, session);
  addRotate(key, session);
}

function addCreate(key: CommandUnknownOpts, session: Session): void {
  key
    .command('create')
    .summary('make a key and show it, once')
    .description('Make a key and show it. Only its hash is kept: it cannot be shown again.')
    .requiredOption('--tenant <id>', 'whose key it is', parseId)
    .option('--number <id>', 'bind it to one number; otherwise it is the whole tenant’s', parseId)
    .option('--name <name>', 'what people know it by', parseName, 'default')
    .option('--expires <time>', 'when it ends, ISO 8601; otherwise never', parseFuture)
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway key create --tenant ten_… --name dashboard\n  $ numbers-gateway key create --tenant ten_… --number wa_… --expires 2030-12-31',
    )
    .action(({ tenant, number, name, expires }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.createKey({
          tenantId: tenant,
          name,
          numberId: number ?? null,
          expiresAt: expires ?? null,
        });
        session.answer(toNewJson(created), () => toOnceText(created));
      }),
    );
}

function addList(key: CommandUnknownOpts, session: Session): void {
  key
    .command('list')
    .summary('list the keys of a tenant')
    .description('List the keys of a tenant, the oldest first, with those that no longer work.')
    .requiredOption('--tenant <id>', 'whose keys', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access }) => {
        const keys = await access.listKeys(tenant);
        session.answer(keys.map(toJson), () =>
          toTable(
            ['id', 'name', 'key', 'number', 'state', 'last used'],
            keys.map((it) => [
              it.id,
              it.name,
              toHintText(it),
              it.numberId,
              toStateText(it),
              toIso(it.lastUsedAt) ?? 'never',
            ]),
            'The tenant has no keys yet; make one with: key create --tenant ID',
          ),
        );
      }),
    );
}

function addRevoke(key: CommandUnknownOpts, session: Session): void {
  key
    .command('revoke')
    .summary('refuse a key from now on')
    .description('Refuse a key from now on. Revoking it again changes nothing.')
    .argument('<id>', 'the key, as key list shows it', parseId)
    .action((id) =>
      withGateway(session, async ({ access }) => {
        const revoked = await access.revokeKey(id);
        session.answer(
          toJson(revoked),
          () => `Revoked key ${revoked.id} (${toHintText(revoked)}).`,
        );
      }),
    );
}

function addRotate(key: CommandUnknownOpts, session: Session): void {
  key
    .command('rotate')
    .summary('replace a key by a new one and show it, once')
    .description(
      'Make a new key with the name, scope and expiry of an old one, and show it. The old one goes on working for the overlap, so that callers can change over.',
    )
    .argument('<id>', 'the key to replace, as key list shows it', parseId)
    .addOption(
      new Option('--overlap <duration>', 'how long the old key goes on: 0, 90s, 30m, 24h, 7d')
        .argParser(parseDuration)
        .default(parseDuration('24h'), '24h'),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway key rotate key_…                 the old key ends in 24 hours\n  $ numbers-gateway key rotate key_… --overlap 0     it has leaked: end it now',
    )
    .action((id, { overlap }) =>
      withGateway(session, async ({ access }) => {
        const created = await access.rotateKey(id, overlap);
        session.answer(toNewJson(created), () => toOnceText(created));
      }),
    );
}

function toNewJson(created: NewApiKey) {
  const { id, name, keyPrefix, keyLast4, tenantId, numberId, expiresAt } = created;
  return {
    id,
    key: created.key,
    name,
    keyPrefix,
    keyLast4,
    tenantId,
    numberId,
    expiresAt: toIso(expiresAt),
  };
}

function toJson({ id, name, keyPrefix, keyLast4, tenantId, numberId, ...times }: ApiKey) {
  return {
    id,
    name,
    keyPrefix,
    keyLast4,
    tenantId,
    numberId,
    expiresAt: toIso(times.expiresAt),
    revokedAt: toIso(times.revokedAt),
    lastUsedAt: toIso(times.lastUsedAt),
  };
}

function toOnceText({ id, key, numberId, expiresAt }: NewApiKey): string {
  const scope = numberId === null ? 'the tenant' : `number ${numberId}`;
  const end = expiresAt === null ? 'does not expire' : `expires at ${expiresAt.toISOString()}`;
  return [
    `Key ${id} of ${scope}; it ${end}.`,
    '',
    `  ${key}`,
    '',
    'Keep it now: it is shown this once and cannot be had again.',
  ].join('\n');
}

function toHintText({ keyPrefix, keyLast4 }: ApiKey): string {
  return `${keyPrefix}…${keyLast4}`;
}

function toStateText({ revokedAt, expiresAt }: ApiKey): string {
  if (revokedAt !== null) return `revoked ${revokedAt.toISOString()}`;
  if (expiresAt === null) return 'usable';
  const expired = expiresAt.getTime() <= Date.now();
  return `${expired ? 'expired' : 'usable until'} ${expiresAt.toISOString()}`;
}

function toIso(date: Date | null): string | null {
  return date?.toISOString() ?? null;
}
