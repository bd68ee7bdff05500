// The shapes of the three verdicts and of the severities, so that colour alone never tells them apart, and the icon of the page.

import { h, type ComponentChild } from 'preact';
import type { Severity } from '../incident-queries.ts';
import type { Verdict } from '../queries.ts';

const shapes: Readonly<Record<Verdict, { readonly body: string; readonly ink: string }>> = {
  YES: { body: 'M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13z', ink: 'M5 8.2l2.2 2.2l3.8-4.6' },
  NO: {
    body: 'M5.1 1.2h5.8l3.9 3.9v5.8l-3.9 3.9h-5.8l-3.9-3.9v-5.8z',
    ink: 'M5.6 5.6l4.8 4.8m0-4.8l-4.8 4.8',
  },
  UNKNOWN: { body: 'M8 1.2L14.8 8L8 14.8L1.2 8z', ink: '' },
};

const severityShapes: Readonly<Record<Severity, { readonly body: string; readonly ink: string }>> =
  {
    CRITICAL: { body: shapes.NO.body, ink: 'M8 4.2v4.6M8 10.6v1.4' },
    WARNING: { body: 'M8 1.6l6.9 12.4h-13.8z', ink: 'M8 6v4M8 11.2v1.2' },
    INFO: { body: 'M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13z', ink: 'M8 7v4.4M8 4.4v1.3' },
  };

/** Decoration: the word stands beside it. */
export function Shape({ verdict }: { readonly verdict: Verdict }): ComponentChild {
  return h(Drawing, { name: verdict, ...shapes[verdict] });
}

/** Decoration, as `Shape`. A severity of a newer gateway is shown as the lowest. */
export function SeverityShape({ severity }: { readonly severity: Severity }): ComponentChild {
  const name = Object.hasOwn(severityShapes, severity) ? severity : 'INFO';
  return h(Drawing, { name, ...severityShapes[name] });
}

interface DrawingProps {
  readonly name: string;
  readonly body: string;
  readonly ink: string;
}

function Drawing({ name, body, ink }: DrawingProps): ComponentChild {
  return h(
    'svg',
    {
      class: `shape ${name}`,
      viewBox: '0 0 16 16',
      width: 16,
      height: 16,
      'aria-hidden': 'true',
    },
    h('path', { class: 'body', d: body }),
    ink === '' ? null : h('path', { class: 'ink', d: ink }),
  );
}

const iconColours: Readonly<Record<Verdict, string>> = {
  YES: '#2a7347',
  NO: '#b3261e',
  UNKNOWN: '#b07a10',
};

/** The shape of the worst verdict as the icon of the page; grey while it is not known. */
export function toIcon(verdict: Verdict | null): string {
  const { body, ink } = shapes[verdict ?? 'YES'];
  const fill = verdict === null ? '#8a8781' : iconColours[verdict];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="${body}" fill="${fill}"/><path d="${ink}" fill="none" stroke="#fff" stroke-width="1.8"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
