// Pages of the edges of the simulated Graph API, with cursors.

import type { GraphCall } from './graph-request.ts';
import { refuse } from './refusals.ts';

const defaultLimit = 25;

export interface PageOptions {
  readonly isEmpty?: boolean;
  readonly hasCursors?: boolean;
  readonly maxLimit: number;
}

/**
 * The page of `items` that the parameters `limit` and `after` ask for. As at Meta, `paging.next` contains the access token,
 * so a client must not log or follow it; it is there only when another page follows.
 */
export function toPage(
  items: readonly unknown[],
  { origin, version, segments, parameters, bearer }: GraphCall,
  { isEmpty = false, hasCursors = true, maxLimit }: PageOptions,
): unknown {
  const limit = Math.min(maxLimit, Number(parameters.get('limit') ?? defaultLimit));
  if (!Number.isInteger(limit) || limit < 1) {
    throw refuse(100, '(#100) param limit must be positive.');
  }
  const from = parseCursor(parameters.get('after'));
  // An empty page of Graph may be followed by others.
  const to = isEmpty ? from : Math.min(from + limit, items.length);
  if (items.length === 0) return { data: [] };
  const after = toCursor(to);
  const token = parameters.get('access_token') ?? bearer ?? '';
  const query = new URLSearchParams({ access_token: token, limit: String(limit), after });
  const next = `${origin}/v${version}.0/${segments.join('/')}?${query.toString()}`;
  return {
    data: items.slice(from, to),
    paging: {
      ...(hasCursors && { cursors: { before: toCursor(from), after } }),
      ...(to < items.length && { next }),
    },
  };
}

function toCursor(position: number): string {
  return Buffer.from(`position ${position}`).toString('base64url');
}

function parseCursor(cursor: string | null): number {
  if (cursor === null) return 0;
  const position = /^position (\d+)$/.exec(Buffer.from(cursor, 'base64url').toString())?.[1];
  if (position === undefined) throw refuse(100, '(#100) Invalid cursor');
  return Number(position);
}
