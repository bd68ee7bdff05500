// The commands for the endpoints that receive webhooks.

import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import type { NewWebhookEndpoint, Proof, WebhookEndpoint } from '../webhooks/webhooks.ts';
import { parseId, UsageError } from './arguments.ts';
import { readSecretText } from './credentials.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatCount, formatTime } from './table.ts';
import type { Terminal } from './terminal.ts';

export function addWebhookCommands(program: CommandUnknownOpts, session: Session): void {
  const meta = program
    .command('webhook')
    .summary('manage webhooks')
    .description('Manage what is sent to the gateway.')
    .command('meta')
    .summary("manage the endpoints for Meta's webhooks")
    .description(
      "Manage the endpoints for Meta's webhooks. Meta sends them to one URL for each app; test/relays/README.md shows how to pass them on from yours.",
    );
  addAdd(meta, session);
  addList(meta, session);
  addRotate(meta, session);
  addRemove(meta, session);
}

const proofs = { signed: 'SIGNED', key: 'KEY' } as const satisfies Record<string, Proof>;

const addExamples = `
Examples:
  $ numbers-gateway webhook meta add --tenant ten_… --secrets - < secrets.json
  $ numbers-gateway webhook meta add --tenant ten_… --proof key

The secrets are a JSON object: {"appSecret": "…"}, or {"appSecrets": ["…", "…"]} for several apps.`;

function addAdd(meta: CommandUnknownOpts, session: Session): void {
  meta
    .command('add')
    .summary('create an endpoint and print its verify token once')
    .description(
      "Create an endpoint and print its path and its verify token. With the proof signed, it accepts what Meta signed with the secret of your app, from Meta or through a relay that passes on the body's bytes. With the proof key, it accepts what a relay sends with an API key of the scope webhooks.",
    )
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .addOption(
      new Option('--proof <proof>', 'how senders prove who they are')
        .choices(Object.keys(proofs) as (keyof typeof proofs)[])
        .default('signed' as const),
    )
    .option(
      '--secrets <path>',
      'JSON file with the app secrets, or - for standard input',
      parsePath,
    )
    .addHelpText('after', addExamples)
    .action(async ({ tenant, proof, secrets }) => {
      const appSecrets = await readAppSecrets(secrets, session.terminal);
      await withGateway(session, async ({ access, webhooks }) => {
        await access.getTenant(tenant);
        const request = { tenantId: tenant, proof: proofs[proof], appSecrets };
        const added = await webhooks.add(request);
        session.print(toNewJson(added), () => formatNew('Created', added));
      });
    });
}

function addList(meta: CommandUnknownOpts, session: Session): void {
  meta
    .command('list')
    .summary('list the endpoints of a tenant')
    .description('List the endpoints of a tenant with their paths, without their secrets.')
    .requiredOption('--tenant <id>', 'tenant of the endpoints', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access, webhooks }) => {
        await access.getTenant(tenant);
        const listed = await webhooks.list(tenant);
        session.printTable(
          listed.map(toJson),
          columns,
          'The tenant has no webhook endpoints. Create one with: webhook meta add --tenant ID',
        );
      }),
    );
}

function addRotate(meta: CommandUnknownOpts, session: Session): void {
  meta
    .command('rotate')
    .summary('replace the verify token and the app secrets of an endpoint')
    .description(
      'Replace the verify token of an endpoint and print the new one, which Meta asks for only when the URL is entered again. With the proof signed, replace the app secrets too; --keep accepts the former ones beside the new ones. The path stays.',
    )
    .argument('<id>', 'id of the endpoint, from: webhook meta list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .option(
      '--secrets <path>',
      'JSON file with the app secrets, or - for standard input',
      parsePath,
    )
    .option('--keep', 'also accept the former app secrets')
    .addHelpText(
      'after',
      '\nExample:\n  $ numbers-gateway webhook meta rotate whe_… --tenant ten_… --keep --secrets - < secrets.json',
    )
    .action(async (id, { tenant, secrets, keep = false }) => {
      const appSecrets = await readAppSecrets(secrets, session.terminal);
      await withGateway(session, async ({ access, webhooks }) => {
        await access.getTenant(tenant);
        const rotated = await webhooks.rotate({
          tenantId: tenant,
          id,
          appSecrets,
          keepsFormer: keep,
        });
        session.print(toNewJson(rotated), () => formatNew('Changed', rotated));
      });
    });
}

function addRemove(meta: CommandUnknownOpts, session: Session): void {
  meta
    .command('remove')
    .summary('remove an endpoint')
    .description(
      'Remove an endpoint; what is sent to it is answered with 404 at once. The events that it received stay.',
    )
    .argument('<id>', 'id of the endpoint, from: webhook meta list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .action((id, { tenant }) =>
      withGateway(session, async ({ access, webhooks }) => {
        await access.getTenant(tenant);
        await webhooks.remove(tenant, id);
        session.print({ id }, () => `Removed webhook endpoint ${id}.`);
      }),
    );
}

/** The value of `--secrets`. Rejects the secrets themselves, which other users of the machine could see. */
function parsePath(text: string): string {
  if (text === '' || /^\s*[{["]|\0|^[0-9a-f]{32}$/i.test(text)) {
    throw new UsageError(
      '--secrets takes the path of a JSON file, or - for standard input. Do not pass the secrets themselves: other users of this machine can see the arguments of a command.',
    );
  }
  return text;
}

/** None without a source. What this throws contains nothing of the content. */
async function readAppSecrets(
  source: string | undefined,
  terminal: Terminal,
): Promise<readonly string[]> {
  if (source === undefined) return [];
  const text = await readSecretText('--secrets', source, terminal);
  const { appSecret, appSecrets = [appSecret], ...others } = parseObject(text);
  const isUnknown = Object.keys(others).length > 0;
  if (isUnknown || !Array.isArray(appSecrets) || !appSecrets.every(isSecret))
    throw invalidSecrets();
  return appSecrets;
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text.replace(/^\u{FEFF}/u, ''));
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...json };
  } catch {
    // As below.
  }
  throw invalidSecrets();
}

function isSecret(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,4096}$/.test(value);
}

function invalidSecrets(): GatewayError {
  return new GatewayError(
    'INVALID_REQUEST',
    'The secrets are not valid. Expected a JSON object with appSecret, a string without spaces, or with appSecrets, a list of them.',
  );
}

function toJson({ id, path, proof, appSecrets, createdAt, updatedAt }: WebhookEndpoint) {
  return {
    id,
    path,
    proof,
    appSecrets,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

function toNewJson({ id, path, verifyToken, proof }: NewWebhookEndpoint) {
  return { id, path, verifyToken, proof };
}

const columns: readonly Column<ReturnType<typeof toJson>>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'path', cell: ({ path }) => path, minWidth: 12 },
  { title: 'proof', cell: ({ proof }) => proof.toLowerCase() },
  { title: 'secrets', cell: ({ appSecrets }) => String(appSecrets), omitOrder: 2 },
  { title: 'created', cell: ({ createdAt }) => formatTime(createdAt), omitOrder: 1 },
  { title: 'changed', cell: ({ updatedAt }) => formatTime(updatedAt), omitOrder: 3 },
];

function formatNew(done: string, endpoint: NewWebhookEndpoint): string {
  const { id, path, verifyToken, proof, appSecrets } = endpoint;
  const accepts =
    proof === 'SIGNED'
      ? `what is signed with ${formatCount(appSecrets, 'app secret')}`
      : 'what is sent with an API key of the scope webhooks';
  return [
    `${done} webhook endpoint ${id}, which accepts ${accepts}.`,
    '',
    `  path          ${path}`,
    `  verify token  ${verifyToken}`,
    '',
    'Save the verify token now: it is shown only once.',
  ].join('\n');
}
