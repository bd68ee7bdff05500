// The command `fleet diff`, which says what is different from an earlier time.

import { type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';
import type { Gateway } from '../gateway.ts';
import type { NumberChange } from '../history/change.ts';
import { maxPageSize } from '../history/history.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { parseDate, parseDuration, parseId } from './arguments.ts';
import { createFindNames, createNumberNames, type NumberNames, toShort } from './change-text.ts';
import { createComparison, type Difference, type FieldDifference } from './differences.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatTable, formatTime, toLayout } from './table.ts';

const examples = `
Examples:
  $ numbers-gateway fleet diff --tenant ten_… --since 24h
  $ numbers-gateway fleet diff --tenant ten_… --since 2030-12-31T08:00:00Z
  $ numbers-gateway fleet diff --tenant ten_… --since c1.… --json`;

export function addDiffCommand(fleet: CommandUnknownOpts, session: Session): void {
  fleet
    .command('diff')
    .summary('say what is different from an earlier time')
    .description(
      'Say what is different from an earlier time, in one line for each number: the value of each field then and now. What has changed and changed back is left out.',
    )
    .requiredOption('--tenant <id>', 'tenant of the numbers', parseId)
    .requiredOption(
      '--since <time>',
      'how long ago, such as 24h, or a time, or a cursor of the feed',
      parseSince,
    )
    .addHelpText('after', examples)
    .action((options) => diff(options, session));
}

/** A time, or a cursor of the feed. */
type Since = Date | string;

function parseSince(text: string): Since {
  if (text.startsWith('c1.')) return text;
  if (/^\d{4}-/.test(text)) return parseDate(text);
  if (/^\d+[smhd]$/.test(text)) return new Date(Date.now() - parseDuration(text));
  throw new InvalidArgumentError(
    'Use a duration such as 90s, 30m, 24h or 7d, a time such as 2030-12-31T18:00:00Z, or a cursor.',
  );
}

interface DiffOptions {
  readonly tenant: string;
  readonly since: Since;
}

async function diff({ tenant, since }: DiffOptions, session: Session): Promise<void> {
  await withGateway(session, async (gateway) => {
    await gateway.access.getTenant(tenant);
    const start = await findStart(gateway, tenant, since, session);
    const names = createNumberNames(createFindNames(gateway, tenant));
    const comparison = createComparison();
    const cursor = await readAll(gateway, tenant, start, async (changes) => {
      comparison.add(changes);
      await names.learn(changes);
    });
    const differences = comparison.list().map((difference) => toRow(difference, names));
    session.print({ since: start, cursor, differences }, () => {
      if (differences.length === 0) return 'Nothing is different.';
      return formatTable(differences, columns, toLayout(session.terminal.stdout));
    });
  });
}

/** The cursor after the last change that was recorded before. */
async function findStart(
  { history }: Gateway,
  tenant: string,
  since: Since,
  session: Session,
): Promise<string> {
  if (typeof since === 'string') return since;
  const { cursor, isComplete, recordedSince } = await history.findCursor(
    toOperatorAccess(tenant),
    since,
  );
  if (!isComplete) {
    session.warn(
      'HISTORY_INCOMPLETE',
      `The changes before ${formatTime(recordedSince)} are not known, or were deleted; this compares with that time.`,
    );
  }
  return cursor;
}

/** Reads page by page, since there may be millions of changes. Returns the cursor after the last one. */
async function readAll(
  { history }: Gateway,
  tenant: string,
  start: string,
  onPage: (changes: readonly NumberChange[]) => Promise<void>,
): Promise<string> {
  for (let cursor = start; ;) {
    const request = { after: cursor, first: maxPageSize, filter: {} };
    // oxlint-disable no-await-in-loop -- a page has the cursor of the next one
    const page = await history.readChanges(toOperatorAccess(tenant), request);
    await onPage(page.changes);
    // oxlint-enable no-await-in-loop
    ({ cursor } = page);
    if (page.caughtUp) return cursor;
  }
}

function toRow({ numberId, wabaId, change, fields }: Difference, names: NumberNames) {
  return { numberId, wabaId, name: names.get(numberId), change, fields };
}

type Row = ReturnType<typeof toRow>;

const columns: readonly Column<Row>[] = [
  { title: 'number', cell: ({ name }) => name, minWidth: 8 },
  { title: 'id', cell: ({ numberId, wabaId }) => numberId ?? wabaId },
  { title: 'different', cell: toText, minWidth: 20 },
];

function toText({ change, fields }: Row): string {
  if (change === 'ADDED') return 'added';
  if (change === 'REMOVED') return 'removed';
  const [compared, firstRead] = [
    fields.filter(({ block }) => block === null),
    new Set(fields.flatMap(({ block }) => block ?? [])),
  ];
  return [...compared.map(toFieldText), ...[...firstRead].map((it) => `${it} first read`)].join(
    ', ',
  );
}

function toFieldText({ field, kind, previousValue, newValue }: FieldDifference): string {
  const subject = kind === 'READ' ? `error of ${field}` : field;
  return `${subject} ${toShort(previousValue) ?? '-'} → ${toShort(newValue) ?? '-'}`;
}
