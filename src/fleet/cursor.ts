// Cursors of a fleet: where a page ends, and which walk it belongs to. They hold no secret; row-level security decides what
// a page shows.

import { toTimeText } from '../database/statement.ts';
import { GatewayError } from '../errors.ts';
import { type FleetOrder, type KeyColumn, keyColumns } from './order.ts';

/** What all pages of a walk have in common. */
export interface Walk {
  readonly order: FleetOrder;
  /** See `hashFilter`. */
  readonly filter: string;
  /** The moment at which all pages are judged. */
  readonly asOf: Date;
}

export interface Cursor {
  readonly asOf: Date;
  /** The values of the order's key columns, as text. */
  readonly keys: readonly string[];
}

const version = 1;
/** The numbers change, so a walk takes place within this time. */
const maxAgeMs = 3_600_000;
/** Clocks of processes differ. */
const maxAheadMs = 60_000;
const maxLength = 4_000;

export function encodeCursor({ order, filter, asOf }: Walk, keys: readonly string[]): string {
  const { field, direction } = order;
  const content = { v: version, o: field, d: direction, f: filter, a: asOf.toISOString(), k: keys };
  return Buffer.from(JSON.stringify(content)).toString('base64url');
}

/** Throws INVALID_CURSOR for a malformed one or one of another order or filter, and CURSOR_EXPIRED for an old one. */
export function decodeCursor(
  text: string,
  { order, filter }: Omit<Walk, 'asOf'>,
  now: Date,
): Cursor {
  const { v, o, d, f, a, k } = parseCursor(text);
  if (v !== version || typeof a !== 'string' || !Array.isArray(k)) throw createMalformed();
  if (o !== order.field || d !== order.direction || f !== filter) {
    throw createInvalidCursor(
      'The cursor belongs to another filter or order; send those of its page with it, or start without a cursor.',
    );
  }
  const columns = keyColumns[order.field];
  const isTyped =
    columns.every((column, at) => isKey(k[at], column)) && k.length === columns.length;
  const asOf = new Date(a);
  const ageMs = now.getTime() - asOf.getTime();
  if (!isTyped || !isTime(a) || ageMs < -maxAheadMs) throw createMalformed();
  if (ageMs > maxAgeMs) {
    throw new GatewayError(
      'CURSOR_EXPIRED',
      'The first page of this walk is more than an hour old; start again without a cursor.',
    );
  }
  return { asOf, keys: k };
}

type Content = Readonly<Record<'v' | 'o' | 'd' | 'f' | 'a' | 'k', unknown>>;

function parseCursor(text: string): Content {
  if (text.length > maxLength || !/^[\w-]+$/.test(text)) throw createMalformed();
  try {
    const content: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (typeof content === 'object' && content !== null) return content as Content;
  } catch {
    // It is malformed.
  }
  throw createMalformed();
}

function isKey(value: unknown, { type }: KeyColumn): boolean {
  if (typeof value !== 'string') return false;
  if (type === 'smallint') return /^\d$/.test(value);
  if (type === 'timestamptz') return value === '-infinity' || isTime(value);
  return !value.includes('\0') && value.isWellFormed();
}

/** Whether it is one that exists: Date takes the 31st of February too. */
function isTime(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && toTimeText(ms) === text;
}

function createMalformed(): GatewayError {
  return createInvalidCursor(
    'The cursor is malformed; send one unchanged from a page, or start without a cursor.',
  );
}

function createInvalidCursor(message: string): GatewayError {
  return new GatewayError('INVALID_CURSOR', message);
}
