// Owns where a request comes from: which address counts when proxies stand in between. Pure.

import { BlockList, isIP, isIPv4 } from 'node:net';

/** How many proxies stand in front, or which addresses and networks are proxies; 0 and the empty list: none. */
export type TrustedProxies = number | readonly string[];

/** What stands for the address of a request that came over no socket. */
export const unknownAddress = 'unknown';

/**
 * Answers a function that finds the address a request comes from. `address` is the socket's. The header x-forwarded-for
 * is believed as far as trusted proxies wrote it: read from its end, one entry for each trusted hop. An entry that is no
 * address stops the way there, at the proxy that wrote it.
 */
export function createClientAddressResolver(
  trusted: TrustedProxies,
): (address: string | undefined, headers: Pick<Headers, 'get'>) => string {
  const isTrusted = toTrust(trusted);
  return (address, headers) => {
    const socket = address === undefined ? null : toAddress(address);
    if (socket === null) return unknownAddress;
    const forwarded = headers.get('x-forwarded-for');
    if (forwarded === null) return socket;
    let source = socket;
    for (const [hop, entry] of forwarded.split(',').toReversed().entries()) {
      const next = toAddress(entry.trim());
      if (next === null || !isTrusted(source, hop)) return source;
      source = next;
    }
    return source;
  };
}

/**
 * What is counted together: an IPv4 address, and of an IPv6 address the first 64 bits, of which one customer of a network
 * has all the rest.
 */
export function toNetwork(source: string): string {
  if (isIP(source) !== 6) return source;
  // A URL spells it in one way alone: no leading zeros, and no IPv4 at its end.
  const address = new URL(`http://[${source}]`).hostname.slice(1, -1);
  const zeros = '0:'.repeat(8 - toGroups(address).length);
  const network = toGroups(address.replace('::', `:${zeros}`)).slice(0, 4);
  return `${network.join(':')}::/64`;
}

/** Those that are written. */
function toGroups(address: string): readonly string[] {
  return address.split(':').filter((group) => group !== '');
}

function toTrust(trusted: TrustedProxies): (address: string, hop: number) => boolean {
  if (typeof trusted === 'number') return (_, hop) => hop < trusted;
  const list = new BlockList();
  for (const entry of trusted) {
    // What is split has a first part.
    const [address, prefix] = entry.split('/') as [string, string?];
    if (prefix === undefined) list.addAddress(address, toFamily(address));
    else list.addSubnet(address, Number(prefix), toFamily(address));
  }
  return (address) => list.check(address, toFamily(address));
}

function toFamily(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

// With or without a port, and an IPv4 address as such where a socket that speaks both shows it as IPv6.
function toAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  const bare =
    /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  const address = bare.replace(/^::ffff:(?=[\d.]+$)/i, '').replace(/%.*/s, '');
  return isIP(address) === 0 ? null : address.toLowerCase();
}
