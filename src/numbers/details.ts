// The members of a number that the tenant and its operators choose, or that the database sets.

import type { Partially } from './projection.ts';

/** ISO 8601 in UTC with milliseconds, as the database formats it and responses contain it. */
export type Timestamp = string;

export interface NumberDetails {
  readonly instanceName: string | null;
  /** Digits only, with the country code. */
  readonly number: string;
  readonly name: string;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
  /** `key=value`, sorted. */
  readonly labels: readonly string[];
  /** Until when its alerts are silent; null when they are not. What is stored may be a time in the past. */
  readonly mutedUntil: Timestamp | null;
  /** Why; null without a note, or when its alerts are not silent. */
  readonly muteNote: string | null;
}

/** Returns when the number will no longer be muted, in milliseconds; null when it is not. */
export function assignDetails(
  number: Partially<NumberDetails>,
  details: NumberDetails,
  nowMs: number,
): number | null {
  const muteEndsAt = details.mutedUntil === null ? null : Date.parse(details.mutedUntil);
  const isMuted = muteEndsAt !== null && muteEndsAt > nowMs;
  number.instanceName = details.instanceName;
  number.number = details.number;
  number.name = details.name;
  number.createdAt = details.createdAt;
  number.updatedAt = details.updatedAt;
  number.labels = details.labels;
  number.mutedUntil = isMuted ? details.mutedUntil : null;
  number.muteNote = isMuted ? details.muteNote : null;
  return isMuted ? muteEndsAt : null;
}
