// What people who operate a fleet do with its numbers: they label and mute them.

import { type Access, assertScope } from '../access/access.ts';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import { toNotFound } from '../numbers/administration.ts';
import { toCause } from '../numbers/numbers.ts';
import { createInvalid } from './filter.ts';
import { normalizeLabels } from './labels.ts';
import { type OperatedColumns, updateOperated } from './operation-store.ts';

export interface NumberOperation {
  readonly id: string;
  /** Replaces all labels; they stay if absent. */
  readonly labels?: readonly string[];
  /** Silences alerts; null ends it, and it stays as it is if absent. */
  readonly mute?: Mute | null;
}

export interface Mute {
  readonly until: Date;
  readonly note: string | null;
}

export interface Operations {
  /**
   * Writes what differs, in one transaction, and so nothing when it is repeated. Throws FORBIDDEN without the scope `operate`
   * or for a key of another number, INVALID_REQUEST for what is out of bounds, and NUMBER_NOT_FOUND.
   */
  operate(access: Access, operation: NumberOperation): Promise<void>;
}

export interface OperationsOptions {
  readonly database: Database;
  readonly now: () => Date;
}

const maxMuteDays = 366;
const maxNoteLength = 500;
const dayMs = 86_400_000;

export function createOperations({ database, now }: OperationsOptions): Operations {
  return {
    async operate(access, { id, labels, mute }) {
      assertMayOperate(access, id);
      const columns: OperatedColumns = {
        ...(labels !== undefined && { labels: [...normalizeLabels(labels)] }),
        ...(mute !== undefined && toMuteColumns(mute, now())),
      };
      const { tenantId } = access;
      // No stored id has a NUL, and PostgreSQL rejects one in a parameter.
      const isFound =
        !id.includes('\0') &&
        (await updateOperated(database, tenantId, id, columns, toCause(access)));
      if (!isFound) throw toNotFound();
    },
  };
}

/** Throws FORBIDDEN. A key of a number reads the whole tenant, so this says nothing that it could not find out. */
export function assertMayOperate(access: Access, numberId: string): void {
  assertScope(access, 'operate');
  if (access.numberId === null || access.numberId === numberId) return;
  const message = `The API key is bound to the number ${access.numberId} and operates this number alone. Send another key.`;
  throw new GatewayError('FORBIDDEN', message);
}

function toMuteColumns(mute: Mute | null, now: Date): OperatedColumns {
  if (mute === null) return { muted_until: null, mute_note: null };
  const { until, note } = mute;
  const leftMs = until.getTime() - now.getTime();
  if (!(leftMs > 0 && leftMs <= maxMuteDays * dayMs)) {
    throw createInvalid(
      `A number is muted until a time in the future, at most ${maxMuteDays} days from now.`,
    );
  }
  return { muted_until: until, mute_note: normalizeNote(note) };
}

/** Null for a note without text. Throws INVALID_REQUEST. */
export function normalizeNote(note: string | null): string | null {
  const text = note?.trim() ?? '';
  if (text === '') return null;
  if ([...text].length > maxNoteLength || /[^\P{C}\n\t]/u.test(text)) {
    throw createInvalid(
      `A note has at most ${maxNoteLength} characters, and no control characters but tabs and line breaks.`,
    );
  }
  return text;
}
