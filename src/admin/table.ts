// Tables and lists of fields for a terminal: they fit its width, and their colours repeat what the words say.

import type { Writable } from 'node:stream';
import { styleText } from 'node:util';
import cliTruncate from 'cli-truncate';
import stringWidth from 'string-width';
import wrapAnsi from 'wrap-ansi';

/** How a value is coloured: green, yellow, red. */
export type Tone = 'good' | 'doubtful' | 'bad';

export interface Column<Row> {
  readonly title: string;
  /** Null is shown as `-`. */
  readonly cell: (row: Row) => string | null;
  readonly tone?: (row: Row) => Tone | null;
  /** How wide it is on a terminal that is wide enough; as wide as its widest cell if absent. */
  readonly width?: number;
  /** The width to which cells may be truncated; without it they are never truncated, so that they can be copied. */
  readonly minWidth?: number;
  /** On a narrow terminal the column with the highest number is left out first; without it the column always stays. */
  readonly omitOrder?: number;
}

export interface Layout {
  /** Null for no limit. */
  readonly width: number | null;
  readonly style: Style;
}

export type Style = (format: Parameters<typeof styleText>[0], text: string) => string;

/** Follows NO_COLOR and FORCE_COLOR, and is plain where the output is not a terminal. */
export function createStyle(stream: Writable): Style {
  return (format, text) => styleText(format, text, { stream });
}

export function toLayout(output: Writable & { readonly columns?: number }): Layout {
  return { width: output.columns ?? null, style: createStyle(output) };
}

const gap = 2;
const colours = { good: 'green', doubtful: 'yellow', bad: 'red' } as const;

/** A table without borders, so that cells can be copied. No line is wider than the layout. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { width, style }: Layout,
): string {
  const limit = width ?? Infinity;
  const cells = new Map(
    columns.map((column) => [column, rows.map((row) => toPrintable(column.cell(row) ?? '-'))]),
  );
  const natural = (column: Column<Row>) =>
    column.width ??
    Math.max(...[column.title, ...(cells.get(column) ?? [])].map((text) => stringWidth(text)));
  const widths = fitColumns(columns, natural, limit);
  const format = (texts: (column: Column<Row>) => readonly [string, string]) =>
    [...widths]
      .map(([column, columnWidth]) => {
        const [text, styled] = texts(column);
        return styled + ' '.repeat(columnWidth + gap - stringWidth(text));
      })
      .join('')
      .trimEnd();
  const head = format((column) => {
    const title = truncate(column.title.toUpperCase(), widths.get(column));
    return [title, style('bold', title)];
  });
  const body = rows.map((row, index) =>
    format((column) => {
      const text = truncate(cells.get(column)?.[index] ?? '', widths.get(column));
      const tone = column.cell(row) === null ? null : (column.tone?.(row) ?? null);
      return [text, tone === null ? text : style(colours[tone], text)];
    }),
  );
  const omitted = columns.filter((column) => !widths.has(column)).map(({ title }) => title);
  const lines = [head, ...body].map((line) => truncate(line, limit));
  if (omitted.length === 0) return lines.join('\n');
  const note = `Too narrow for: ${omitted.join(', ')}. Use a wider terminal, or --json.`;
  return [...lines, '', style('dim', wrapAnsi(note, limit, { hard: true }))].join('\n');
}

/** A table that is printed bit by bit: each call returns the lines of further rows, the first one also the titles. */
export function createRunningTable<Row>(
  columns: readonly (Column<Row> & { readonly width: number })[],
): (rows: readonly Row[], layout: Layout) => string {
  let hasBegun = false;
  return (rows, layout) => {
    // Without the note on columns that were left out.
    const lines = formatTable(rows, columns, layout)
      .split('\n')
      .slice(0, rows.length + 1);
    const further = hasBegun ? lines.slice(1) : lines;
    hasBegun = true;
    return further.map((line) => `${line}\n`).join('');
  };
}

/** Truncates first, then leaves columns out. The widths of those that stay are in the order of the columns. */
function fitColumns<Row>(
  columns: readonly Column<Row>[],
  natural: (column: Column<Row>) => number,
  limit: number,
): ReadonlyMap<Column<Row>, number> {
  const widths = new Map(columns.map((column) => [column, natural(column)]));
  let excess = widths.values().reduce((sum, width) => sum + width + gap, -gap) - limit;
  for (const [column, width] of widths) {
    if (excess <= 0) return widths;
    const spare = Math.max(
      0,
      width - Math.max(column.minWidth ?? width, stringWidth(column.title)),
    );
    const cut = Math.min(spare, excess);
    widths.set(column, width - cut);
    excess -= cut;
  }
  const [last] = columns
    .filter(({ omitOrder }) => omitOrder !== undefined)
    .toSorted((a, b) => (b.omitOrder ?? 0) - (a.omitOrder ?? 0));
  if (excess <= 0 || last === undefined) return widths;
  return fitColumns(
    columns.filter((column) => column !== last),
    natural,
    limit,
  );
}

function truncate(text: string, width = Infinity): string {
  return stringWidth(text) <= width ? text : cliTruncate(text, width);
}

export interface Field {
  readonly label: string;
  readonly value: string;
  readonly tone?: Tone | null;
}

/** A field a line; a value that does not fit continues below itself. */
export function formatFields(fields: readonly Field[], { width, style }: Layout): string {
  const labelWidth = Math.max(...fields.map(({ label }) => stringWidth(label)));
  const indent = labelWidth + gap;
  const valueWidth = Math.max(1, (width ?? Infinity) - indent);
  return fields
    .map(({ label, value, tone = null }) => {
      const text = toPrintable(value);
      const lines = wrapAnsi(text, valueWidth, { hard: true }).split('\n');
      return lines
        .map((line, index) => {
          const start = index === 0 ? label : '';
          const styled = tone === null ? line : style(colours[tone], line);
          return `${start}${' '.repeat(indent - stringWidth(start))}${styled}`.trimEnd();
        })
        .join('\n');
    })
    .join('\n');
}

/** Replaces control and format characters: names come from callers and must not control the terminal. */
export function toPrintable(text: string): string {
  return text.replaceAll(/\p{Cc}|\p{Cf}/gu, '\u{FFFD}');
}

/** The largest unit that fits: 45s, 12m, 3h, 20d. Null for null. */
export function formatAge(seconds: number | null): string | null {
  if (seconds === null) return null;
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** ISO 8601 without milliseconds. */
export function formatTime(timestamp: string): string {
  return timestamp.replace(/\.\d+Z$/, 'Z');
}

/** `1 number`, `2 numbers`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
