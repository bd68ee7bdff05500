// The labels of numbers: `key=value`, each key once.

import { createInvalid } from './filter.ts';
import { forbidden } from './note.ts';

export const maxLabels = 20;

const keyForm = String.raw`[\p{L}\p{N}][\p{L}\p{N}._/-]{0,62}`;
const end = String.raw`[^${forbidden}\s,]`;
const format = new RegExp(`^${keyForm}=${end}(?:[^${forbidden},]{0,98}${end})?$`, 'u');

/** Sorted, and in one Unicode form, so that equal labels are equal texts. Throws INVALID_REQUEST. */
export function normalizeLabels(labels: readonly string[]): readonly string[] {
  if (labels.length > maxLabels) {
    throw createInvalid(
      `A number has at most ${maxLabels} labels, and ${labels.length} were given.`,
    );
  }
  const normal = labels.map((label) => label.normalize('NFC'));
  const place = normal.findIndex((label) => !format.test(label));
  if (place >= 0) {
    throw createInvalid(
      `Label ${place + 1} is not of the form key=value: a key has up to 63 letters, digits, dots, hyphens, underscores and slashes; a value has from 1 to 100 characters, without commas, spaces at its ends, and characters that control the screen or the direction of text.`,
    );
  }
  const distinct = [...new Set(normal)].toSorted();
  const keys = distinct.map((label) => label.slice(0, label.indexOf('=')));
  const repeated = keys.find((key, at) => keys.indexOf(key) < at);
  if (repeated !== undefined) {
    throw createInvalid(`The label ${repeated} has two values; give one.`);
  }
  return distinct;
}
