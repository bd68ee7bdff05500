// The notes that people who operate a fleet leave.

import { createInvalid } from './filter.ts';

const maxNoteLength = 500;

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
