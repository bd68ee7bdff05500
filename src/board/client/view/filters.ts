// The search, the chips with their counts, and the selects for place, order and groups. All of them change the address.

import { h, type ComponentChild, type ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import {
  type Flag,
  flags,
  groupings,
  isFiltered,
  maxSearchLength,
  noFilters,
  orders,
  qualities,
  verdicts,
  type View,
} from '../address.ts';
import type { CountedPlace, Facets } from '../queries.ts';
import { fleet, navigate, view } from '../state.ts';
import { formatCount, toLabelKey, toWords, verdictWords } from '../words.ts';
import { RefreshMatches } from './refreshing.ts';

export function Filters(): ComponentChild {
  const facets = fleet.value?.data.page.facets ?? null;
  const { group, order } = view.value;
  return h(
    'div',
    { class: 'filters' },
    h('div', { class: 'search-line' }, h(Search, null), h(Clear, null)),
    h(
      'div',
      { class: 'chips' },
      h(VerdictChips, { facets }),
      h(QualityChips, { facets }),
      h(FlagChips, { facets }),
      h(
        'div',
        { class: 'chip-group' },
        h(PlaceSelect, { label: 'Accounts', member: 'accounts', places: facets?.waba ?? null }),
        h(PlaceSelect, {
          label: 'Portfolios',
          member: 'portfolios',
          places: facets?.portfolio ?? null,
        }),
        h(LabelSelect, { labels: facets?.label ?? [] }),
        h(Select, {
          label: 'Order',
          value: order,
          options: Object.entries(orders).map(([value, { label }]) => ({ value, label })),
          onSelect: (value) => navigate({ order: value as View['order'] }),
        }),
        h(Select, {
          label: 'Groups',
          value: group,
          options: toGroupings(facets?.label ?? [], group),
          onSelect: (value) => navigate({ group: value as View['group'] }),
        }),
        h(RefreshMatches, null),
      ),
    ),
  );
}

function Clear(): ComponentChild {
  if (!isFiltered(view.value)) return null;
  return h(
    'button',
    { type: 'button', class: 'link', onClick: () => navigate(noFilters) },
    'Clear filters',
  );
}

/** While somebody types, the address follows at this distance. */
const typingMs = 200;

function Search(): ComponentChild {
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const { search } = view.value;
  // What was typed is newer than the address.
  useEffect(() => {
    if (input.current && document.activeElement !== input.current) input.current.value = search;
  }, [search]);
  const onInput = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(
      () => navigate({ search: input.current?.value ?? '' }, { isReplaced: true }),
      typingMs,
    );
  };
  return h(
    'div',
    { class: 'search', role: 'search' },
    h('input', {
      ref: input,
      id: 'search',
      type: 'search',
      placeholder: 'Name, number or verified name',
      'aria-label': 'Search by name, number or verified name',
      autocomplete: 'off',
      spellcheck: false,
      maxLength: maxSearchLength,
      defaultValue: search,
      onInput,
    }),
    h('kbd', { 'aria-hidden': 'true' }, '/'),
  );
}

interface FacetProps {
  /** Null before they are known. */
  readonly facets: Facets | null;
}

function VerdictChips({ facets }: FacetProps): ComponentChild {
  const selected = view.value.verdicts;
  return h(
    ChipGroup,
    { label: 'can it send' },
    verdicts.map((value) =>
      h(Chip, {
        key: value,
        text: verdictWords[value],
        count: facets && countOf(facets.verdict, value),
        isOn: selected.includes(value),
        onToggle: () => navigate({ verdicts: toggle(selected, value) }),
      }),
    ),
  );
}

function QualityChips({ facets }: FacetProps): ComponentChild {
  const selected = view.value.qualities;
  return h(
    ChipGroup,
    { label: 'quality', isLabelShown: true },
    qualities.map((value) =>
      h(Chip, {
        key: value,
        text: toWords(value),
        count: facets && countOf(facets.qualityRating, value),
        isOn: selected.includes(value),
        onToggle: () => navigate({ qualities: toggle(selected, value) }),
      }),
    ),
  );
}

const flagWords: Readonly<Record<Flag, string>> = {
  restricted: 'Restricted',
  stale: 'Stale',
  failing: 'Failing reads',
};

function FlagChips({ facets }: FacetProps): ComponentChild {
  const selected = view.value.flags;
  return h(
    ChipGroup,
    { label: 'also', isLabelShown: true },
    flags.map((flag) =>
      h(Chip, {
        key: flag,
        text: flagWords[flag],
        count: facets && facets[flag],
        isOn: selected.includes(flag),
        onToggle: () => navigate({ flags: toggle(selected, flag) as Flag[] }),
      }),
    ),
  );
}

function countOf(counts: Facets['verdict'] | Facets['qualityRating'], value: string): number {
  return counts.find((it) => it.value === value)?.count ?? 0;
}

function toggle(list: readonly string[], value: string): readonly string[] {
  return list.includes(value) ? list.filter((it) => it !== value) : [...list, value];
}

interface ChipGroupProps {
  readonly label: string;
  readonly isLabelShown?: boolean;
  readonly children?: ComponentChildren;
}

function ChipGroup({ label, isLabelShown = false, children }: ChipGroupProps): ComponentChild {
  return h(
    'div',
    { class: 'chip-group', role: 'group', 'aria-label': label },
    isLabelShown ? h('span', { class: 'chip-label', 'aria-hidden': 'true' }, label) : null,
    children,
  );
}

interface ChipProps {
  readonly text: string;
  readonly count: number | null;
  readonly isOn: boolean;
  readonly onToggle: () => void;
}

function Chip({ text, count, isOn, onToggle }: ChipProps): ComponentChild {
  const isEmpty = count === 0 && !isOn;
  return h(
    'button',
    {
      type: 'button',
      class: `chip ${isEmpty ? 'zero' : ''}`,
      'aria-pressed': isOn,
      onClick: onToggle,
    },
    text,
    h('b', null, count === null ? '·' : formatCount(count)),
  );
}

interface PlaceSelectProps {
  readonly label: string;
  readonly member: 'accounts' | 'portfolios';
  /** Null before they are known. */
  readonly places: readonly CountedPlace[] | null;
}

/** Nothing in a fleet with one place. Under a filter, and before the places are known, it stays where it is. */
function PlaceSelect({ label, member, places: known }: PlaceSelectProps): ComponentChild {
  const selected = view.value[member];
  if (known !== null && known.length < 2 && !isFiltered(view.value)) return null;
  const places = known ?? [];
  const several = `${selected.length} ${label.toLowerCase()}`;
  return h(Select, {
    label,
    isOn: selected.length > 0,
    value: selected.length > 1 ? several : (selected[0] ?? ''),
    options: [
      { value: '', label: `All ${label.toLowerCase()}` },
      ...(selected.length > 1 ? [{ value: several, label: several }] : []),
      ...places.map(({ id, name, count }) => ({
        value: id,
        label: `${name ?? id} · ${formatCount(count)}`,
      })),
      // One that no number has under the other filters.
      ...selected
        .filter((id) => selected.length === 1 && !places.some((place) => place.id === id))
        .map((id) => ({ value: id, label: `${id} · 0` })),
    ],
    onSelect: (value) => navigate({ [member]: value === '' || value === several ? [] : [value] }),
  });
}

function LabelSelect({ labels }: { readonly labels: Facets['label'] }): ComponentChild {
  const selected = view.value.labels;
  if (labels.length === 0 && selected.length === 0) return null;
  const several = `${selected.length} labels`;
  const known = labels.map(({ value, count }) => ({
    value,
    label: `${value} · ${formatCount(count)}`,
  }));
  const missing = selected
    .filter((value) => !labels.some((it) => it.value === value))
    .map((value) => ({ value, label: `${value} · 0` }));
  return h(Select, {
    label: 'Labels',
    isOn: selected.length > 0,
    value: selected.length > 1 ? several : (selected[0] ?? ''),
    options: [
      { value: '', label: 'All labels' },
      ...(selected.length > 1 ? [{ value: several, label: several }] : []),
      ...known,
      ...missing,
    ],
    onSelect: (value) => navigate({ labels: value === '' || value === several ? [] : [value] }),
  });
}

/** Also by each key that labels have. */
function toGroupings(labels: Facets['label'], group: View['group']) {
  const values = [...labels.map(({ value }) => `label:${toLabelKey(value)}`), group];
  const byLabel = [...new Set(values)].filter((value) => value.startsWith('label:'));
  return [
    ...Object.entries(groupings).map(([value, label]) => ({ value, label })),
    ...byLabel.map((value) => ({ value, label: `By label ${value.slice('label:'.length)}` })),
  ];
}

interface SelectProps {
  readonly label: string;
  readonly value: string;
  readonly isOn?: boolean;
  readonly options: readonly { readonly value: string; readonly label: string }[];
  readonly onSelect: (value: string) => void;
}

function Select({ label, value, isOn = false, options, onSelect }: SelectProps): ComponentChild {
  return h(
    'select',
    {
      class: `chip ${isOn ? 'on' : ''}`,
      'aria-label': label,
      value,
      onChange: (event: Event) => onSelect((event.currentTarget as HTMLSelectElement).value),
    },
    options.map((option) => h('option', { key: option.value, value: option.value }, option.label)),
  );
}
