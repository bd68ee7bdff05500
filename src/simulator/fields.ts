// The language of Graph's `fields` parameter: names, arguments such as `.limit(n)`, and `{…}` for what is nested.
// Which names exist is the business of nodes.ts.

import { refuse } from './refusals.ts';

export interface FieldSelection {
  readonly name: string;
  readonly arguments: Readonly<Record<string, string>>;
  /** Absent when nothing was nested, which for an edge means its default fields. */
  readonly nested?: readonly FieldSelection[];
}

interface Cursor {
  readonly text: string;
  position: number;
}

/** Reads a whole `fields` parameter; throws the refusal Graph gives for a text it cannot parse. */
export function parseFields(text: string): readonly FieldSelection[] {
  const cursor: Cursor = { text: text.replaceAll(/\s/g, ''), position: 0 };
  const selections = parseList(cursor);
  if (cursor.position < cursor.text.length) throw toSyntaxError(cursor, 'end of string');
  return selections;
}

/** The text that `parseFields` would read as these selections; null where they were left to Graph. */
export function toFieldsText(selections: readonly FieldSelection[] | undefined): string | null {
  if (selections === undefined) return null;
  const texts = selections.map(({ name, arguments: given, nested }) => {
    const calls = Object.entries(given).map(([argument, value]) => `.${argument}(${value})`);
    const inner = toFieldsText(nested);
    return [name, ...calls, inner === null ? '' : `{${inner}}`].join('');
  });
  return texts.join(',');
}

function parseList(cursor: Cursor): readonly FieldSelection[] {
  const selections = [parseSelection(cursor)];
  while (take(cursor, ',')) selections.push(parseSelection(cursor));
  return selections;
}

function parseSelection(cursor: Cursor): FieldSelection {
  const name = parseName(cursor);
  const given: Record<string, string> = {};
  while (take(cursor, '.')) {
    const argument = parseName(cursor);
    expect(cursor, '(');
    const end = cursor.text.indexOf(')', cursor.position);
    if (end < 0) throw toSyntaxError(cursor, ')');
    given[argument] = cursor.text.slice(cursor.position, end);
    cursor.position = end + 1;
  }
  if (!take(cursor, '{')) return { name, arguments: given };
  const nested = parseList(cursor);
  expect(cursor, '}');
  return { name, arguments: given, nested };
}

function parseName(cursor: Cursor): string {
  const name = /^\w+/.exec(cursor.text.slice(cursor.position))?.[0];
  if (name === undefined) throw toSyntaxError(cursor, 'string');
  cursor.position += name.length;
  return name;
}

function take(cursor: Cursor, mark: string): boolean {
  if (cursor.text[cursor.position] !== mark) return false;
  cursor.position += 1;
  return true;
}

function expect(cursor: Cursor, mark: string): void {
  if (!take(cursor, mark)) throw toSyntaxError(cursor, mark);
}

function toSyntaxError(cursor: Cursor, expected: string): Error {
  const found = cursor.text[cursor.position] ?? 'end of string';
  return refuse(
    2500,
    `Syntax error "Expected ${expected} instead of "${found}"." at character ${cursor.position}: ${cursor.text}`,
  );
}
