// The command `fleet watch`, which prints changes as they are committed.

import { type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';
import { readGatewayKey } from '../config.ts';
import { parseUpstreamUrl } from '../config/values.ts';
import { GatewayError } from '../errors.ts';
import type { ChangePage } from '../history/change.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toChange } from '../rest/change.ts';
import { parseId } from './arguments.ts';
import {
  type ChangeJson,
  createFindNames,
  createNumberNames,
  newColumn,
  type NumberNames,
  previousColumn,
  sourceColumn,
  subjectColumn,
  timeColumn,
} from './change-text.ts';
import { type Session, withGateway } from './session.ts';
import { createRunningTable, toLayout } from './table.ts';
import { findNamesOfRunning, watchRunning } from './watch-url.ts';

const examples = `
Examples:
  $ numbers-gateway fleet watch --tenant ten_…
  $ numbers-gateway fleet watch --tenant ten_… | jq -r 'select(.field == "VERDICT") | .numberId'
  $ numbers-gateway fleet watch --tenant ten_… --after c1.…
  $ GATEWAY_KEY=ps_… numbers-gateway fleet watch --url http://localhost:4000`;

export function addWatchCommand(fleet: CommandUnknownOpts, session: Session): void {
  fleet
    .command('watch')
    .summary('print the changes of a tenant’s numbers as they happen')
    .description(
      'Print the changes of a tenant’s numbers as they happen, the newest last: a table on a terminal, one line of JSON for each change in a pipe or with --json. It goes on when the database or the gateway was restarted. Ctrl+C ends it.',
    )
    .option('--tenant <id>', 'tenant of the numbers', parseId)
    .option(
      '--url <url>',
      'follow the gateway that runs there, for example a demo, instead of the database; the variable GATEWAY_KEY has an API key of the tenant',
      parseGatewayUrl,
    )
    .option(
      '--after <cursor>',
      'begin after this cursor, which each line of JSON has; by default now',
    )
    .addHelpText('after', examples)
    .action((options) => watch(options, session));
}

interface WatchOptions {
  readonly tenant?: string | undefined;
  readonly url?: URL | undefined;
  readonly after?: string | undefined;
}

/** The key is sent there. */
function parseGatewayUrl(text: string): URL {
  try {
    return parseUpstreamUrl(text);
  } catch (error) {
    throw new InvalidArgumentError(`The URL ${(error as Error).message}.`);
  }
}

async function watch({ tenant, url, after }: WatchOptions, session: Session): Promise<void> {
  const { stdout, environment } = session.terminal;
  // Its reader may have ended, as in `… | head`.
  const closed = new AbortController();
  stdout.once('error', () => closed.abort());
  const signal = AbortSignal.any([session.terminal.signal, closed.signal]);
  if ((url === undefined) === (tenant === undefined)) {
    const message = 'Give either --tenant ID, or --url URL to follow a gateway that is running.';
    throw new GatewayError('INVALID_REQUEST', message);
  }
  if (url !== undefined) {
    const running = { url, key: readGatewayKey(environment), signal };
    const names = createNumberNames((ids) => findNamesOfRunning(running, ids));
    await printPages(session, watchRunning(running, after ?? null), names);
    return;
  }
  if (tenant !== undefined) await watchDatabase(session, tenant, after ?? null, signal);
}

async function watchDatabase(
  session: Session,
  tenant: string,
  after: string | null,
  signal: AbortSignal,
): Promise<void> {
  await withGateway(session, async (gateway) => {
    const { access, history } = gateway;
    await access.getTenant(tenant);
    const pages = await history.watchChanges(toOperatorAccess(tenant), {
      after,
      filter: {},
      signal,
    });
    const names = createNumberNames(createFindNames(gateway, tenant));
    await printPages(session, toChanges(pages), names);
  });
}

async function* toChanges(pages: AsyncIterable<ChangePage>): AsyncGenerator<readonly ChangeJson[]> {
  for await (const { changes } of pages) yield changes.map(toChange);
}

async function printPages(
  session: Session,
  pages: AsyncIterable<readonly ChangeJson[]>,
  names: NumberNames,
): Promise<void> {
  const { stdout } = session.terminal;
  const isTable = stdout.isTTY === true && !session.wantsJson();
  const format = isTable ? createTableFormat(session, names) : formatLines;
  if (isTable) stdout.write(format([]));
  for await (const changes of pages) {
    if (isTable) await names.learn(changes);
    stdout.write(format(changes));
  }
}

type Format = (changes: readonly ChangeJson[]) => string;

const formatLines: Format = (changes) =>
  changes.map((change) => `${JSON.stringify(change)}\n`).join('');

function createTableFormat({ terminal }: Session, names: NumberNames): Format {
  const format = createRunningTable<ChangeJson>([
    { ...timeColumn, width: 20 },
    {
      title: 'number',
      cell: ({ numberId, wabaId }) => names.get(numberId) ?? numberId ?? wabaId,
      minWidth: 12,
      width: 20,
    },
    { ...subjectColumn, minWidth: 16, width: 24 },
    { ...previousColumn, width: 14 },
    { ...newColumn, width: 14 },
    { ...sourceColumn, width: 12 },
  ]);
  return (changes) => format(changes, toLayout(terminal.stdout));
}
