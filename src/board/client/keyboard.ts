// The keys of the board: / j k Enter r ? Esc. The number that the keyboard is at is the one whose link has the focus.

import { reloadFleet } from './fleet-loading.ts';
import { reloadIncidents } from './incident-loading.ts';
import { refreshOpenNumber } from './number-loading.ts';
import { isHelpOpen, navigate, openNumber, view } from './state.ts';

export function startKeyboard(): void {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    // Not isHelpOpen, which follows when the dialog has closed.
    if (document.querySelector('dialog[open]') !== null) return;
    const target = event.target instanceof HTMLElement ? event.target : null;
    const isField = target?.matches('input, select, textarea') === true;
    if (event.key === 'Escape') return leave(target, isField);
    const act = isField ? undefined : actions[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}

const actions: Readonly<Record<string, () => void>> = {
  '/': () => document.querySelector<HTMLInputElement>('#search')?.select(),
  j: () => move(1),
  k: () => move(-1),
  r: () => {
    if (view.peek().incidents !== null) reloadIncidents();
    else if (openNumber.peek() === null) reloadFleet();
    else void refreshOpenNumber();
  },
  '?': () => (isHelpOpen.value = true),
};

function leave(target: HTMLElement | null, isField: boolean): void {
  if (isField) return target?.blur();
  const { numberId, incidentId } = view.peek();
  const open = incidentId ?? numberId;
  if (open === null) return;
  navigate({ numberId: null, incidentId: null });
  findLink(open)?.focus();
}

function findLink(id: string): HTMLElement | null {
  return document.querySelector(`[data-id="${CSS.escape(id)}"] .name`);
}

/** Enter then follows the link that has the focus. */
function move(step: 1 | -1): void {
  const links = [...document.querySelectorAll<HTMLElement>('.rows .body .name')];
  const { numberId, incidentId } = view.peek();
  const openId = incidentId ?? numberId;
  const focused = links.findIndex((link) => link === document.activeElement);
  const open =
    openId === null
      ? -1
      : links.findIndex((link) => link.closest<HTMLElement>('.row')?.dataset['id'] === openId);
  const from = focused === -1 ? open : focused;
  const next = from === -1 ? 0 : Math.min(links.length - 1, Math.max(0, from + step));
  links[next]?.focus();
  links[next]?.closest('.row')?.scrollIntoView({ block: 'nearest' });
}
