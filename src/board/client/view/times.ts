// Ages that tick, and the strips and timelines that show the past of a verdict.

import { computed } from '@preact/signals';
import { h, type ComponentChild } from 'preact';
import type { Span } from '../queries.ts';
import { now } from '../state.ts';
import { describeSpans, toRuns } from '../timeline.ts';
import { formatAge, formatDuration, formatEnd, formatFull, formatNext } from '../words.ts';

/** Ages of minutes and more need no second hand. */
const slowNow = computed(() => Math.floor(now.value / 10_000) * 10_000);
const slowAfterMs = 90_000;

/** How long ago something was. */
export function Age({ at }: { readonly at: string | null }): ComponentChild {
  if (at === null) return h('span', null, 'never');
  const isOld = now.peek() - Date.parse(at) > slowAfterMs;
  const text = formatAge(at, isOld ? slowNow.value : now.value);
  return h('time', { dateTime: at, title: formatFull(at) }, text);
}

/** For how long something lasts already. */
export function Lasting({ from }: { readonly from: string }): ComponentChild {
  return formatDuration(slowNow.value - Date.parse(from));
}

/** Empty if nothing is planned. */
export function NextRead({ at }: { readonly at: string | null }): ComponentChild {
  const text = formatNext(at, slowNow.value);
  return text === null ? null : h('span', { class: 'next' }, text);
}

/** Of a restriction. */
export function Countdown({ expiresAt }: { readonly expiresAt: string | null }): ComponentChild {
  const isNear = expiresAt !== null && Date.parse(expiresAt) - now.peek() < slowAfterMs;
  const text = formatEnd(expiresAt, isNear ? now.value : slowNow.value);
  return h('p', { class: 'countdown' }, text.charAt(0).toUpperCase() + text.slice(1));
}

interface PastProps {
  readonly spans: readonly Span[];
  readonly days: number;
  /** How finely it is drawn. */
  readonly columns: number;
  readonly label: string;
}

/** Bars in proportion to time. What was not observed is hatched. */
export function Past({ spans, days, columns, label }: PastProps): ComponentChild {
  const to = slowNow.value;
  const runs = toRuns(spans, { from: to - days * 86_400_000, to, columns });
  const text = `${label}: ${describeSpans(spans, to)}`;
  return h(
    'span',
    { class: 'past', role: 'img', 'aria-label': text, title: text },
    runs.map(({ mark, length }, index) =>
      h('i', { key: index, class: mark, style: { flexGrow: length } }),
    ),
  );
}
