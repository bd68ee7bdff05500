// The sentence at the top of the board, the largest cause, and the same in the title and the icon of the page.

import { h, type ComponentChild } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Cause } from '../causes.ts';
import type { FleetPage, Verdict } from '../queries.ts';
import { causes, fleet, navigate, notLiveSince, tenantName } from '../state.ts';
import { noFilters } from '../address.ts';
import { formatCount } from '../words.ts';
import { toIcon } from './shapes.ts';

export interface Totals {
  readonly all: number;
  readonly YES: number;
  readonly NO: number;
  readonly UNKNOWN: number;
}

function toTotals({ whole }: FleetPage): Totals {
  const of = (verdict: Verdict) =>
    whole.facets.verdict.find(({ value }) => value === verdict)?.count ?? 0;
  return { all: whole.totalCount, YES: of('YES'), NO: of('NO'), UNKNOWN: of('UNKNOWN') };
}

export function Summary(): ComponentChild {
  const totals = fleet.value === null ? null : toTotals(fleet.value.data);
  usePageTitle(totals);
  if (totals === null)
    return h('div', { class: 'summary waiting' }, h('h1', null, 'Reading the fleet…'));
  if (totals.all === 0) return null;
  return h(
    'div',
    { class: 'summary' },
    h('h1', null, ...toSentence(totals)),
    h(CauseLine, { totals }),
    h(Bar, { totals }),
  );
}

function toSentence({ all, YES, NO, UNKNOWN }: Totals): ComponentChild[] {
  const rest = [
    ...(NO > 0 ? [`${formatCount(NO)} cannot`] : []),
    ...(UNKNOWN > 0 ? [`${formatCount(UNKNOWN)} unknown`] : []),
  ].join(', ');
  if (rest === '')
    return [all === 1 ? 'The one number can send' : `All ${formatCount(all)} can send`];
  return [
    `${formatCount(YES)} of ${formatCount(all)} can send`,
    h('span', null, h('i', { class: 'dot' }, ' · '), rest),
  ];
}

function CauseLine({ totals }: { readonly totals: Totals }): ComponentChild {
  const [cause] = causes.value;
  const trouble = totals.NO + totals.UNKNOWN;
  if (trouble === 0) return h('p', { class: 'cause' }, 'Nothing needs you.');
  if (cause === undefined || !isLarge(cause, totals)) {
    const text =
      trouble === 1 ? 'It comes first, with what to do.' : 'Worst first, with what to do.';
    return h('p', { class: 'cause' }, text);
  }
  return h(
    'p',
    { class: 'cause' },
    `${formatShare(cause, totals)} share one cause: ${cause.text}`,
    ...toPlace(cause),
    '.',
  );
}

/** One that few numbers share is not worth the line. */
function isLarge({ count, verdict }: Cause, totals: Totals): boolean {
  const total = totals[verdict];
  return count <= total && (count >= 3 || count * 2 >= total);
}

function formatShare({ count, verdict }: Cause, totals: Totals): string {
  const word = verdict === 'NO' ? 'that cannot send' : 'unknown';
  const total = totals[verdict];
  return count === total
    ? `All ${formatCount(total)} ${word}`
    : `${formatCount(count)} of the ${formatCount(total)} ${word}`;
}

const maxLinkedAccounts = 20;

/** Where the numbers are, as a link that shows them. */
function toPlace(cause: Cause): ComponentChild[] {
  const { accounts, isAge } = cause;
  const [first] = accounts;
  const show = (text: string) =>
    h('a', { href: '#', onClick: (event: Event) => select(event, cause) }, text);
  if (isAge) return ['; see ', show('stale numbers')];
  if (first === undefined || accounts.length > maxLinkedAccounts) return [];
  const name = accounts.length === 1 ? (first.name ?? first.id) : `${accounts.length} accounts`;
  return [', in ', show(name)];
}

function select(event: Event, { verdict, accounts, isAge }: Cause): void {
  event.preventDefault();
  navigate({
    ...noFilters,
    verdicts: [verdict],
    ...(isAge ? { flags: ['stale'] } : { accounts: accounts.map(({ id }) => id) }),
  });
}

function Bar({ totals }: { readonly totals: Totals }): ComponentChild {
  const { YES, NO, UNKNOWN } = totals;
  const label = `${YES} can send, ${UNKNOWN} unknown, ${NO} cannot send`;
  const parts = (['YES', 'UNKNOWN', 'NO'] as const).filter((verdict) => totals[verdict] > 0);
  return h(
    'div',
    { class: 'bar', role: 'img', 'aria-label': label },
    parts.map((verdict) =>
      h('i', { key: verdict, class: verdict, style: { flexGrow: totals[verdict] } }),
    ),
  );
}

function usePageTitle(totals: Totals | null): void {
  const worst = totals === null || totals.all === 0 ? null : findWorst(totals);
  const isLive = notLiveSince.value === null;
  const text = [...(totals === null ? [] : [toTitle(totals)]), tenantName.value ?? 'Numbers'].join(
    ' · ',
  );
  const title = isLive ? text : `Not live · ${text}`;
  const icon = toIcon(isLive ? worst : null);
  useEffect(() => {
    document.title = title;
    document.querySelector('link[rel="icon"]')?.setAttribute('href', icon);
  }, [title, icon]);
}

function findWorst({ NO, UNKNOWN }: Totals): Verdict {
  if (NO > 0) return 'NO';
  return UNKNOWN > 0 ? 'UNKNOWN' : 'YES';
}

function toTitle({ all, NO, UNKNOWN }: Totals): string {
  if (all === 0) return 'No numbers yet';
  if (NO > 0) return `${formatCount(NO)} cannot send`;
  return UNKNOWN > 0 ? `${formatCount(UNKNOWN)} unknown` : `All ${formatCount(all)} can send`;
}
