// The rows of the list, in groups if the user wants them, and the pages.

import { Fragment, h, type ComponentChild } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { formatAddress, type View } from '../address.ts';
import type { FleetNumber, FleetPage, Named, Restriction } from '../queries.ts';
import { fleet, navigate, strips, view } from '../state.ts';
import { setVisible, stripDays } from '../strip-loading.ts';
import { findSince } from '../timeline.ts';
import {
  explain,
  findMainReason,
  formatCount,
  formatFull,
  formatLimit,
  formatName,
  formatNumber,
  formatQuality,
  formatStatus,
  toLabelKey,
  verdictWords,
} from '../words.ts';
import { IncidentLink } from './incident-facts.ts';
import { Shape } from './shapes.ts';
import { Tags } from './tags.ts';
import { Age, Countdown, Lasting, NextRead, Past } from './times.ts';

const columns = [
  ['verdict', 'Can it send?'],
  ['who', 'Number'],
  ['why', 'Why, and what to do'],
  ['status', 'Quality · status'],
  ['limit', 'Limit'],
  ['trend', 'Seven days'],
  ['since', 'Since · read'],
] as const;

export function Rows({ page }: { readonly page: FleetPage['page'] }): ComponentChild {
  return h(
    'div',
    { class: 'rows', role: 'table', 'aria-label': 'Numbers', 'aria-rowcount': page.totalCount },
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
            text,
            name === 'since' ? h('span', { class: 'next' }, 'next read') : null,
          ),
        ),
      ),
    ),
    toGroups(page, view.value.group).map(({ place, numbers }) =>
      h(
        'div',
        { key: place?.id ?? 'all', role: 'rowgroup', class: 'group' },
        place === null ? null : h(GroupHead, { place, page, shown: numbers.length }),
        numbers.map((number) => h(Row, { key: number.id, number })),
      ),
    ),
  );
}

interface Group {
  /** Null for the whole list. */
  readonly place: Named | null;
  readonly numbers: readonly FleetNumber[];
}

const nowhere: Named = { id: '', name: null };

/** In the order in which they appear, so that the group with the worst number comes first. */
function toGroups({ nodes }: FleetPage['page'], group: View['group']): readonly Group[] {
  if (group === 'none') return [{ place: null, numbers: nodes }];
  const placeOf = (number: FleetNumber) => findPlace(number, group) ?? nowhere;
  return [...Map.groupBy(nodes, (number) => placeOf(number).id).values()].map((numbers) => ({
    place: placeOf(numbers[0]!),
    numbers,
  }));
}

function findPlace({ meta, portfolio, labels }: FleetNumber, group: View['group']): Named | null {
  if (group === 'account') return meta?.waba ?? null;
  if (group === 'portfolio') return portfolio;
  const label = labels.find((it) => `label:${toLabelKey(it)}` === group);
  return label === undefined ? null : { id: label, name: label };
}

/** How many numbers match in the place, on all pages; null if that is not known. */
function countPlace(
  { facets }: FleetPage['page'],
  group: View['group'],
  id: string,
): number | null {
  if (group === 'account') return facets.waba.find((it) => it.id === id)?.count ?? null;
  if (group === 'portfolio') return facets.portfolio.find((it) => it.id === id)?.count ?? null;
  return facets.label.find((it) => it.value === id)?.count ?? null;
}

interface GroupHeadProps {
  readonly place: Named;
  readonly page: FleetPage['page'];
  readonly shown: number;
}

function GroupHead({ place, page, shown }: GroupHeadProps): ComponentChild {
  const { group } = view.value;
  const total = countPlace(page, group, place.id) ?? shown;
  const name = place === nowhere ? nowhereWords(group) : (place.name ?? place.id);
  const count =
    total > shown
      ? `${formatCount(shown)} of ${formatCount(total)} on this page`
      : formatCount(shown);
  return h(
    'div',
    { class: 'group-head', role: 'row' },
    h(
      'div',
      { role: 'cell', 'aria-colspan': columns.length },
      h('b', null, name),
      ' ',
      h('span', null, count),
    ),
  );
}

function nowhereWords(group: View['group']): string {
  if (group === 'account') return 'No account known';
  return group === 'portfolio' ? 'No portfolio known' : `No label ${group.slice('label:'.length)}`;
}

/** Strips are loaded for the rows that are visible. */
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      setVisible((target as HTMLElement).dataset['id'] ?? '', isIntersecting);
    }
  },
  { rootMargin: '200px' },
);

function Row({ number }: { readonly number: FleetNumber }): ComponentChild {
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const observed = element.current;
    if (observed === null) return undefined;
    observer.observe(observed);
    return () => {
      observer.unobserve(observed);
      setVisible(number.id, false);
    };
  }, [number.id]);
  const { verdict } = number.health.sendability;
  const isOpen = view.value.numberId === number.id;
  return h(
    'div',
    {
      ref: element,
      class: `row body ${verdict} ${isOpen ? 'selected' : ''}`,
      role: 'row',
      'data-id': number.id,
      onClick: (event: MouseEvent) => openOnClick(event, number.id),
    },
    h(VerdictCell, { number }),
    h(WhoCell, { number, isOpen }),
    h(WhyCell, { number }),
    h(
      'div',
      { class: 'status', role: 'cell' },
      h(
        'span',
        { class: `quality ${number.health.qualityRating ?? ''}` },
        formatQuality(number.health),
      ),
      h('div', { class: 'second' }, formatStatus(number)),
    ),
    h('div', { class: 'limit', role: 'cell' }, formatLimit(number.health)),
    h(PastCells, { number }),
  );
}

/** A click anywhere in the row opens it, but not one that ends a selection of text. */
function openOnClick(event: MouseEvent, numberId: string): void {
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (!isPlain || event.defaultPrevented || String(getSelection()) !== '') return;
  event.preventDefault();
  navigate({ numberId });
}

function VerdictCell({ number }: { readonly number: FleetNumber }): ComponentChild {
  const { incident, health } = number;
  const { verdict, replyVerdict } = health.sendability;
  const canOnlyReply = verdict === 'NO' && replyVerdict === 'YES';
  return h(
    'div',
    { class: 'verdict', role: 'cell' },
    h(Shape, { verdict }),
    h(
      'span',
      null,
      verdictWords[verdict],
      canOnlyReply ? h('div', { class: 'second' }, 'can reply') : null,
      incident === null ? null : h('div', { class: 'second' }, h(IncidentLink, { incident })),
    ),
  );
}

function WhoCell({
  number,
  isOpen,
}: {
  readonly number: FleetNumber;
  readonly isOpen: boolean;
}): ComponentChild {
  const href = formatAddress({ ...view.value, numberId: number.id });
  return h(
    'div',
    { class: 'who', role: 'cell' },
    h(
      'a',
      { class: 'name', href, 'aria-current': isOpen ? 'true' : undefined, title: number.name },
      formatName(number),
    ),
    number.name.trim() === '' ? null : h('div', { class: 'second' }, formatNumber(number)),
    h(Tags, { number }),
  );
}

function WhyCell({ number }: { readonly number: FleetNumber }): ComponentChild {
  const explanation = explain(number.health);
  if (explanation === null) return h('div', { class: 'why', role: 'cell' });
  const { text, solution } = explanation;
  const restriction = findMainRestriction(number);
  return h(
    'div',
    { class: 'why', role: 'cell' },
    h('div', { class: 'text', title: text }, text),
    restriction === null ? null : h(Countdown, { expiresAt: restriction.expiresAt }),
    solution === null ? null : h('div', { class: 'second text', title: solution }, solution),
  );
}

/** What Meta restricts the account from, if that is the main reason. */
function findMainRestriction({ health, meta }: FleetNumber): Restriction | null {
  const reason = findMainReason(health);
  if (reason?.field !== 'restriction_type') return null;
  return meta?.waba?.restrictions.find(({ typeRaw }) => typeRaw === reason.value) ?? null;
}

function PastCells({ number }: { readonly number: FleetNumber }): ComponentChild {
  const strip = strips.value.get(number.id);
  const { verdict } = number.health.sendability;
  const since = strip === undefined ? null : findSince(strip.spans, verdict);
  const { observedAt = null, nextSyncAt = null } = number.health.freshness ?? {};
  return h(
    Fragment,
    null,
    h(
      'div',
      { class: 'trend', role: 'cell' },
      strip === undefined
        ? h('span', { class: 'past pending' })
        : h(Past, { spans: strip.spans, days: stripDays, columns: 84, label: 'Last seven days' }),
    ),
    h(
      'div',
      { class: 'since', role: 'cell' },
      since === null
        ? h('span', { class: 'second' }, '\u00a0')
        : h(
            'span',
            { title: `Since ${formatFull(since.at)}` },
            since.isAtLeast ? 'over ' : null,
            h(Lasting, { from: since.at }),
          ),
      h('div', { class: 'second' }, h(Age, { at: observedAt }), h(NextRead, { at: nextSyncAt })),
    ),
  );
}

/** The list, or what to do if there is none. */
export function hasRows(): boolean {
  return (fleet.value?.data.page.nodes.length ?? 0) > 0;
}
