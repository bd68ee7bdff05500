// Sends the first query of the fleet before the other modules have come: the page starts this module, which needs few others, by
// itself.

import { parseAddress, toFleetRequest, toListAddress } from './address.ts';
import { findDemoKey, readStoredKey } from './keys.ts';
import { type FleetPage, readFleet } from './queries.ts';

interface FirstQuery {
  readonly key: string;
  /** That of the list that it asks for. */
  readonly address: string;
  readonly result: Promise<FleetPage>;
}

let first = send();

function send(): FirstQuery | null {
  const view = parseAddress(location);
  const key = readStoredKey() ?? findDemoKey(view.demo)?.key ?? null;
  if (key === null) return null;
  const result = readFleet(key, toFleetRequest(view));
  // Whoever takes it handles a failure.
  result.catch(() => undefined);
  return { key, address: toListAddress(view), result };
}

/** The result of the first query, once; null if it asked for something else. */
export function takeFirstFleet(key: string, address: string): Promise<FleetPage> | null {
  const taken = first;
  first = null;
  return taken?.key === key && taken.address === address ? taken.result : null;
}
