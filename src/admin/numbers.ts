// Owns the commands about numbers, but for the live reading of many, which is refresh.ts's.

import { Argument, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import { type WhatsAppNumber } from '../numbers/number.ts';
import {
  type ConnectionState,
  connectionStates,
  type ProviderName,
  providers,
} from '../numbers/provider.ts';
import { type NewNumber, type Numbers, toOperatorAccess } from '../numbers/numbers.ts';
import { toDetail, toListItem } from '../rest/numbers.ts';
import {
  parseId,
  parseMetaId,
  parseName,
  parsePhoneNumber,
  parseSecretSource,
  UsageError,
} from './arguments.ts';
import { readCredentials } from './credentials.ts';
import { toNumberSentence, toNumberTable } from './number-text.ts';
import { addRefreshCommand } from './refresh.ts';
import { type Session, withGateway } from './session.ts';

export function addNumberCommands(program: CommandUnknownOpts, session: Session): void {
  const number = program
    .command('number')
    .summary('the WhatsApp numbers of a tenant')
    .description('Numbers: Meta’s own, and those connected by QR code.');
  addAdd(number, session);
  addList(number, session);
  addRefreshCommand(number, session);
  addSetState(number, session);
  addSetCredentials(number, session);
}

const addExamples = `
Examples:
  $ numbers-gateway number add --tenant ten_… --name Support --number 5511999999999 \\
      --provider META --phone-number-id 106540352242922 --waba-id 102290129340398 \\
      --credentials - < credentials.json
  $ numbers-gateway number add --tenant ten_… --name Sales --number 5511988888888 \\
      --provider PILOT_STATUS --instance sales --state OPEN

credentials.json: {"accessToken":"…","appSecret":"…"}, appSecret optional.`;

function addAdd(number: CommandUnknownOpts, session: Session): void {
  number
    .command('add')
    .summary('add a number to a tenant')
    .description('Add a number to a tenant. Nothing is read from Meta until somebody asks.')
    .requiredOption('--tenant <id>', 'whose number it is', parseId)
    .requiredOption('--name <name>', 'what people call it', parseName)
    .requiredOption('--number <digits>', 'with the country code', parsePhoneNumber)
    .addOption(
      new Option('--provider <provider>', 'META: Cloud API; PILOT_STATUS: QR code')
        .choices(providers)
        .makeOptionMandatory(),
    )
    .option('--instance <name>', 'its name at the session engine', parseName)
    .addOption(
      new Option(
        '--state <state>',
        'whether it is connected; OPEN for META, CLOSE for PILOT_STATUS unless given',
      ).choices(connectionStates),
    )
    .option('--phone-number-id <digits>', 'META: Meta’s id of it', parseMetaId('phone number id'))
    .option('--waba-id <digits>', 'META: Meta’s id of its account', parseMetaId('WABA id'))
    .option(
      '--credentials <path>',
      'META: JSON file with the access token, or - for standard input',
      parseSecretSource,
    )
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
}

async function add(options: AddOptions, session: Session): Promise<void> {
  refuseWrongCombination(options);
  const { tenant, credentials: source } = options;
  // Before the database is opened: somebody may still be typing at the other end of the pipe.
  const credentials = source === undefined ? null : await readCredentials(source, session.terminal);
  await withGateway(session, async ({ access, numbers }) => {
    await access.getTenant(tenant);
    const added = await numbers.create(toNewNumber(options, credentials));
    session.answer(toDetail(added), () => `Added ${toNumberSentence(added)}`);
  });
}

/** Throws a UsageError with all that is missing or out of place. */
function refuseWrongCombination(options: AddOptions): void {
  const ofMeta = {
    '--phone-number-id': options.phoneNumberId,
    '--waba-id': options.wabaId,
    '--credentials': options.credentials,
  };
  const names = Object.entries(ofMeta);
  const problems =
    options.provider === 'META'
      ? names
          .filter(([name, value]) => value === undefined && name !== '--credentials')
          .map(([name]) => `--provider META needs ${name}; WhatsApp Manager shows the id`)
      : names
          .filter(([, value]) => value !== undefined)
          .map(([name]) => `${name} is for --provider META; leave it out`);
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
}

const defaultStates: Readonly<Record<ProviderName, ConnectionState>> = {
  META: 'OPEN',
  PILOT_STATUS: 'CLOSE',
};

function toNewNumber(options: AddOptions, credentials: NewNumber['credentials']): NewNumber {
  return {
    tenantId: options.tenant,
    name: options.name,
    number: options.number,
    provider: options.provider,
    instanceName: options.instance ?? null,
    state: options.state ?? defaultStates[options.provider],
    phoneNumberId: options.phoneNumberId ?? null,
    wabaId: options.wabaId ?? null,
    credentials,
  };
}

function addList(number: CommandUnknownOpts, session: Session): void {
  number
    .command('list')
    .summary('list the numbers of a tenant')
    .description('List the numbers of a tenant as they are stored, the oldest first.')
    .requiredOption('--tenant <id>', 'whose numbers', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access, numbers }) => {
        await access.getTenant(tenant);
        const listed = await numbers.list(toOperatorAccess(tenant));
        session.answer(listed.map(toListItem), () =>
          toNumberTable(listed, 'The tenant has no numbers yet; add one with: number add'),
        );
      }),
    );
}

function addSetState(number: CommandUnknownOpts, session: Session): void {
  number
    .command('set-state')
    .summary('say whether a number is connected')
    .description(
      'Say whether a number is connected: OPEN, CONNECTING or CLOSE. The next live reading has the last word.',
    )
    .argument('<id>', 'the number, as number list shows it', parseId)
    .addArgument(new Argument('<state>', 'its connection state').choices(connectionStates))
    .action((id, state) =>
      withGateway(session, async ({ numbers }) => {
        const changed = await numbers.setState(id, state);
        session.answer(toDetail(changed), () => `Changed ${toNumberSentence(changed)}`);
      }),
    );
}

function addSetCredentials(number: CommandUnknownOpts, session: Session): void {
  number
    .command('set-credentials')
    .summary('replace the access token of a Meta number')
    .description(
      'Replace the access token and the app secret of a Meta number, for example after the token has died.',
    )
    .argument('<id>', 'the number, as number list shows it', parseId)
    .requiredOption(
      '--credentials <path>',
      'JSON file with the access token, or - for standard input',
      parseSecretSource,
    )
    .addHelpText(
      'after',
      '\nExample:\n  $ numbers-gateway number set-credentials wa_… --credentials - < credentials.json',
    )
    .action(async (id, { credentials: source }) => {
      const credentials = await readCredentials(source, session.terminal);
      await withGateway(session, async ({ numbers }) => {
        const before = await getStored(numbers, id);
        if (before.provider !== 'META') {
          throw new GatewayError(
            'INVALID_REQUEST',
            `Number ${id} is not Meta’s; the session engine’s key is configured with SESSION_ENGINE_KEY.`,
          );
        }
        const changed = await numbers.setCredentials(id, credentials);
        session.answer(
          toDetail(changed),
          () => `Stored new credentials for ${toNumberSentence(changed)} Try: number refresh ${id}`,
        );
      });
    });
}

async function getStored(numbers: Numbers, id: string): Promise<WhatsAppNumber> {
  const tenantId = await numbers.getTenantOf(id);
  const request = { id, refresh: null };
  return await numbers.get(toOperatorAccess(tenantId), request, AbortSignal.any([]));
}
