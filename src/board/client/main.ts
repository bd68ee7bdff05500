// Starts the board: what loads, what listens, and the page itself.

import { batch } from '@preact/signals';
import { h, render, type ComponentChild } from 'preact';
import { parseAddress } from './address.ts';
import { onClockShift, readTime } from './clock.ts';
import { startFeed } from './feed.ts';
import { startFleetLoading } from './fleet-loading.ts';
import { startIncidentLoading } from './incident-loading.ts';
import { startKeyboard } from './keyboard.ts';
import { startNumberLoading } from './number-loading.ts';
import { fleet, fleetError, isLoading, key, live, now, view } from './state.ts';
import { Detail } from './view/detail.ts';
import { Filters } from './view/filters.ts';
import { Help, Notices, NoRows, SignIn, TopBar } from './view/frame.ts';
import { IncidentDetail, Incidents } from './view/incidents.ts';
import { Lateness } from './view/lateness.ts';
import { Pager } from './view/pager.ts';
import { hasRows, Rows } from './view/rows.ts';
import { Summary } from './view/summary.ts';

function Board(): ComponentChild {
  if (key.value === null || key.value === '') return h(SignIn, null);
  const { isWall, numberId, incidents, incidentId } = view.value;
  const hasDetail = incidents === null ? numberId !== null : incidentId !== null;
  return h(
    'div',
    { class: `board ${isWall ? 'wall' : ''} ${hasDetail ? 'has-detail' : ''}` },
    h(TopBar, null),
    h(Notices, null),
    incidents === null
      ? h('main', null, h(List, null), isWall ? null : h(Detail, null))
      : h('main', null, h(Incidents, null), h(IncidentDetail, null)),
    h(Help, null),
  );
}

function List(): ComponentChild {
  const loaded = fleet.value;
  // There is nothing to filter, or to say of it.
  const isEmpty = loaded?.data.whole.totalCount === 0;
  const isFailed = loaded === null && fleetError.value !== null;
  return h(
    'section',
    { class: 'list', 'aria-busy': isLoading.value },
    isFailed ? null : h(Summary, null),
    isFailed ? null : h(Lateness, null),
    isFailed || isEmpty || view.value.isWall ? null : h(Filters, null),
    hasRows() && loaded !== null ? h(Rows, { page: loaded.data.page }) : h(NoRows, null),
    loaded === null ? null : h(Pager, { page: loaded.data.page }),
  );
}

function startClock(): void {
  setInterval(() => {
    if (document.visibilityState === 'visible') now.value = readTime();
  }, 1_000);
  document.addEventListener('visibilitychange', () => (now.value = readTime()));
  // At once: otherwise the feed would seem to have been silent for as long as the clock was wrong.
  onClockShift((shiftMs) =>
    batch(() => {
      const { liveAt } = live.peek();
      live.value = { ...live.peek(), liveAt: liveAt === null ? null : liveAt + shiftMs };
      now.value = readTime();
    }),
  );
}

addEventListener('popstate', () => (view.value = parseAddress(location)));
startClock();
startKeyboard();
startFleetLoading();
startNumberLoading();
startIncidentLoading();
startFeed();

const root = document.querySelector('#board');
if (root !== null) {
  root.replaceChildren();
  render(h(Board, null), root);
}
