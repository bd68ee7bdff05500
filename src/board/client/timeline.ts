// Turns the spans of a timeline into what is drawn: one value for each column of pixels, in which the worst one wins. Pure.

import type { Span, Verdict } from './queries.ts';

/** GAP: nothing was known. */
export type Mark = Verdict | 'GAP';

export interface Run {
  readonly mark: Mark;
  /** In columns. */
  readonly length: number;
}

/** A short time in which a number could not send must be seen, so it wins its column. */
const severity: Readonly<Record<Mark, number>> = { NO: 3, UNKNOWN: 2, YES: 1, GAP: 0 };

/** The last span goes on until `to`, for spans that were read a while ago. */
export function toRuns(spans: readonly Span[], { from, to, columns }: Window): readonly Run[] {
  const marks = Array.from({ length: columns }, (): Mark => 'GAP');
  for (const [index, span] of spans.entries()) {
    const mark = toMark(span);
    const end = index === spans.length - 1 ? to : Date.parse(span.to);
    const first = Math.max(0, Math.floor(((Date.parse(span.from) - from) / (to - from)) * columns));
    const last = Math.min(columns, Math.ceil(((end - from) / (to - from)) * columns));
    for (let column = first; column < last; column += 1) {
      if (severity[mark] > severity[marks[column]!]) marks[column] = mark;
    }
  }
  const runs: { mark: Mark; length: number }[] = [];
  for (const mark of marks) {
    const previous = runs.at(-1);
    if (previous?.mark === mark) previous.length += 1;
    else runs.push({ mark, length: 1 });
  }
  return runs;
}

export interface Window {
  /** In milliseconds, as `to`. */
  readonly from: number;
  readonly to: number;
  readonly columns: number;
}

function toMark({ value, certainty }: Span): Mark {
  if (certainty === 'UNOBSERVED') return 'GAP';
  return value === 'YES' || value === 'NO' ? value : 'UNKNOWN';
}

export interface Since {
  /** When the present verdict began. */
  readonly at: string;
  /** Whether it is older than the spans tell. */
  readonly isAtLeast: boolean;
}

/** Since when a number has its verdict, as far as the spans go back; null if they do not end with it. */
export function findSince(spans: readonly Span[], verdict: Verdict): Since | null {
  const start = spans.findLastIndex(({ value }) => value !== verdict) + 1;
  const first = spans[start];
  return first === undefined ? null : { at: first.from, isAtLeast: start === 0 };
}

/** For example `Could send for 92 % of the time that was observed; 80 % was observed.` */
export function describeSpans(spans: readonly Span[], now: number): string {
  let [observed, sendable, whole] = [0, 0, 0];
  for (const [index, span] of spans.entries()) {
    const ms = (index === spans.length - 1 ? now : Date.parse(span.to)) - Date.parse(span.from);
    whole += ms;
    if (span.certainty === 'UNOBSERVED') continue;
    observed += ms;
    if (span.value === 'YES') sendable += ms;
  }
  if (observed <= 0) return 'Nothing was observed.';
  const known = formatShare(observed / whole);
  const could = `Could send for ${formatShare(sendable / observed)} of the time observed`;
  return known === '100 %' ? `${could}.` : `${could}; observed ${known} of the time.`;
}

/** Rounds down, so that 100 % means always, and up below 1 %, so that 0 % means never. */
export function formatShare(share: number): string {
  const percent = share * 100;
  return `${percent > 0 && percent < 1 ? 1 : Math.floor(percent)} %`;
}
