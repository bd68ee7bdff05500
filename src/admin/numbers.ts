// The commands that add, list and change WhatsApp numbers.

import { Argument, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import { initialStates } from '../numbers/administration.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import {
  type ConnectionState,
  connectionStates,
  type ProviderName,
  providers,
} from '../numbers/provider.ts';
import { type NewNumber, type Numbers, toOperatorAccess } from '../numbers/numbers.ts';
import { toDetail } from '../rest/numbers.ts';
import { parseId, parseMetaId, parseName, parsePhoneNumber, UsageError } from './arguments.ts';
import { parseCredentialsSource, readCredentials, readGivenCredentials } from './credentials.ts';
import { type Session, withGateway } from './session.ts';
import { toPrintable } from './table.ts';

/** Returns the command group, for further commands. */
export function addNumberCommands(
  program: CommandUnknownOpts,
  session: Session,
): CommandUnknownOpts {
  const number = program
    .command('number')
    .summary('manage WhatsApp numbers')
    .description(
      'Manage WhatsApp numbers: those of Meta’s Cloud API, and those connected by QR code.',
    );
  addAdd(number, session);
  addSetState(number, session);
  addSetCredentials(number, session);
  return number;
}

const addExamples = `
Examples:
  $ numbers-gateway number add --tenant ten_… --name Support --number 5511999999999 \\
      --provider META --phone-number-id 106540352242922 --waba-id 102290129340398 \\
      --credentials - < credentials.json
  $ numbers-gateway number add --tenant ten_… --name Sales --number 5511988888888 \\
      --provider PILOT_STATUS --instance sales --state OPEN

credentials.json contains {"accessToken":"…","appSecret":"…"}; appSecret is optional.`;

function addAdd(number: CommandUnknownOpts, session: Session): void {
  number
    .command('add')
    .summary('add a number to a tenant')
    .description(
      'Add a number to a tenant. With credentials, it is checked at Meta first whether the ids are of the right kind, belong together, and have the digits that were typed.',
    )
    .requiredOption('--tenant <id>', 'tenant of the number', parseId)
    .requiredOption('--name <name>', 'name of the number', parseName)
    .requiredOption('--number <digits>', 'phone number with country code', parsePhoneNumber)
    .addOption(
      new Option('--provider <provider>', 'META for the Cloud API, PILOT_STATUS for a QR code')
        .choices(providers)
        .makeOptionMandatory(),
    )
    .option(
      '--instance <name>',
      'PILOT_STATUS: instance name at the session engine; required when one is configured',
      parseName,
    )
    .addOption(
      new Option(
        '--state <state>',
        'connection state; by default OPEN for META, CLOSE for PILOT_STATUS',
      ).choices(connectionStates),
    )
    .option(
      '--phone-number-id <digits>',
      'META: Meta’s id of the number',
      parseMetaId('phone number id'),
    )
    .option('--waba-id <digits>', 'META: Meta’s id of its account', parseMetaId('WABA id'))
    .option(
      '--credentials <path>',
      'META: JSON file with the access token, or - for standard input',
      parseCredentialsSource,
    )
    .option('--no-check', 'META: store the ids without asking Meta')
    .addHelpText('after', addExamples)
    .action((options) => add(options, session));
}

interface AddOptions {
  readonly tenant: string;
  readonly name: string;
  readonly number: string;
  readonly provider: ProviderName;
  readonly instance?: string | undefined;
  readonly state?: ConnectionState | undefined;
  readonly phoneNumberId?: string | undefined;
  readonly wabaId?: string | undefined;
  readonly credentials?: string | undefined;
  readonly check: boolean;
}

async function add(options: AddOptions, session: Session): Promise<void> {
  checkCombination(options);
  const { tenant, credentials: source, check } = options;
  const { signal } = session.terminal;
  // Before the database is opened, since reading from a pipe can take long.
  const credentials = source === undefined ? null : await readCredentials(source, session.terminal);
  await withGateway(session, async ({ access, numbers }) => {
    await access.getTenant(tenant);
    const added = await numbers.create(
      toNewNumber(options, credentials),
      check ? { signal } : undefined,
    );
    session.print(toDetail(added), () => `Added ${formatNumber(added)}`);
  });
}

/** Throws one UsageError that names every option that is missing, or wrong for the provider. */
function checkCombination(options: AddOptions): void {
  const metaOptions = {
    '--phone-number-id': options.phoneNumberId,
    '--waba-id': options.wabaId,
    '--credentials': options.credentials,
  };
  const names = Object.entries(metaOptions);
  const problems =
    options.provider === 'META'
      ? names
          .filter(([name, value]) => value === undefined && name !== '--credentials')
          .map(([name]) => `--provider META requires ${name}; find the id in WhatsApp Manager`)
      : names
          .filter(([, value]) => value !== undefined)
          .map(([name]) => `${name} is only valid with --provider META; remove it`);
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
}

function toNewNumber(options: AddOptions, credentials: NewNumber['credentials']): NewNumber {
  return {
    tenantId: options.tenant,
    name: options.name,
    number: options.number,
    provider: options.provider,
    instanceName: options.instance ?? null,
    state: options.state ?? initialStates[options.provider],
    phoneNumberId: options.phoneNumberId ?? null,
    wabaId: options.wabaId ?? null,
    credentials,
  };
}

function addSetState(number: CommandUnknownOpts, session: Session): void {
  number
    .command('set-state')
    .summary('set the connection state of a number')
    .description(
      'Set the connection state of a number: OPEN, CONNECTING or CLOSE. The next refresh overwrites it.',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .addArgument(new Argument('<state>', 'new connection state').choices(connectionStates))
    .action((id, state) =>
      withGateway(session, async ({ numbers }) => {
        const changed = await numbers.setState(id, state);
        session.print(toDetail(changed), () => `Updated ${formatNumber(changed)}`);
      }),
    );
}

function addSetCredentials(number: CommandUnknownOpts, session: Session): void {
  number
    .command('set-credentials')
    .summary('replace the access token of a Meta number')
    .description(
      'Replace the access token and the app secret of a Meta number, for example after the token has expired.',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .option(
      '--credentials <path>',
      'JSON file with the access token, or - for standard input',
      parseCredentialsSource,
    )
    .option('--credential <id>', 'a shared credential, from: credential list', parseId)
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway number set-credentials wa_… --credentials - < credentials.json\n  $ numbers-gateway number set-credentials wa_… --credential cred_…',
    )
    .action(async (id, options) => {
      const credentials = await readGivenCredentials(options, session.terminal);
      await withGateway(session, async ({ numbers }) => {
        const before = await getStored(numbers, id);
        if (before.provider !== 'META') {
          throw new GatewayError(
            'INVALID_REQUEST',
            `Number ${id} is connected by QR code and has no credentials; the key of the session engine is set in SESSION_ENGINE_KEY.`,
          );
        }
        const changed =
          credentials === null
            ? await numbers.shareCredential(id, options.credential ?? '')
            : await numbers.setCredentials(id, credentials);
        session.print(
          toDetail(changed),
          () =>
            `Stored new credentials for ${formatNumber(changed)} Try them with: number refresh ${id}`,
        );
      });
    });
}

export async function getStored(numbers: Numbers, id: string): Promise<WhatsAppNumber> {
  const tenantId = await numbers.getTenantOf(id);
  const request = { id, refresh: null };
  return await numbers.get(toOperatorAccess(tenantId), request, AbortSignal.any([]));
}

export function formatNumber({ id, name, number, provider, state }: WhatsAppNumber): string {
  return `number ${id} (${toPrintable(name)}, ${number}): ${provider}, ${state}.`;
}
