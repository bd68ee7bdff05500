// The notes that people who operate a fleet leave.

import { createInvalid } from './filter.ts';

const maxNoteLength = 500;
/**
 * Characters, as in a class of a regular expression, that make a text look like another one or break its line. Others that are
 * not visible are needed: joiners in Persian, Hindi and emoji.
 */
export const forbidden = String.raw`\p{Cc}\p{Cs}\p{Bidi_Control}`;

const invalid = new RegExp(`(?![\n\t])[${forbidden}]`, 'u');

/** Null for a note without text. Throws INVALID_REQUEST. */
export function normalizeNote(note: string | null): string | null {
  const text = note?.trim() ?? '';
  if (text === '') return null;
  if ([...text].length > maxNoteLength || invalid.test(text)) {
    throw createInvalid(
      `A note has at most ${maxNoteLength} characters, and no characters that control the screen or the direction of text, but tabs and line breaks.`,
    );
  }
  return text;
}
