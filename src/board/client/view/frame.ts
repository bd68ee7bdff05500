// What stands around the list: the bar at the top, the notices, the request for a key, the help, and what is shown without rows.

import { h, type ComponentChild } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { formatAddress, isFiltered, noFilters, type View } from '../address.ts';
import type { ApiError } from '../api.ts';
import { reloadFleet } from '../fleet-loading.ts';
import { demoKeys } from '../keys.ts';
import {
  enteredKey,
  enterKey,
  fleet,
  fleetError,
  incidents,
  incidentsError,
  isHelpOpen,
  keyProblem,
  live,
  navigate,
  notLiveSince,
  now,
  tenantName,
  view,
} from '../state.ts';
import { formatClock, formatCount, formatFull, formatMinute } from '../words.ts';
import { Shape } from './shapes.ts';

export function TopBar(): ComponentChild {
  const { isWall } = view.value;
  return h(
    'header',
    { class: 'top' },
    h(Sections, null),
    h(Tenant, null),
    h('span', { class: 'grow' }),
    isWall
      ? h('span', { class: 'clock' }, formatMinute(now.value))
      : h(
          'button',
          {
            type: 'button',
            class: 'keys',
            title: 'Keyboard shortcuts',
            onClick: () => (isHelpOpen.value = true),
          },
          ['/', 'j', 'k', '?'].map((key) => h('kbd', { key }, key)),
          h('span', { class: 'unseen' }, ' Keyboard shortcuts'),
        ),
    h(LiveState, null),
    // Paper has no clock, and does not say how old it is.
    h('span', { class: 'printed' }, `As of ${formatFull(new Date(now.value).toISOString())}`),
  );
}

/** The numbers, and the incidents with how many are open. */
function Sections(): ComponentChild {
  const shown = view.value.incidents;
  const open = fleet.value?.data.openIncidents.totalCount ?? 0;
  const link = (text: string, target: View['incidents'], count: number) => {
    const change = { incidents: target, incidentId: null };
    const isCurrent = (shown === null) === (target === null);
    return h(
      'a',
      {
        href: formatAddress({ ...view.value, ...change }),
        'aria-current': isCurrent ? 'page' : undefined,
        onClick: (event: MouseEvent) => {
          if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          navigate(change);
        },
      },
      text,
      count === 0 ? null : h('span', { class: 'count' }, ` ${formatCount(count)}`),
    );
  };
  return h(
    'nav',
    { class: 'sections', 'aria-label': 'Sections' },
    link('Numbers', null, 0),
    link('Incidents', 'OPEN', open),
  );
}

/** In the demo there are two tenants to choose from. */
function Tenant(): ComponentChild {
  const name = tenantName.value;
  if (name === null) return null;
  if (demoKeys.length < 2 || enteredKey.value !== null || view.value.isWall)
    return h('span', { class: 'tenant' }, name);
  return h(
    'select',
    {
      class: 'tenant',
      'aria-label': 'Tenant',
      value: String(view.value.demo),
      onChange: (event: Event) => {
        const demo = Number((event.currentTarget as HTMLSelectElement).value);
        // Another tenant has other numbers.
        const others = { ...noFilters, numberId: null, incidentId: null, demo };
        location.assign(formatAddress({ ...view.peek(), ...others }));
      },
    },
    demoKeys.map(({ tenantName: text }, index) =>
      h('option', { key: text, value: String(index + 1) }, text),
    ),
  );
}

const liveWords = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Reconnecting',
  paused: 'Paused',
} as const;

function LiveState(): ComponentChild {
  const isDown = notLiveSince.value !== null || (fleet.value === null && fleetError.value !== null);
  const status = isDown ? 'lost' : live.value.status;
  return h(
    'span',
    { class: `live ${status}`, role: 'status' },
    h('i', { 'aria-hidden': 'true' }),
    liveWords[status],
  );
}

/** Says that what is shown may be old. Values and ages stay. */
export function Notices(): ComponentChild {
  const since = notLiveSince.value;
  if (since !== null) {
    return h(
      'p',
      { class: 'notice', role: 'alert' },
      h('b', null, `Not live since ${formatClock(since)}.`),
      ' The values below are the last ones received; their ages are right. Reconnecting.',
    );
  }
  const ofIncidents = view.value.incidents === null ? null : incidentsError.value;
  // Where nothing was received yet, the error stands in the place of the rows.
  const error =
    (incidents.value === null ? null : ofIncidents) ??
    (fleet.value === null ? null : fleetError.value);
  return error === null ? null : h(FailedAgain, { error, role: 'alert' });
}

interface FailedAgainProps {
  readonly error: ApiError;
  readonly role: 'alert' | 'status';
}

/** Says that what was received before is still shown. */
export function FailedAgain({ error, role }: FailedAgainProps): ComponentChild {
  return h(
    'p',
    { class: 'notice', role },
    h('b', null, error.message),
    ' The values below are the last ones received. Trying again.',
  );
}

/** In the place of the rows. */
export function NoRows(): ComponentChild {
  const error = fleetError.value;
  if (fleet.value === null) return error === null ? h(Waiting, null) : h(Failed, null);
  if (fleet.value.data.whole.totalCount === 0) return h(NoNumbers, null);
  if (!isFiltered(view.value)) return null;
  return h(
    'div',
    { class: 'empty' },
    h('h2', null, 'No number matches'),
    h('p', null, 'No number has all of the filters that are set.'),
    h(
      'button',
      { type: 'button', class: 'do', onClick: () => navigate(noFilters) },
      'Clear filters',
    ),
  );
}

function Waiting(): ComponentChild {
  return h(
    'div',
    { class: 'waiting rows', 'aria-hidden': 'true' },
    Array.from({ length: 8 }, (_, index) =>
      h('div', { key: index, class: 'row body' }, h('i', null), h('i', null), h('i', null)),
    ),
  );
}

function Failed(): ComponentChild {
  const error = fleetError.value;
  return h(
    'div',
    { class: 'empty' },
    h(Shape, { verdict: 'UNKNOWN' }),
    h('h1', null, 'The fleet cannot be read'),
    h('p', null, error?.message, ' ', toHelp(error), 'The board tries again by itself.'),
    h('button', { type: 'button', class: 'do', onClick: reloadFleet }, 'Try now'),
  );
}

/** What to look at before the next try. */
export function toHelp(error: ApiError | null): string {
  return error?.code === 'NETWORK'
    ? 'See whether its process runs, and what GET /readyz of it returns. '
    : '';
}

function NoNumbers(): ComponentChild {
  return h(
    'div',
    { class: 'empty' },
    h('h1', null, 'No numbers yet'),
    h(
      'p',
      null,
      'Import all numbers that an access token can see, or add one. They appear here at once.',
    ),
    h(
      'pre',
      null,
      'npm run -s gateway -- number import --help\nnpm run -s gateway -- number add --help',
    ),
  );
}

export function SignIn(): ComponentChild {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const problem = keyProblem.value;
  return h(
    'main',
    { class: 'sign-in' },
    h(
      'form',
      {
        onSubmit: (event: Event) => {
          event.preventDefault();
          const entered = input.current?.value.trim() ?? '';
          if (entered !== '') enterKey(entered);
        },
      },
      h('h1', null, 'Numbers'),
      h(
        'p',
        { id: 'key-help' },
        'Enter an API key of the tenant. It stays in this tab, and is forgotten when the tab is closed. Operators create one with the command ',
        h('code', null, 'key create'),
        '.',
      ),
      problem === null
        ? null
        : h('p', { class: 'problem', role: 'alert', id: 'key-problem' }, problem),
      h('label', { for: 'key' }, 'API key'),
      h('input', {
        ref: input,
        id: 'key',
        type: 'password',
        autocomplete: 'off',
        spellcheck: false,
        placeholder: 'ps_…',
        required: true,
        'aria-describedby': problem === null ? 'key-help' : 'key-help key-problem',
      }),
      h('button', { type: 'submit', class: 'do first' }, 'Show the fleet'),
    ),
  );
}

const shortcuts = [
  ['/', 'Search'],
  ['j', 'Next number'],
  ['k', 'Previous number'],
  ['Enter', 'Open the number'],
  ['r', 'Read the open number now, or load the list again'],
  ['Esc', 'Close'],
  ['?', 'This help'],
] as const;

export function Help(): ComponentChild {
  const dialog = useRef<HTMLDialogElement>(null);
  const isOpen = isHelpOpen.value;
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  return h(
    'dialog',
    {
      ref: dialog,
      class: 'help',
      'aria-labelledby': 'help-title',
      onClose: () => (isHelpOpen.value = false),
    },
    h('h2', { id: 'help-title' }, 'Keyboard'),
    h(
      'dl',
      null,
      shortcuts.flatMap(([name, text]) => [
        h('dt', { key: name }, h('kbd', null, name)),
        h('dd', { key: text }, text),
      ]),
    ),
    h(
      'p',
      { class: 'quiet' },
      'The address holds filters, order, groups and the open number: copy it to share what you see. There is also a ',
      h(
        'a',
        { href: formatAddress({ ...view.value, isWall: true }) },
        'view for a screen on the wall',
      ),
      '.',
    ),
    h(
      'button',
      { type: 'button', class: 'do', onClick: () => (isHelpOpen.value = false) },
      'Close',
    ),
  );
}
