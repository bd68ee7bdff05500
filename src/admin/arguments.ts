// Parsers of command-line arguments. Each rejects a malformed argument with a message that says what is expected.

import { InvalidArgumentError } from '@commander-js/extra-typings';

const maxNameLength = 200;

/** The name of a tenant, a key, a number or an instance. */
export function parseName(text: string): string {
  if (text.trim() === '')
    throw new InvalidArgumentError('A name needs at least one visible character.');
  if ([...text].length > maxNameLength) {
    throw new InvalidArgumentError(`A name can have at most ${maxNameLength} characters.`);
  }
  if (/\p{Cc}/u.test(text))
    throw new InvalidArgumentError('A name cannot contain control characters.');
  return text;
}

/** The gateway's id of a tenant, a key or a number. */
export function parseId(text: string): string {
  if (!/^[\w-]{1,64}$/.test(text)) {
    throw new InvalidArgumentError(
      'An id consists of up to 64 letters, digits, _ and -; the list commands show it.',
    );
  }
  return text;
}

/** For repeatable arguments; removes duplicates. */
export function parseIds(text: string, before: readonly string[] = []): string[] {
  return [...new Set([...before, parseId(text)])];
}

/** For an id that Meta assigns; `name` is used in the message. */
export function parseMetaId(name: string): (text: string) => string {
  return (text) => {
    if (!/^\d{5,20}$/.test(text)) {
      throw new InvalidArgumentError(`A ${name} has 5 to 20 digits; find it in WhatsApp Manager.`);
    }
    return text;
  };
}

/** As `parseMetaId`, for a repeatable option; removes duplicates. */
export function parseMetaIds(
  name: string,
): (text: string, before: readonly string[] | undefined) => string[] {
  const parse = parseMetaId(name);
  return (text, before = []) => [...new Set([...before, parse(text)])];
}

export function parsePhoneNumber(text: string): string {
  if (!/^\d{5,20}$/.test(text)) {
    throw new InvalidArgumentError(
      'Use 5 to 20 digits including the country code and nothing else, such as 5511999999999.',
    );
  }
  return text;
}

const isoDate = /^(\d{4})-(\d{2})-(\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/;

/** A date without a time means midnight UTC. */
export function parseDate(text: string): Date {
  const [, year, month, day] = isoDate.exec(text) ?? [];
  const date = new Date(text);
  // Date parses the 30th of February as the 2nd of March.
  const exists = Number(day) <= new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (!exists || Number.isNaN(date.getTime())) {
    throw new InvalidArgumentError(
      'Use a date such as 2030-12-31 or a time such as 2030-12-31T18:00:00Z.',
    );
  }
  return date;
}

export function parseFutureDate(text: string): Date {
  const date = parseDate(text);
  if (date.getTime() <= Date.now()) throw new InvalidArgumentError('The time is in the past.');
  return date;
}

const unitsMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const maxDurationMs = 365 * unitsMs.d;

/** Returns milliseconds. */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  const [, amount, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) {
    throw new InvalidArgumentError('Use 0, or a number with a unit: 90s, 30m, 24h, 7d.');
  }
  const durationMs = Number(amount) * unitsMs[unit as keyof typeof unitsMs];
  if (durationMs > maxDurationMs) throw new InvalidArgumentError('Use at most 365d.');
  return durationMs;
}

/** Separated by commas. */
export function splitList(text: string): readonly string[] {
  return text.split(',').map((part) => part.trim());
}

/** For a list of words that are separated by commas. */
export function parseWords(words: readonly string[]): (text: string) => readonly string[] {
  return (text) => {
    const given = splitList(text);
    const unknown = given.find((word) => !words.includes(word));
    if (unknown === undefined) return given;
    throw new InvalidArgumentError(
      `Use words of this list, separated by commas: ${words.join(', ')}.`,
    );
  };
}

/** How many to list. */
export function parseLimit(text: string): number {
  const limit = Number(text);
  if (/^\d{1,7}$/.test(text) && limit > 0) return limit;
  throw new InvalidArgumentError('Use a number of at least 1.');
}

/** The command line is wrong; the exit code is 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
