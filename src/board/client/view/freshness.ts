// How old each part of a number is, and why its last read failed.

import { Fragment, h, type ComponentChild } from 'preact';
import type { Freshness as FreshnessOf, NumberDetail } from '../queries.ts';
import { Age, NextRead } from './times.ts';

export function Freshness({ number }: { readonly number: NumberDetail }): ComponentChild {
  const { meta, provider, health } = number;
  const parts: readonly (readonly [name: string, freshness: FreshnessOf | null])[] =
    provider === 'META'
      ? [
          ['Number', meta?.phone?.freshness ?? health.freshness],
          ['Profile', meta?.profile?.freshness ?? null],
          ['Account', meta?.waba?.freshness ?? null],
        ]
      : [['Connection', health.freshness]];
  return h(
    'section',
    null,
    h('h3', null, 'How fresh'),
    h(
      'dl',
      { class: 'fresh' },
      parts.map(([name, freshness]) => h(Part, { key: name, name, freshness })),
    ),
  );
}

interface PartProps {
  readonly name: string;
  readonly freshness: FreshnessOf | null;
}

function Part({ name, freshness }: PartProps): ComponentChild {
  const error = freshness?.error ?? null;
  return h(
    Fragment,
    null,
    h('dt', null, name),
    h(
      'dd',
      { class: error === null ? '' : 'failed', title: error?.message },
      error === null ? toState(freshness) : toFirstSentence(error.message),
      error?.metaCode ? h('span', { class: 'source' }, ` Meta's code ${error.metaCode}.`) : null,
      error === null
        ? null
        : h(
            'span',
            { class: 'source' },
            ' Tried ',
            h(Age, { at: freshness?.attemptedAt ?? null }),
            '.',
          ),
    ),
    h(
      'dd',
      { class: 'age' },
      h(Age, { at: freshness?.observedAt ?? null }),
      h(NextRead, { at: freshness?.nextSyncAt ?? null }),
    ),
  );
}

/** The reasons above say what to do. */
function toFirstSentence(text: string): string {
  return text.split(/(?<=[.!?])\s/)[0] ?? text;
}

function toState(freshness: FreshnessOf | null): string {
  if (freshness === null || freshness.observedAt === null) return 'never read';
  return freshness.stale ? 'read, but too old to rely on' : 'read';
}
