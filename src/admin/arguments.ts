// Owns what may stand on the command line: each parser checks one kind of argument before the database is asked, and
// says what is expected. Pure.

import { InvalidArgumentError } from '@commander-js/extra-typings';

const maxNameLength = 200;

/** Of a tenant, a key, a number or an instance. */
export function parseName(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('Give it at least one visible character.');
  if ([...text].length > maxNameLength) {
    throw new InvalidArgumentError(`Use at most ${maxNameLength} characters.`);
  }
  if (/\p{Cc}/u.test(text)) throw new InvalidArgumentError('Leave out control characters.');
  return text;
}

/** Of ours: a tenant's, a key's or a number's. */
export function parseId(text: string): string {
  if (!/^[\w-]{1,64}$/.test(text)) {
    throw new InvalidArgumentError(
      'Ids have up to 64 letters, digits, _ and -, as the list commands show them.',
    );
  }
  return text;
}

/** For arguments that can be repeated; one that stands twice counts once. */
export function parseIds(text: string, before: readonly string[] = []): string[] {
  return [...new Set([...before, parseId(text)])];
}

/** Of Meta's: `what` names it. */
export function parseMetaId(what: string): (text: string) => string {
  return (text) => {
    if (!/^\d{5,20}$/.test(text)) {
      throw new InvalidArgumentError(`A ${what} has 5 to 20 digits; WhatsApp Manager shows it.`);
    }
    return text;
  };
}

export function parsePhoneNumber(text: string): string {
  if (!/^\d{5,20}$/.test(text)) {
    throw new InvalidArgumentError(
      'Write 5 to 20 digits with the country code and nothing else, such as 5511999999999.',
    );
  }
  return text;
}

const isoDate = /^(\d{4})-(\d{2})-(\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/;

/** A moment to come. A day alone is its beginning in UTC. */
export function parseFuture(text: string): Date {
  const [, year, month, day] = isoDate.exec(text) ?? [];
  const date = new Date(text);
  // JavaScript takes the 30th of February for the 2nd of March.
  const exists = Number(day) <= new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (!exists || Number.isNaN(date.getTime())) {
    throw new InvalidArgumentError(
      'Write a date such as 2030-12-31 or a time such as 2030-12-31T18:00:00Z.',
    );
  }
  if (date.getTime() <= Date.now()) throw new InvalidArgumentError('It has passed already.');
  return date;
}

const unitsMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const maxDurationMs = 365 * unitsMs.d;

/** Milliseconds. */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  const [, amount, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) {
    throw new InvalidArgumentError('Write 0, or a number with a unit: 90s, 30m, 24h, 7d.');
  }
  const durationMs = Number(amount) * unitsMs[unit as keyof typeof unitsMs];
  if (durationMs > maxDurationMs) throw new InvalidArgumentError('Use at most 365d.');
  return durationMs;
}

/** Where credentials come from: `-` is standard input. Never the credentials themselves, which `ps` would show. */
export function parseSecretSource(text: string): string {
  if (text === '' || /^\s*[{["]|\0|^EAA/.test(text)) {
    // Without commander's own words, which would repeat the argument.
    throw new UsageError(
      '--credentials takes the path of a JSON file, or - for standard input, never the credentials themselves: other users of this machine can see the arguments of a command.',
    );
  }
  return text;
}

/** The command line is not understood; exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
