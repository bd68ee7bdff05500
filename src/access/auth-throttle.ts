// Limits failed authentication attempts by the network of the client, whose address it finds behind trusted proxies.

import { BlockList, isIP, isIPv4 } from 'node:net';
import { LRUCache } from 'lru-cache';
import { GatewayError } from '../errors.ts';
import type { Counters } from './counters.ts';

export interface AuthThrottleOptions {
  /** Failed attempts of one network within a minute after which it is throttled; 0 disables the throttle. */
  readonly maxFailuresPerMinute: number;
  readonly counters: Counters;
  /** Milliseconds on a monotonic clock. */
  readonly clock?: () => number;
  /** The number of keys, and of throttled networks, that are kept; about 200 bytes each. */
  readonly maxEntries?: number;
}

export interface AuthThrottle {
  /**
   * Throws RATE_LIMITED when the client's network is throttled. A key that this process has verified is exempt, so that
   * nobody can lock out another client behind the same address. `fingerprint` is null for a malformed key. Unknown
   * addresses are never throttled, since all clients would share one. Never queries the database: when failures are
   * counted across processes, each process learns that a network is throttled from the next failure it counts.
   */
  assertAllowed(clientAddress: string, fingerprint: string | null): void;
  /** Whether the use of the key has to be recorded, which is once a minute. */
  isUseDue(fingerprint: string): boolean;
  recordVerified(fingerprint: string, isUseRecorded: boolean): void;
  recordFailure(clientAddress: string, fingerprint: string | null): Promise<void>;
}

const windowSeconds = 60;
const recordUseEveryMs = 60_000;

export function createAuthThrottle({
  maxFailuresPerMinute,
  counters,
  clock = () => performance.now(),
  maxEntries = 50_000,
}: AuthThrottleOptions): AuthThrottle {
  /** For each verified key when its use was last recorded. */
  const useRecordedAt = new LRUCache<string, number>({ max: maxEntries });
  /** For each network the end of its throttling, on the clock of `Date.now()`. */
  const throttledUntil = new LRUCache<string, number>({ max: maxEntries });
  const failures = counters('failures', windowSeconds);
  const isCounted = (clientAddress: string) =>
    maxFailuresPerMinute > 0 && clientAddress !== unknownAddress;
  return {
    assertAllowed(clientAddress, fingerprint) {
      if (!isCounted(clientAddress)) return;
      if (fingerprint !== null && useRecordedAt.has(fingerprint)) return;
      const remainingMs = (throttledUntil.get(toNetwork(clientAddress)) ?? 0) - Date.now();
      if (remainingMs <= 0) return;
      const retryAfterSeconds = Math.ceil(remainingMs / 1_000);
      throw new GatewayError(
        'RATE_LIMITED',
        `Too many invalid API keys were sent from this address; retry in ${retryAfterSeconds} seconds.`,
        { retryAfterSeconds },
      );
    },
    isUseDue(fingerprint) {
      const recordedAt = useRecordedAt.get(fingerprint);
      return recordedAt === undefined || clock() - recordedAt >= recordUseEveryMs;
    },
    recordVerified(fingerprint, isUseRecorded) {
      if (isUseRecorded || !useRecordedAt.has(fingerprint)) useRecordedAt.set(fingerprint, clock());
    },
    async recordFailure(clientAddress, fingerprint) {
      if (fingerprint !== null) useRecordedAt.delete(fingerprint);
      if (!isCounted(clientAddress)) return;
      const network = toNetwork(clientAddress);
      // A malformed key is refused without a query, so counting it must not cause one either.
      const add = fingerprint === null ? failures.addLocally : failures.add;
      const { total, endsAt } = await add(network, 1);
      if (total >= maxFailuresPerMinute) throttledUntil.set(network, endsAt);
    },
  };
}

/** The number of proxies in front, or their addresses and networks; 0 or an empty list for none. */
type TrustedProxies = number | readonly string[];

/** The address of a request that came over no socket. */
const unknownAddress = 'unknown';

/**
 * Creates a function that takes the address of the socket and finds the address of the client. It reads x-forwarded-for
 * from the end, one entry for each trusted proxy, and stops at an entry that is not an address: the result is then the
 * address of the proxy that wrote the entry.
 */
export function createClientAddressResolver(
  proxies: TrustedProxies,
): (socketAddress: string | undefined, headers: Pick<Headers, 'get'>) => string {
  const isTrusted = createTrustCheck(proxies);
  return (socketAddress, headers) => {
    const socket = socketAddress === undefined ? null : parseAddress(socketAddress);
    if (socket === null) return unknownAddress;
    const forwarded = headers.get('x-forwarded-for');
    if (forwarded === null) return socket;
    let client = socket;
    for (const [hop, entry] of forwarded.split(',').toReversed().entries()) {
      const next = parseAddress(entry.trim());
      if (next === null || !isTrusted(client, hop)) return client;
      client = next;
    }
    return client;
  };
}

/** An IPv4 address as it is, an IPv6 address as its /64: a provider usually assigns at least that to one customer. */
export function toNetwork(address: string): string {
  if (isIP(address) !== 6) return address;
  // URLs have one spelling of each address, without leading zeros or an IPv4 suffix.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const zeros = '0:'.repeat(8 - toGroups(canonical).length);
  const network = toGroups(canonical.replace('::', `:${zeros}`)).slice(0, 4);
  return `${network.join(':')}::/64`;
}

/** Without the groups that `::` stands for. */
function toGroups(address: string): readonly string[] {
  return address.split(':').filter((group) => group !== '');
}

function createTrustCheck(proxies: TrustedProxies): (address: string, hop: number) => boolean {
  if (typeof proxies === 'number') return (_, hop) => hop < proxies;
  const list = new BlockList();
  for (const entry of proxies) {
    // `split` returns at least one part.
    const [address, prefix] = entry.split('/') as [string, string?];
    if (prefix === undefined) list.addAddress(address, toFamily(address));
    else list.addSubnet(address, Number(prefix), toFamily(address));
  }
  return (address) => list.check(address, toFamily(address));
}

function toFamily(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** Null unless `text` is an address, perhaps with a port. Maps an IPv4-mapped IPv6 address to IPv4, and drops the zone. */
function parseAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  const withoutPort =
    /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  const address = withoutPort.replace(/^::ffff:(?=[\d.]+$)/i, '').replace(/%.*/s, '');
  return isIP(address) === 0 ? null : address.toLowerCase();
}
