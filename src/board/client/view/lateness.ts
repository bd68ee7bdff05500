// One line that says which of the accounts in view are not read in the background as often as planned.

import { h, type ComponentChild } from 'preact';
import { noFilters } from '../address.ts';
import type { LateAccount } from '../incident-queries.ts';
import { fleet, lateAccounts, navigate, view } from '../state.ts';
import { formatMinute } from '../words.ts';

/** Nothing if all are on time. */
export function Lateness(): ComponentChild {
  const names = new Map(
    fleet.value?.data.page.nodes.flatMap(({ meta }) =>
      meta?.waba ? [[meta.waba.id, meta.waba.name ?? meta.waba.id] as const] : [],
    ),
  );
  const late = lateAccounts.value.filter(({ wabaId }) => names.has(wabaId));
  if (late.length === 0) return null;
  const accounts = late.map(({ wabaId }) => wabaId);
  const parts = states.flatMap(([state, describe]) => {
    const ofState = late.filter((it) => it.state === state);
    return ofState.length === 0 ? [] : [describe(ofState, toNames(ofState, names))];
  });
  const isShown = accounts.length === view.value.accounts.length;
  return h(
    'p',
    { class: 'lateness' },
    h('b', null, 'Not read on time: '),
    parts.join(', '),
    '. ',
    isShown || accounts.length > maxShown
      ? null
      : h(
          'a',
          {
            href: '#',
            onClick: (event: Event) => {
              event.preventDefault();
              navigate({ ...noFilters, accounts });
            },
          },
          'Show their numbers',
        ),
  );
}

const maxShown = 20;
const maxNamed = 3;

const states: readonly (readonly [
  state: string,
  describe: (accounts: readonly LateAccount[], names: string) => string,
])[] = [
  ['LATE', (_, names) => `${names} (late)`],
  ['PAUSED_BUDGET', (accounts, names) => `${names} (all calls are used${toEnd(accounts)})`],
  ['PAUSED_TOKEN', (_, names) => `${names} (the access token is refused)`],
];

function toNames(accounts: readonly LateAccount[], names: ReadonlyMap<string, string>): string {
  if (accounts.length > maxNamed) return `${accounts.length} accounts`;
  return accounts.map(({ wabaId }) => names.get(wabaId)).join(', ');
}

/** The last of the ends. */
function toEnd(accounts: readonly LateAccount[]): string {
  const ends = accounts.flatMap(({ pausedUntil }) => pausedUntil ?? []).toSorted();
  const last = ends.at(-1);
  return last === undefined ? '' : ` until ${formatMinute(new Date(last))}`;
}
