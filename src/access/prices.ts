// What operations cost, in the points of rate-limit.ts.

/** In points. A list is charged at an estimate, and settled for the numbers that it contained. */
export const prices = {
  request: 1,
  number: 1,
  list: 40,
  listedNumber: 0.1,
  fleet: 5,
  fleetNode: 0.5,
  /** The total and the facets. */
  fleetCounts: 5,
  /** A page of changes, or the opening of a stream of them. */
  changes: 1,
  /** Each change that a page may have. */
  change: 0.1,
  /** A page of the history of a number, without its changes. */
  history: 1,
  /** A page of incidents, without them. */
  incidents: 1,
  /** Each incident that a page may have, and the worst one of a number. */
  incident: 0.2,
  /** Whether the webhooks about the account of a number arrive. */
  webhook: 0.2,
  timeline: 5,
  availability: 5,
  /** What is read in the background, without its accounts. */
  sync: 5,
  /** Each account of it that is asked for. */
  syncAccount: 0.1,
  /** A mutation of one number or incident. */
  operation: 5,
  /** One upstream read. A request that refreshes three blocks of a number makes three. */
  read: 10,
  introspection: 200,
  /** What a stream sends at once. Its beginning costs as much as the same request without a stream. */
  streamChunk: 0.1,
} as const;

/** What a list of so many numbers costs; an estimate when the size is unknown (null). */
export function toListPrice(size: number | null): number {
  return size === null ? prices.list : prices.number + size * prices.listedNumber;
}
