// Walks an edge of the Graph API page by page.

import { type JsonObject, toObject } from '../../json.ts';
import {
  type Credentials,
  type Pause,
  type ReadOptions,
  toPlainFailure,
} from '../../numbers/provider.ts';
import { readOne, type RetryingClient } from './batching.ts';
import { type FailedResult, toUnsent } from './graph.ts';
import type { GraphOperation, GraphPage } from './graph-operation.ts';
import { findPauseFailure, maxSpentPercent } from './usage-budget.ts';

/** An edge, and the fields of its nodes to read. */
export interface Edge extends Omit<GraphOperation, 'page'> {
  readonly edge: GraphPage['edge'];
}

export interface EdgeRequest {
  readonly client: RetryingClient;
  readonly credentials: Credentials;
  readonly options: ReadOptions;
  /** Percent of a budget up to which pages are read; 100 by default. */
  readonly maxSpent?: Pause['spentPercent'];
}

/** The nodes of a page. A failure ends the walk; one also follows pages that are not all. */
export type WalkedPage =
  { readonly ok: true; readonly nodes: readonly JsonObject[] } | FailedResult;

const maxPageSize = 100;
/** A page may be empty although others follow, so the nodes alone do not bound a walk. */
const maxPages = 500;

/**
 * Yields page after page. The next page is requested by its cursor: the address that Graph offers for it contains the
 * access token, so it is never followed and never logged.
 */
export async function* walkPages(
  { edge, ...operation }: Edge,
  { client, credentials, options, maxSpent = maxSpentPercent.oneNumber }: EdgeRequest,
): AsyncGenerator<WalkedPage> {
  let after: string | null = null;
  for (let page = 0; page < maxPages; page += 1) {
    const pause = findPauseFailure(options.pauses, { ...operation, credentials }, maxSpent);
    if (pause !== null) {
      yield toUnsent(pause);
      return;
    }
    const read = { ...operation, page: { edge, limit: maxPageSize, after } };
    // oxlint-disable-next-line no-await-in-loop -- each page has the cursor of the next one
    const result = await readOne(client, read, credentials, options);
    const nodes = result.ok ? listNodes(result.json) : null;
    if (nodes !== null) yield { ok: true, nodes };
    if (!result.ok) yield result;
    if (!result.ok || (nodes !== null && isLast(result.json))) return;
    const next = findNextCursor(result.json);
    if (nodes === null || next === null || next === after) break;
    after = next;
  }
  yield toUnsent(endedEarly);
}

/** Without it, a part of the nodes would count as all of them. */
const endedEarly = toPlainFailure(
  'META_UNAVAILABLE',
  true,
  'Meta listed a part only: it did not say how the list continues.',
  { solution: 'Try again later.' },
);

/** Null when the page has no list. */
function listNodes({ data }: JsonObject): readonly JsonObject[] | null {
  return Array.isArray(data) ? data.map(toObject).filter((node) => node !== null) : null;
}

function isLast({ paging }: JsonObject): boolean {
  return toObject(paging)?.['next'] === undefined;
}

function findNextCursor({ paging }: JsonObject): string | null {
  const after = toObject(toObject(paging)?.['cursors'])?.['after'];
  return typeof after === 'string' && after !== '' ? after : null;
}

/** An id of Graph, which is a text of digits; null for anything else. */
export function toId(value: unknown): string | null {
  return typeof value === 'string' && /^\d{5,20}$/.test(value) ? value : null;
}

/** The digits of a phone, which Meta formats with spaces and other signs; null when there are none. */
export function toDigits({ display_phone_number: displayed }: JsonObject): string | null {
  const digits = typeof displayed === 'string' ? displayed.replaceAll(/\D/g, '') : '';
  return digits === '' ? null : digits;
}
