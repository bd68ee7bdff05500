// The commands `number discover` and `number import`.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { DiscoveryProgress, DiscoveryRequest } from '../fleet/discovery.ts';
import type {
  DiscoveredAccount,
  DiscoveredNumber,
  Discovery,
  Selection,
} from '../fleet/onboarding.ts';
import type { Gateway } from '../gateway.ts';
import type { Credentials } from '../numbers/provider.ts';
import { parseId, parseMetaIds, UsageError } from './arguments.ts';
import {
  type CredentialOptions,
  parseCredentialsSource,
  readGivenCredentials,
} from './credentials.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatCount, formatTable, formatTime, toLayout, type Tone } from './table.ts';
import { describeCause, openProgress } from './terminal.ts';

export function addDiscoverCommands(number: CommandUnknownOpts, session: Session): void {
  addDiscover(number, session);
  addImport(number, session);
}

const credentialsText = 'JSON file with the access token, or - for standard input';

/** Nothing is visible to the token. */
const nothingVisible = 3;

const discoverExamples = `
Examples:
  $ numbers-gateway number discover --tenant ten_… --credentials - < credentials.json
  $ numbers-gateway number discover --tenant ten_… --credential cred_… --json | jq '.accounts[].name'

The exit code is 3 when no account is visible to the token.`;

function addDiscover(number: CommandUnknownOpts, session: Session): void {
  number
    .command('discover')
    .summary('list the numbers that an access token can see')
    .description(
      'List the portfolios, accounts and numbers that an access token can see at Meta, and which of the numbers are new to the tenant. This changes nothing. Accounts are found by what Meta says about the token, by its portfolios, and by the assignments of a system user; name those that are missing with --waba or --business.',
    )
    .requiredOption('--tenant <id>', 'tenant to compare with', parseId)
    .option('--credentials <path>', credentialsText, parseCredentialsSource)
    .option('--credential <id>', 'a stored credential, from: credential list', parseId)
    .addHelpText('after', discoverExamples)
    .option('--waba <id>', 'an account to read as well; can be repeated', parseMetaIds('WABA id'))
    .option(
      '--business <id>',
      'a portfolio to read as well; can be repeated',
      parseMetaIds('business portfolio id'),
    )
    .action(async (options) => {
      const given = await readGivenCredentials(options, session.terminal);
      await withGateway(session, async (gateway) => {
        const request = await createRequest(gateway, options, given);
        const discovery = await withProgress(session, (onProgress) =>
          gateway.onboarding.discover(request, { signal: session.terminal.signal, onProgress }),
        );
        report(discovery, session, session.warn);
      });
    });
}

const importExamples = `
Examples:
  $ numbers-gateway number import --tenant ten_… --credentials - --all < credentials.json
  $ numbers-gateway number import --tenant ten_… --credential cred_… --waba 102290129340398

The import can be interrupted and repeated: numbers that the tenant has are left as they are.`;

function addImport(number: CommandUnknownOpts, session: Session): void {
  number
    .command('import')
    .summary('add the numbers that an access token can see')
    .description(
      'Add numbers that an access token can see at Meta and that the tenant does not have. They share one stored credential, and their names are their verified names. Nothing is changed or removed.',
    )
    .requiredOption('--tenant <id>', 'tenant of the numbers', parseId)
    .option('--credentials <path>', credentialsText, parseCredentialsSource)
    .option('--credential <id>', 'a stored credential, from: credential list', parseId)
    .addHelpText('after', importExamples)
    .option('--all', 'add every new number')
    .option(
      '--waba <id>',
      'add the new numbers of this account, or look there for --phone-number-id; can be repeated',
      parseMetaIds('WABA id'),
    )
    .option(
      '--phone-number-id <id>',
      'add this number; can be repeated',
      parseMetaIds('phone number id'),
    )
    .option(
      '--business <id>',
      'a portfolio to read as well; can be repeated',
      parseMetaIds('business portfolio id'),
    )
    .action(async (options) => {
      const selection = toSelection(options);
      const given = await readGivenCredentials(options, session.terminal);
      await withGateway(session, async (gateway) => {
        const found = await createRequest(gateway, options, given);
        const request = {
          ...found,
          selection,
          credentialId: options.credential ?? null,
          onlyGiven: options.waba !== undefined,
        };
        await runImport(gateway, request, session);
      });
    });
}

async function runImport(
  { onboarding }: Gateway,
  request: Parameters<Gateway['onboarding']['importNumbers']>[0],
  session: Session,
): Promise<void> {
  const { signal } = session.terminal;
  let added = 0;
  const onAdded = (count: number) => void (added += count);
  try {
    const discovery = await withProgress(session, (onProgress) =>
      onboarding.importNumbers(request, { signal, onProgress, onAdded }),
    );
    const { selection } = request;
    const named = selection !== 'all' && 'phoneNumberIds' in selection ? selection : null;
    // Numbers that are named may all be in the accounts that could be read.
    const isVisible = report(discovery, session, named === null ? session.fail : session.warn);
    if (named !== null && isVisible)
      reportMissing(request, named.phoneNumberIds, discovery, session);
  } catch (error) {
    const rest = `${formatCount(added, 'number')} ${added === 1 ? 'was' : 'were'} added; run the command again for the rest.`;
    if (signal.aborted) {
      session.fail('STOPPED', `${describeCause(signal.reason)} ${rest}`);
      return;
    }
    if (added > 0) session.warn('STOPPED', rest);
    throw error;
  }
}

function reportMissing(
  { onlyGiven }: DiscoveryRequest,
  ids: readonly string[],
  { accounts }: Discovery,
  session: Session,
): void {
  const seen = new Set(accounts.flatMap(({ numbers }) => numbers.map((it) => it.phoneNumberId)));
  for (const id of ids.filter((it) => !seen.has(it))) {
    session.fail(
      'NUMBER_NOT_FOUND',
      onlyGiven === true
        ? `The accounts that are named have no number with the phone number id ${id}.`
        : `No account that the token can see has the phone number id ${id}; name its account with --waba.`,
    );
  }
}

interface RequestOptions extends CredentialOptions {
  readonly tenant: string;
  readonly waba?: readonly string[] | undefined;
  readonly business?: readonly string[] | undefined;
}

async function createRequest(
  { access, onboarding }: Gateway,
  { tenant, credential = '', waba = [], business = [] }: RequestOptions,
  given: Credentials | null,
): Promise<DiscoveryRequest> {
  await access.getTenant(tenant);
  const credentials = given ?? (await onboarding.credentials.open(tenant, credential));
  return { tenantId: tenant, credentials, wabaIds: waba, businessIds: business };
}

interface SelectionOptions {
  readonly all?: true | undefined;
  readonly waba?: readonly string[] | undefined;
  readonly phoneNumberId?: readonly string[] | undefined;
  readonly business?: readonly string[] | undefined;
}

function toSelection({ all, waba, phoneNumberId, business }: SelectionOptions): Selection {
  const selected = phoneNumberId ?? waba;
  if ((all === undefined) === (selected === undefined)) {
    throw new UsageError('Specify what to add: either --all, --waba or --phone-number-id.');
  }
  if (waba !== undefined && business !== undefined) {
    throw new UsageError(
      'Specify either --waba or --business: with --waba, only the accounts that are named are read.',
    );
  }
  if (phoneNumberId !== undefined) return { phoneNumberIds: phoneNumberId };
  return waba === undefined ? 'all' : { wabaIds: waba };
}

async function withProgress<T>(
  { terminal }: Session,
  work: (onProgress: (progress: DiscoveryProgress) => void) => Promise<T>,
): Promise<T> {
  using stack = new DisposableStack();
  let bar: ReturnType<typeof openProgress> | null = null;
  let shown = 0;
  return await work(({ accounts, total, numbers }) => {
    bar ??= stack.use(openProgress(terminal, total, { action: 'Reading', items: 'accounts' }));
    bar.advance(accounts - shown);
    shown = accounts;
    bar.note(`${numbers} numbers`);
  });
}

/** Prints what was found. `tell` reports what could not be read. Returns whether anything is visible to the token. */
function report(discovery: Discovery, session: Session, tell: Session['warn']): boolean {
  const { accounts, leftOut } = discovery;
  session.print(toJson(discovery), () => formatDiscovery(discovery, session));
  for (const { id, name, problem } of accounts) {
    if (problem !== null) tell(problem.code, `Account ${name ?? id}: ${problem.message}`);
  }
  if (leftOut > 0) {
    const further = formatCount(leftOut, 'further account');
    tell('TOO_MANY', `Not read: ${further}. Select accounts with --waba.`);
  }
  const skipped = countResults(discovery, 'SKIPPED');
  if (skipped > 0) {
    const numbers = formatCount(skipped, 'number');
    session.warn('SKIPPED', `Meta shows no digits of ${numbers}. Type them with: number add`);
  }
  const isVisible = accounts.some(({ problem, numbers }) => problem === null || numbers.length > 0);
  if (!isVisible) reportInvisible(discovery, session);
  return isVisible;
}

function reportInvisible({ accounts, ways }: Discovery, session: Session): void {
  const reasons = ways.flatMap(({ way, accounts: found, problems }) => {
    const texts = problems.map(({ message }) => message);
    if (found === 0 && texts.length === 0) texts.push(...foundNothing[way]);
    return texts.map((text) => `\n- ${wayNames[way]}: ${text}`);
  });
  const found = accounts.length === 0 ? 'No account is' : 'The numbers of no account are';
  session.fail(
    'NOTHING_VISIBLE',
    `${found} visible to the token.${reasons.join('')}`,
    nothingVisible,
  );
}

const wayNames = {
  ids: 'Given accounts',
  token: 'What Meta says about the token',
  portfolios: 'Portfolios of the token',
  assigned: 'Accounts assigned to a system user',
} as const;

/** Why a way without a problem has found nothing. */
const foundNothing = {
  ids: [],
  token: ['It names no account.'],
  portfolios: ['They have no account.'],
  assigned: ['There are none.'],
} as const;

function toJson({ token, ways, accounts, leftOut }: Discovery) {
  return {
    token: token && {
      appId: token.appId,
      isValid: token.isValid,
      expiresAt: token.expiresAt?.toISOString() ?? null,
      dataAccessExpiresAt: token.dataAccessExpiresAt?.toISOString() ?? null,
    },
    ways,
    accounts,
    leftOut,
  };
}

interface Row {
  readonly account: DiscoveredAccount;
  /** Null for an account without numbers. */
  readonly number: DiscoveredNumber | null;
}

function formatDiscovery(discovery: Discovery, { terminal }: Session): string {
  const { accounts, token } = discovery;
  const rows = accounts
    .toSorted((a, b) => toSortKey(a).localeCompare(toSortKey(b)))
    .flatMap((account): readonly Row[] =>
      account.numbers.length === 0
        ? [{ account, number: null }]
        : account.numbers.map((number) => ({ account, number })),
    );
  const ends = [
    ['The token expires', token?.expiresAt],
    ['Its permission to read data ends', token?.dataAccessExpiresAt],
  ] as const;
  return [
    ...(rows.length === 0 ? [] : [formatTable(rows, columns, toLayout(terminal.stdout))]),
    formatCounts(discovery),
    ...ends.flatMap(([text, at]) => (at ? [`${text} at ${formatTime(at.toISOString())}.`] : [])),
  ].join('\n');
}

function toSortKey({ portfolio, name, id }: DiscoveredAccount): string {
  return [portfolio?.name ?? portfolio?.id ?? '', name ?? '', id].join('\n');
}

function formatCounts(discovery: Discovery): string {
  const { accounts } = discovery;
  const total = accounts.reduce((sum, { numbers }) => sum + numbers.length, 0);
  const counts = (['ADDED', 'NEW', 'KNOWN', 'SKIPPED'] as const).flatMap((result) => {
    const count = countResults(discovery, result);
    return count === 0 ? [] : [`${count} ${result.toLowerCase()}`];
  });
  const detail = counts.length === 0 ? '' : `: ${counts.join(', ')}`;
  return `${formatCount(total, 'number')} in ${formatCount(accounts.length, 'account')}${detail}.`;
}

function countResults({ accounts }: Discovery, result: DiscoveredNumber['result']): number {
  return accounts.flatMap(({ numbers }) => numbers.filter((it) => it.result === result)).length;
}

const columns: readonly Column<Row>[] = [
  {
    title: 'portfolio',
    cell: ({ account: { portfolio } }) => portfolio?.name ?? portfolio?.id ?? null,
    omitOrder: 2,
  },
  { title: 'account', cell: ({ account: { id, name } }) => name ?? id, minWidth: 8 },
  { title: 'later numbers', cell: ({ account: { watch } }) => watch, omitOrder: 4 },
  { title: 'number', cell: ({ number }) => number?.number ?? null },
  { title: 'name', cell: ({ number }) => number?.verifiedName ?? null, minWidth: 8 },
  {
    title: 'phone number id',
    cell: ({ number }) => number?.phoneNumberId ?? null,
    omitOrder: 3,
  },
  { title: 'status', cell: ({ number }) => toStatus(number), omitOrder: 1 },
  { title: 'result', cell: (row) => toResult(row), tone: (row) => toResultTone(row) },
];

/** With what a number is that cannot be used like others: for tests, not registered, or on premises. */
function toStatus(number: DiscoveredNumber | null): string | null {
  if (number === null) return null;
  const { status, accountMode, platformType } = number;
  const words = [
    status,
    accountMode === 'SANDBOX' ? accountMode : null,
    platformType === 'NOT_APPLICABLE' ? 'NOT_REGISTERED' : null,
    platformType === 'ON_PREMISE' ? platformType : null,
  ].filter((word) => word !== null);
  return words.length === 0 ? null : words.join(' ');
}

function toResult({ account, number }: Row): string {
  if (number !== null) return number.result;
  return account.problem === null ? 'EMPTY' : 'REFUSED';
}

function toResultTone(row: Row): Tone | null {
  const result = toResult(row);
  if (result === 'NEW' || result === 'ADDED') return 'good';
  return result === 'REFUSED' || result === 'SKIPPED' ? 'bad' : null;
}
