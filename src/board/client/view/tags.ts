// The labels of a number, whether its alerts are muted, and the forms that change both.

import { type ComponentChild, Fragment, h } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { type ApiError, toApiError } from '../api.ts';
import { reloadNumber } from '../number-loading.ts';
import { labelNumber, muteNumber } from '../mutations.ts';
import type { NumberDetail } from '../queries.ts';
import { canOperate, forgetKey, key, now } from '../state.ts';
import { formatFull } from '../words.ts';

type Tagged = Pick<NumberDetail, 'id' | 'labels' | 'mutedUntil' | 'muteNote'>;

/** The time may have passed since the number was loaded. */
function isMuted({ mutedUntil }: Tagged): boolean {
  return mutedUntil !== null && Date.parse(mutedUntil) > now.peek();
}

/** More would make the row higher than the others. */
const maxLabelsInRow = 2;

export function Tags({ number }: { readonly number: Tagged }): ComponentChild {
  const { labels } = number;
  const muted = isMuted(number);
  if (labels.length === 0 && !muted) return null;
  const more = labels.length - maxLabelsInRow;
  return h(
    'div',
    { class: 'tags', title: labels.join('\n') },
    muted ? h('span', { class: 'tag muted', title: describeMute(number) }, 'muted') : null,
    labels.slice(0, maxLabelsInRow).map((label) => h('span', { key: label, class: 'tag' }, label)),
    more > 0 ? h('span', { class: 'tag more' }, `+${more}`) : null,
  );
}

function describeMute({ mutedUntil, muteNote }: Tagged): string {
  const until = mutedUntil === null ? '' : ` until ${formatFull(mutedUntil)}`;
  return `Alerts are muted${until}.${muteNote === null ? '' : ` ${muteNote}`}`;
}

/** What a key with the scope `operate` can change. */
export function Notes({ number }: { readonly number: NumberDetail }): ComponentChild {
  const [error, setError] = useState<ApiError | null>(null);
  const { labels, mutedUntil, muteNote, id } = number;
  const canChange = canOperate(id);
  const muted = isMuted(number);
  if (!canChange && labels.length === 0 && !muted) return null;
  const change = (send: () => Promise<void>) =>
    void send().then(
      () => {
        setError(null);
        return reloadNumber();
      },
      (thrown: unknown) => {
        const failure = toApiError(thrown);
        // One that may read only stays.
        if (failure.code === 'UNAUTHENTICATED') forgetKey(failure);
        else setError(failure);
      },
    );
  const mute = muted ? `until ${formatFull(mutedUntil ?? '')}` : 'on';
  return h(
    'section',
    null,
    h('h3', null, 'Alerts and labels'),
    h('dl', { class: 'pairs' }, [
      h('dt', { key: 'alerts' }, 'Alerts'),
      h(
        'dd',
        { key: 'mute' },
        muted ? `muted ${mute}` : mute,
        muteNote && muted ? ` · ${muteNote}` : '',
      ),
      ...(canChange
        ? []
        : [
            h('dt', { key: 'labels' }, 'Labels'),
            h('dd', { key: 'list' }, labels.join(', ') || 'none'),
          ]),
    ]),
    canChange
      ? h(
          Fragment,
          null,
          h(MuteForm, { id, muted, change }),
          h(LabelForm, { key: labels.join(','), number, change }),
        )
      : null,
    error === null ? null : h('p', { class: 'problem', role: 'alert' }, error.message),
  );
}

interface FormProps {
  readonly change: (send: () => Promise<void>) => void;
}

const durations = [
  ['1 hour', 1],
  ['8 hours', 8],
  ['1 day', 24],
  ['7 days', 168],
] as const;

function MuteForm({
  id,
  muted,
  change,
}: FormProps & { readonly id: string; readonly muted: boolean }): ComponentChild {
  const mute = (until: Date | null) => change(() => muteNumber(key.peek() ?? '', id, until));
  if (muted)
    return h(
      'div',
      { class: 'acts' },
      h('button', { type: 'button', class: 'do', onClick: () => mute(null) }, 'Unmute'),
    );
  return h(
    'div',
    { class: 'mute', role: 'group', 'aria-label': 'Mute alerts for' },
    h('span', { class: 'quiet' }, 'Mute for'),
    durations.map(([text, hours]) =>
      h(
        'button',
        {
          key: text,
          type: 'button',
          class: 'chip',
          onClick: () => mute(new Date(now.peek() + hours * 3_600_000)),
        },
        text,
      ),
    ),
  );
}

function LabelForm({ number, change }: FormProps & { readonly number: Tagged }): ComponentChild {
  const input = useRef<HTMLInputElement>(null);
  return h(
    'form',
    {
      class: 'labels',
      onSubmit: (event: Event) => {
        event.preventDefault();
        const labels = (input.current?.value ?? '').split(',').map((label) => label.trim());
        change(() => labelNumber(key.peek() ?? '', number.id, labels.filter(Boolean)));
      },
    },
    h('label', { for: 'labels' }, 'Labels'),
    h('input', {
      ref: input,
      id: 'labels',
      defaultValue: number.labels.join(', '),
      placeholder: 'team=support, city=recife',
      autocomplete: 'off',
      spellcheck: false,
    }),
    h('button', { type: 'submit', class: 'do' }, 'Save'),
  );
}
