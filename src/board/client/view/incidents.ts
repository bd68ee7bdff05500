// The list of incidents, and the one that is open beside it.

import { h, type ComponentChild } from 'preact';
import { useEffect } from 'preact/hooks';
import { formatAddress, type View } from '../address.ts';
import { reloadIncidents, showMoreIncidents } from '../incident-loading.ts';
import type { Incident } from '../incident-queries.ts';
import {
  findOpenIncident,
  fleet,
  incidents,
  incidentsError,
  navigate,
  tenantName,
  view,
} from '../state.ts';
import { formatCount, formatDuration, formatFull, toWords } from '../words.ts';
import { AcknowledgeForm, IncidentTimes, SeverityWord, toAcknowledger } from './incident-facts.ts';
import { toHelp } from './frame.ts';
import { Shape } from './shapes.ts';
import { Age, Lasting } from './times.ts';

export function Incidents(): ComponentChild {
  const loaded = incidents.value;
  const state = view.value.incidents ?? 'OPEN';
  usePageTitle();
  return h(
    'section',
    { class: 'list incidents', 'aria-busy': loaded === null },
    h(
      'div',
      { class: 'summary' },
      h('h1', null, toSentence(loaded?.nodes ?? null, state)),
      loaded?.totalCount === 0 ? h('p', { class: 'cause' }, whenNone[state]) : null,
    ),
    h(
      'div',
      { class: 'chips', role: 'group', 'aria-label': 'Which incidents' },
      h(StateChip, { state: 'OPEN', text: 'Open' }),
      h(StateChip, { state: 'CLOSED', text: 'Over' }),
    ),
    loaded === null ? h(Waiting, null) : loaded.nodes.length === 0 ? null : h(List, null),
  );
}

const whenNone: Readonly<Record<'OPEN' | 'CLOSED', string>> = {
  OPEN: 'One opens when a number cannot send, loses quality or cannot be read, and that has lasted for the time of its rule. It appears here at once.',
  CLOSED: 'One that ends, by itself or by what somebody did, is listed here.',
};

function toSentence(nodes: readonly Incident[] | null, state: View['incidents']): ComponentChild {
  if (nodes === null) return 'Incidents';
  const total = incidents.value?.totalCount ?? nodes.length;
  if (state === 'CLOSED')
    return total === 1
      ? '1 incident is over'
      : `${total === 0 ? 'No' : formatCount(total)} incidents are over`;
  if (total === 0) return 'No open incident';
  // What is not loaded is not counted.
  const isWhole = nodes.length >= total;
  const critical = nodes.filter(({ severity }) => severity === 'CRITICAL').length;
  const acknowledged = nodes.filter(({ acknowledgedAt }) => acknowledgedAt !== null).length;
  const rest = isWhole
    ? [
        ...(critical > 0 ? [`${formatCount(critical)} critical`] : []),
        toAcknowledged(acknowledged, total),
      ].join(', ')
    : '';
  return [
    toOpenCount(total),
    rest === '' ? null : h('span', null, h('i', { class: 'dot' }, ' · '), rest),
  ];
}

function toOpenCount(count: number): string {
  return `${formatCount(count)} open ${count === 1 ? 'incident' : 'incidents'}`;
}

function toAcknowledged(count: number, total: number): string {
  if (count === 0) return 'none acknowledged';
  return count === total ? 'all acknowledged' : `${formatCount(count)} acknowledged`;
}

interface StateChipProps {
  readonly state: 'OPEN' | 'CLOSED';
  readonly text: string;
}

function StateChip({ state, text }: StateChipProps): ComponentChild {
  const isOn = view.value.incidents === state;
  const count = state === 'OPEN' ? (fleet.value?.data.openIncidents.totalCount ?? null) : null;
  return h(
    'button',
    {
      type: 'button',
      class: 'chip',
      'aria-pressed': isOn,
      onClick: () => navigate({ incidents: state, incidentId: null }),
    },
    text,
    count === null ? null : h('b', null, formatCount(count)),
  );
}

const columns = [
  ['severity', 'Severity'],
  ['who', 'Where'],
  ['why', 'What has happened'],
  ['ack', 'Acknowledged'],
  ['since', 'Since'],
] as const;

function List(): ComponentChild {
  const { nodes, totalCount, next, state } = incidents.value!;
  return h(
    'div',
    null,
    h(
      'div',
      { class: 'rows', role: 'table', 'aria-label': 'Incidents', 'aria-rowcount': totalCount },
      h(
        'div',
        { class: 'head', role: 'rowgroup' },
        h(
          'div',
          { class: 'row', role: 'row' },
          columns.map(([name, text]) =>
            h(
              'div',
              { key: name, class: name, role: 'columnheader' },
              name === 'since' && state === 'CLOSED' ? 'Ended · lasted' : text,
            ),
          ),
        ),
      ),
      h(
        'div',
        { role: 'rowgroup', class: 'group' },
        nodes.map((incident) => h(Row, { key: incident.id, incident })),
      ),
    ),
    h(
      'nav',
      { class: 'pager', 'aria-label': 'Pages' },
      h(
        'span',
        null,
        next === null
          ? `${formatCount(totalCount)} in all`
          : `${formatCount(nodes.length)} of ${formatCount(totalCount)}`,
      ),
      next === null
        ? null
        : h('button', { type: 'button', class: 'do', onClick: showMoreIncidents }, 'Show more'),
    ),
  );
}

const scopeWords: Readonly<Record<string, string>> = {
  NUMBER: 'number',
  ACCOUNT: 'account',
  PORTFOLIO: 'portfolio',
  TOKEN: 'access token',
  ENGINE: 'session engine',
};

/** `account · 12 numbers` */
function toScope({ scope, numberCount }: Incident): string {
  const word = scopeWords[scope] ?? toWords(scope);
  if (scope === 'NUMBER') return word;
  return `${word} · ${formatCount(numberCount)} ${numberCount === 1 ? 'number' : 'numbers'}`;
}

function Row({ incident }: { readonly incident: Incident }): ComponentChild {
  const { id, severity, subjectName, text, openedAt, closedAt, acknowledgedAt, note } = incident;
  const isSelected = view.value.incidentId === id;
  const who = toAcknowledger(incident);
  // What is true at once, such as that a name was decided, lasts no time.
  const lastedMs = closedAt === null ? 0 : Date.parse(closedAt) - Date.parse(openedAt);
  const address = formatAddress({ ...view.value, incidentId: id });
  return h(
    'div',
    {
      class: `row body incident ${isSelected ? 'selected' : ''}`,
      role: 'row',
      'data-id': id,
      onClick: (event: MouseEvent) => openOnClick(event, id),
    },
    h('div', { class: `severity ${severity}`, role: 'cell' }, h(SeverityWord, { severity })),
    h(
      'div',
      { class: 'who', role: 'cell' },
      h(
        'a',
        { class: 'name', href: address, 'aria-current': isSelected ? 'true' : undefined },
        subjectName,
      ),
      incident.scope === 'NUMBER' ? null : h('div', { class: 'second' }, toScope(incident)),
    ),
    h('div', { class: 'why', role: 'cell' }, h('div', { class: 'text' }, text)),
    h(
      'div',
      { class: 'ack', role: 'cell' },
      who === null
        ? h('span', { class: 'second none' }, closedAt === null ? 'not yet' : '—')
        : h('div', { class: 'text' }, `by ${who}`),
      who === null
        ? null
        : h('div', { class: 'second text' }, note ?? h(Age, { at: acknowledgedAt })),
    ),
    h(
      'div',
      { class: 'since', role: 'cell', title: formatFull(openedAt) },
      closedAt === null ? h(Lasting, { from: openedAt }) : h(Age, { at: closedAt }),
      lastedMs < 1_000 ? null : h('div', { class: 'second' }, formatDuration(lastedMs)),
    ),
  );
}

/** As in the list of numbers. */
function openOnClick(event: MouseEvent, incidentId: string): void {
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (!isPlain || event.defaultPrevented || String(getSelection()) !== '') return;
  event.preventDefault();
  navigate({ incidentId });
}

function Waiting(): ComponentChild {
  const error = incidentsError.value;
  if (error === null)
    return h(
      'div',
      { class: 'waiting rows', 'aria-hidden': 'true' },
      Array.from({ length: 6 }, (_, index) =>
        h('div', { key: index, class: 'row body' }, h('i', null), h('i', null), h('i', null)),
      ),
    );
  return h(
    'div',
    { class: 'empty' },
    h(Shape, { verdict: 'UNKNOWN' }),
    h('h2', null, 'The incidents cannot be read'),
    h('p', null, error.message, ' ', toHelp(error), 'The board tries again by itself.'),
    h('button', { type: 'button', class: 'do', onClick: reloadIncidents }, 'Try now'),
  );
}

function usePageTitle(): void {
  const count = fleet.value?.data.openIncidents.totalCount ?? null;
  const text = count === null ? 'Incidents' : toOpenCount(count);
  const title = `${text} · ${tenantName.value ?? 'Numbers'}`;
  useEffect(() => {
    document.title = title;
  }, [title]);
}

/** Beside the list. */
export function IncidentDetail(): ComponentChild {
  const incident = findOpenIncident();
  if (incident === undefined) return null;
  return h(
    'aside',
    { class: 'detail', 'aria-label': 'Incident' },
    h(
      'div',
      { class: 'detail-head' },
      h('h2', null, incident?.subjectName ?? 'No such incident'),
      h(
        'button',
        {
          type: 'button',
          class: 'close',
          'aria-label': 'Close',
          title: 'Close (Esc)',
          onClick: () => navigate({ incidentId: null }),
        },
        '×',
      ),
    ),
    incident === null ? h(NotFound, null) : h(Facts, { incident }),
  );
}

function NotFound(): ComponentChild {
  return h(
    'div',
    { class: 'missing' },
    h(
      'p',
      { class: 'place' },
      'Nothing has this address. Incidents are deleted some time after their end.',
    ),
  );
}

function Facts({ incident }: { readonly incident: Incident }): ComponentChild {
  const { severity, text, rule, numbers, numberCount } = incident;
  return h(
    'div',
    { class: 'facts' },
    incident.scope === 'NUMBER' ? null : h('p', { class: 'place' }, toScope(incident)),
    h('p', { class: `pill severity ${severity}` }, h(SeverityWord, { severity })),
    h('section', null, h('h3', null, toWords(rule)), h('p', null, text)),
    h('section', null, h('h3', null, 'Times'), h(IncidentTimes, { incident })),
    h(AcknowledgeForm, { key: incident.id, incident }),
    h(
      'section',
      null,
      h(
        'h3',
        null,
        numberCount > numbers.length
          ? `Numbers · the first ${numbers.length} of ${formatCount(numberCount)}`
          : 'Numbers',
      ),
      h(
        'ul',
        { class: 'members' },
        numbers.map((number) => h(Member, { key: number.id, number })),
      ),
    ),
  );
}

function Member({
  number: { id, name },
}: {
  readonly number: Incident['numbers'][number];
}): ComponentChild {
  if (name === null) return h('li', { class: 'quiet' }, `${id}, which was removed`);
  const href = formatAddress({ ...view.value, incidents: null, incidentId: null, numberId: id });
  const onClick = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate({ incidents: null, incidentId: null, numberId: id });
  };
  return h('li', null, h('a', { href, onClick }, name));
}
