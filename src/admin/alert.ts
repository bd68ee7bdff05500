// The commands for the endpoints that alerts are sent to.

import { type CommandUnknownOpts, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { AlertEndpoint, EndpointFormat, NewAlertEndpoint } from '../alerts/endpoints.ts';
import { type RuleName, ruleNames } from '../alerts/rules.ts';
import { parseDuration, parseId, UsageError } from './arguments.ts';
import { readSecretText } from './credentials.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatCount, formatTime } from './table.ts';

export function addAlertCommands(program: CommandUnknownOpts, session: Session): void {
  const alert = program
    .command('alert')
    .summary('manage the endpoints of alerts')
    .description('Manage the endpoints that alerts of a tenant are sent to.');
  addAdd(alert, session);
  addList(alert, session);
  addTest(alert, session);
  addRotate(alert, session);
  addRemove(alert, session);
  addResend(alert, session);
}

const formats = {
  standard: 'STANDARD',
  slack: 'SLACK',
  changes: 'CHANGES',
} as const satisfies Record<string, EndpointFormat>;

const addExamples = `
Examples:
  $ echo https://hooks.example.com/alerts | numbers-gateway alert add --tenant ten_… --url -
  $ numbers-gateway alert add --tenant ten_… --format slack --rule SENDABLE_LOST --url slack-url.txt

The rules: ${ruleNames.join(', ')}.`;

function addAdd(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('add')
    .summary('add an endpoint and print its signing secret once')
    .description(
      'Add an endpoint and print the secret that its messages are signed with. The URL may be a secret itself, so it comes from a file or from standard input. Format standard sends incidents as Standard Webhooks 1.0, slack sends them to an incoming webhook of Slack, and changes sends every change.',
    )
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .requiredOption('--url <path>', 'file with the URL, or - for standard input', parsePath)
    .addOption(
      new Option('--format <format>', 'what is sent')
        .choices(Object.keys(formats) as (keyof typeof formats)[])
        .default('standard' as const),
    )
    .addOption(
      new Option(
        '--rule <rule>',
        'rule whose incidents are sent, may be repeated (default: all)',
      ).argParser(parseRule),
    )
    .addHelpText('after', addExamples)
    .action(async ({ tenant, url: source, format, rule: rules = [] }) => {
      if (format === 'changes' && rules.length > 0) {
        throw new UsageError(
          '--rule chooses incidents, and the format changes sends every change instead. Leave --rule out, or use another format.',
        );
      }
      const url = (await readSecretText('--url', source, session.terminal)).trim();
      await withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        const request = { tenantId: tenant, url, format: formats[format], rules };
        const added = await alertEndpoints.add(request);
        session.print(toNewJson(added), () => formatNew('Added', added, tenant));
      });
    });
}

function parseRule(text: string, former: readonly RuleName[] | undefined): readonly RuleName[] {
  const rule = ruleNames.find((name) => name === text);
  if (rule === undefined) throw new InvalidArgumentError(`Use one of ${ruleNames.join(', ')}.`);
  return [...new Set([...(former ?? []), rule])];
}

function addList(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('list')
    .summary('list the endpoints of a tenant')
    .description(
      'List the endpoints of a tenant and how the last attempt to send to each ended. Of the URLs only the host is shown.',
    )
    .requiredOption('--tenant <id>', 'tenant of the endpoints', parseId)
    .action(({ tenant }) =>
      withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        const listed = await alertEndpoints.list(tenant);
        session.printTable(
          listed.map(toJson),
          columns,
          'The tenant has no endpoints for alerts. Add one with: alert add --tenant ID --url -',
        );
      }),
    );
}

function addTest(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('test')
    .summary('send a test message to an endpoint')
    .description(
      'Send a test message to an endpoint at once and print the status of its response. If the endpoint is off and accepts the message, it is switched on.',
    )
    .argument('<id>', 'id of the endpoint, from: alert list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .action((id, { tenant }) =>
      withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        const result = await alertEndpoints.test(tenant, id);
        const { accepted, outcome, switchedOn } = result;
        const done = switchedOn ? 'accepted the message and is on again' : 'accepted the message';
        session.print(
          { id, ...result },
          () => `Endpoint ${id} ${accepted ? done : 'failed'} (${outcome}).`,
        );
        if (!accepted) session.fail('NOT_ACCEPTED', toAdvice(outcome));
      }),
    );
}

/** What to do about an outcome that is no success. */
function toAdvice(outcome: string): string {
  const advice: Readonly<Record<string, string>> = {
    ADDRESS_REFUSED:
      'The name leads to an address that is not public. ALERT_ALLOW_CIDR allows networks of your own.',
    NAME_UNKNOWN: 'The name of the host is unknown; check the URL and the DNS.',
    CERTIFICATE_INVALID: 'The certificate of the host is not valid for its name, or not trusted.',
    CONNECTION_FAILED: 'No connection to the host was possible, or it broke.',
    RESPONSE_INVALID: 'The host did not answer with HTTP.',
    TIMEOUT: 'The host did not answer within 15 seconds.',
  };
  const isRedirect = outcome.startsWith('3');
  const statusAdvice = isRedirect
    ? 'Redirects are not followed; add the endpoint with the final URL.'
    : 'Only a status of 2xx is a success.';
  return `The endpoint did not accept the message: ${outcome}. ${advice[outcome] ?? statusAdvice}`;
}

function addRotate(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('rotate')
    .summary('replace the signing secret of an endpoint and print the new one once')
    .description(
      'Replace the secret that the messages of an endpoint are signed with. During the overlap each message has a signature by both.',
    )
    .argument('<id>', 'id of the endpoint, from: alert list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .addOption(
      new Option(
        '--overlap <duration>',
        'how long the former secret signs too: 0, 90s, 30m, 24h, 7d',
      )
        .argParser(parseDuration)
        .default(parseDuration('24h'), '24h'),
    )
    .action((id, { tenant, overlap }) =>
      withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        const rotated = await alertEndpoints.rotate(tenant, id, overlap);
        session.print(toNewJson(rotated), () => formatNew('Changed', rotated, tenant));
      }),
    );
}

function addRemove(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('remove')
    .summary('remove an endpoint')
    .description('Remove an endpoint. What was still to be sent to it is not sent any more.')
    .argument('<id>', 'id of the endpoint, from: alert list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .action((id, { tenant }) =>
      withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        await alertEndpoints.remove(tenant, id);
        session.print({ id }, () => `Removed endpoint ${id}.`);
      }),
    );
}

function addResend(alert: CommandUnknownOpts, session: Session): void {
  alert
    .command('resend')
    .summary('send again what an endpoint has missed')
    .description(
      'Queue everything after a cursor of the feed for an endpoint once more. Messages about incidents have the same ids as the first time. At most 1,000 messages about incidents, or 2,000 changes.',
    )
    .argument('<id>', 'id of the endpoint, from: alert list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the endpoint', parseId)
    .requiredOption('--from <cursor>', 'cursor of the last message that arrived', parseId)
    .action((id, { tenant, from }) =>
      withGateway(session, async ({ access, alertEndpoints }) => {
        await access.getTenant(tenant);
        const { queued, next } = await alertEndpoints.resend(tenant, id, from);
        const more =
          next === null
            ? ''
            : ` There is more: alert resend ${id} --tenant ${tenant} --from ${next}`;
        session.print(
          { id, queued, next },
          () => `Queued ${formatCount(queued, 'message')}.${more}`,
        );
      }),
    );
}

/** The value of `--url`. Rejects the URL itself, which other users of the machine could see. */
function parsePath(text: string): string {
  if (text === '' || /:\/\/|\0/.test(text)) {
    throw new UsageError(
      '--url takes the path of a file with the URL, or - for standard input. Do not pass the URL itself: it may be a secret, and other users of this machine can see the arguments of a command.',
    );
  }
  return text;
}

function toJson({ failingSince, lastAttemptAt, createdAt, ...endpoint }: AlertEndpoint) {
  const { id, host, format, rules, state, offReason, lastOutcome } = endpoint;
  return {
    id,
    host,
    format,
    rules,
    state,
    offReason,
    failingSince: failingSince?.toISOString() ?? null,
    lastOutcome,
    lastAttemptAt: lastAttemptAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  };
}

function toNewJson({ id, host, format, rules, secret }: NewAlertEndpoint) {
  return { id, host, format, rules, secret };
}

const columns: readonly Column<ReturnType<typeof toJson>>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'host', cell: ({ host }) => host, minWidth: 12 },
  { title: 'format', cell: ({ format }) => format.toLowerCase() },
  {
    title: 'state',
    cell: ({ state, offReason }) => (offReason === null ? state : `${state} ${offReason}`),
    tone: ({ state }) => (state === 'OFF' ? 'bad' : null),
  },
  { title: 'last', cell: ({ lastOutcome }) => lastOutcome },
  {
    title: 'rules',
    cell: ({ rules }) => (rules.length === 0 ? 'all' : rules.join(' ')),
    minWidth: 8,
    omitOrder: 1,
  },
  { title: 'added', cell: ({ createdAt }) => formatTime(createdAt), omitOrder: 2 },
];

function formatNew(done: string, { id, host, secret }: NewAlertEndpoint, tenantId: string): string {
  const title = `${done} endpoint ${id} at ${host}.`;
  const test = `Try it with: alert test ${id} --tenant ${tenantId}`;
  if (secret === null) return `${title}\n${test}`;
  return [
    title,
    '',
    `  secret  ${secret}`,
    '',
    'Save the secret now: it is shown only once. Verify messages with it, as https://www.standardwebhooks.com says.',
    test,
  ].join('\n');
}
