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
      parts.map(([name, freshness], index) => {
        const previousError = parts[index - 1]?.[1]?.error ?? null;
        return h(Part, { key: name, name, freshness, previousError });
      }),
    ),
  );
}

interface PartProps {
  readonly name: string;
  readonly freshness: FreshnessOf | null;
  /** The error of the part above it. */
  readonly previousError: FreshnessOf['error'];
}

function Part({ name, freshness, previousError }: PartProps): ComponentChild {
  const error = freshness?.error ?? null;
  const observedAt = freshness?.observedAt ?? null;
  const isRepeated = error !== null && error.message === previousError?.message;
  const isOld = observedAt !== null && freshness?.stale === true;
  return h(
    Fragment,
    null,
    h('dt', null, name),
    h(
      'dd',
      null,
      observedAt === null ? 'never read' : h(Age, { at: observedAt }),
      isOld ? h('span', { class: 'failed' }, ', too old') : null,
    ),
    h('dd', { class: 'age' }, h(NextRead, { at: freshness?.nextSyncAt ?? null })),
    error === null
      ? null
      : h(
          'dd',
          { class: 'error', title: error.message },
          h('span', { class: 'failed' }, isRepeated ? 'As above.' : toFirstSentence(error.message)),
          h(
            'span',
            { class: 'source' },
            error.metaCode === null || isRepeated ? ' ' : ` Meta's code ${error.metaCode}. `,
            'Tried ',
            h(Age, { at: freshness?.attemptedAt ?? null }),
            '.',
          ),
        ),
  );
}

/** The reasons above say what to do. */
function toFirstSentence(text: string): string {
  return text.split(/(?<=[.!?])\s/)[0] ?? text;
}
