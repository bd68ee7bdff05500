// When an access token ends, as a reason that informs before reads begin to fail.

import { type Reason, toReason } from './reason.ts';

/** What Meta said about the token of a number. ISO 8601; null for never, or when Meta did not say. */
export interface TokenEnds {
  readonly expiresAt: string | null;
  /** When the consent of the token's owner to the use of their data ends. */
  readonly dataAccessExpiresAt: string | null;
}

const dayMs = 86_400_000;
/** From so many days before the end it informs. */
const noticeDays = 30;

export function listTokenReasons(token: TokenEnds | null, now: Date): readonly Reason[] {
  if (token === null) return [];
  return [
    ...toEndReason('expires_at', token.expiresAt, now, 'The access token', [
      'expires',
      'has expired',
    ]),
    ...toEndReason(
      'data_access_expires_at',
      token.dataAccessExpiresAt,
      now,
      "The access token's permission to read data",
      ['ends', 'has ended'],
    ),
  ];
}

function toEndReason(
  field: string,
  at: string | null,
  now: Date,
  subject: string,
  [ends, ended]: readonly [ends: string, ended: string],
): readonly Reason[] {
  if (at === null) return [];
  const leftMs = Date.parse(at) - now.getTime();
  if (leftMs > noticeDays * dayMs) return [];
  const text = leftMs <= 0 ? `${subject} ${ended}.` : `${subject} ${ends} ${formatDays(leftMs)}.`;
  const solution = 'Store a new token for all numbers that use it, with: credential set.';
  return [toReason('TOKEN', field, at, 'INFORMS', text, { solution })];
}

function formatDays(leftMs: number): string {
  const days = Math.floor(leftMs / dayMs);
  if (days === 0) return 'in less than a day';
  return days === 1 ? 'in 1 day' : `in ${days} days`;
}

/** The next time at which one of the reasons begins or changes its text; null when none does. */
export function findNextTokenChange(token: TokenEnds | null, now: Date): number | null {
  const nowMs = now.getTime();
  const changes = [token?.expiresAt, token?.dataAccessExpiresAt].flatMap((at) => {
    const leftMs = at === null || at === undefined ? 0 : Date.parse(at) - nowMs;
    if (leftMs <= 0) return [];
    const isDue = leftMs <= noticeDays * dayMs;
    const inMs = isDue ? leftMs % dayMs : leftMs - noticeDays * dayMs;
    // At a whole number of days the text is that of this number.
    return [nowMs + inMs + (isDue && leftMs >= dayMs ? 1 : 0)];
  });
  return changes.length === 0 ? null : Math.min(...changes);
}
