// Finds the address of the client behind trusted proxies, and the network under which its failures are counted.

import { BlockList, isIP, isIPv4 } from 'node:net';

/** The number of proxies in front, or their addresses and networks; 0 or an empty list for none. */
export type TrustedProxies = number | readonly string[];

/** The address of a request that came over no socket. */
export const unknownAddress = 'unknown';

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
