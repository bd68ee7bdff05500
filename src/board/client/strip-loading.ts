// Loads the last seven days of the numbers whose rows are visible. A timeline costs five points, so nothing is loaded for rows
// that nobody sees, and a strip is kept until its number changes.

import { readTime } from './clock.ts';
import { readStrips } from './queries.ts';
import { key, type Strip, strips } from './state.ts';

export const stripDays = 7;
const maxBatch = 40;
/** In which rows that scroll past are collected. */
const collectMs = 120;
/** After a read that failed. */
const retryMs = 10_000;
/** The spans of a strip end at the present, so it stays right for a while. */
const maxAgeMs = 15 * 60_000;

const visible = new Set<string>();
const requested = new Set<string>();
let timer: ReturnType<typeof setTimeout> | undefined;
let loadedKey: string | null = null;

/** Tells that the row of a number has come into view, or left it. */
export function setVisible(id: string, isVisible: boolean): void {
  if (isVisible) visible.add(id);
  else visible.delete(id);
  if (isVisible) schedule();
}

/** Says that the past of these numbers is not what was read. */
export function forgetStrips(ids: readonly string[]): void {
  const changed = ids.filter((id) => strips.peek().has(id));
  if (changed.length === 0) return;
  // What is shown stays until the new one is there.
  strips.value = new Map(
    [...strips.peek()].map(([id, strip]) => [
      id,
      changed.includes(id) ? { ...strip, readAt: -Infinity } : strip,
    ]),
  );
  schedule();
}

function schedule(delayMs = collectMs): void {
  timer ??= setTimeout(() => void loadDue(), delayMs);
}

async function loadDue(): Promise<void> {
  timer = undefined;
  const asked = key.peek();
  if (asked === null || asked === '') return;
  if (loadedKey !== asked) {
    loadedKey = asked;
    strips.value = new Map();
    requested.clear();
  }
  const oldest = readTime() - maxAgeMs;
  const due = [...visible].filter((id) => {
    const strip = strips.peek().get(id);
    return !requested.has(id) && (strip === undefined || strip.readAt < oldest);
  });
  if (due.length === 0) return;
  const batch = due.slice(0, maxBatch);
  for (const id of batch) requested.add(id);
  const from = new Date(readTime() - stripDays * 86_400_000);
  const readAt = readTime();
  const read = await readStrips(asked, batch, from).catch(() => null);
  for (const id of batch) requested.delete(id);
  if (key.peek() !== asked) return;
  if (read === null) return schedule(retryMs);
  const added = [...read].map(([id, spans]): [string, Strip] => [id, { spans, readAt }]);
  strips.value = new Map([...strips.peek(), ...added]);
  if (due.length > batch.length) schedule();
}
