// Owns how numbers look to a person at a terminal. What a program gets is REST's.

import type { WhatsAppNumber } from '../numbers/number.ts';
import { toPrintable, toTable } from './terminal.ts';

/** For people: what they look for first, the age of it, and why the last reading failed. */
export function toNumberTable(numbers: readonly WhatsAppNumber[], none: string): string {
  return toTable(
    ['id', 'name', 'number', 'provider', 'state', 'sendable', 'quality', 'age', 'last problem'],
    numbers.map((it) => [
      it.id,
      it.name,
      it.number,
      it.provider,
      it.state,
      it.health.sendability.verdict,
      it.health.qualityRating,
      toAge(it.health.freshness?.ageSeconds ?? null),
      it.health.freshness?.error?.code ?? null,
    ]),
    none,
  );
}

function toAge(seconds: number | null): string | null {
  if (seconds === null) return null;
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** Ends with a full stop. */
export function toNumberSentence({ id, name, number, provider, state }: WhatsAppNumber): string {
  return `number ${id} (${toPrintable(name)}, ${number}): ${provider}, ${state}.`;
}
