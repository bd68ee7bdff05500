// Says how many numbers there are, and goes from page to page.

import { type ComponentChild, h } from 'preact';
import { isFiltered, type View } from '../address.ts';
import type { FleetPage } from '../queries.ts';
import { navigate, view } from '../state.ts';
import { formatClock, formatCount } from '../words.ts';

export function Pager({ page }: { readonly page: FleetPage['page'] }): ComponentChild {
  const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo;
  if (page.nodes.length === 0) return null;
  return h(
    'nav',
    { class: 'pager', 'aria-label': 'Pages' },
    h('span', null, describePage(page)),
    hasPreviousPage ? toButton('Previous', { before: startCursor, after: null }) : null,
    hasNextPage ? toButton('Next', { after: endCursor, before: null }) : null,
  );
}

/** Verdicts and ages of later pages are those of the time of the first one. */
function describePage({ nodes, totalCount, asOf, pageInfo }: FleetPage['page']): string {
  const matches = isFiltered(view.value) ? ' that match' : '';
  if (pageInfo.hasPreviousPage) {
    const time = formatClock(new Date(asOf));
    return `${formatCount(nodes.length)} of ${formatCount(totalCount)}${matches}, as of ${time}`;
  }
  if (pageInfo.hasNextPage)
    return `${formatCount(nodes.length)} of ${formatCount(totalCount)}${matches}`;
  return `${formatCount(totalCount)} ${totalCount === 1 ? 'number' : 'numbers'}${matches}`;
}

function toButton(text: string, change: Partial<View>): ComponentChild {
  const onClick = () => {
    navigate(change);
    scrollTo(0, 0);
  };
  return h('button', { type: 'button', class: 'do', onClick }, text);
}
