// Where alerts may be sent to: the form of an endpoint's URL, and the addresses that may be connected to. Whoever may add an
// endpoint must not reach what only this machine or its network can.

import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { GatewayError } from '../errors.ts';

export interface TargetOptions {
  /** Networks in CIDR notation that are allowed beside public addresses. */
  readonly allowedNetworks: readonly string[];
  readonly allowedPorts: readonly number[];
  /** Whether http is allowed to this machine, on any port; for the demo and for tests. */
  readonly allowsLocalHttp: boolean;
}

export interface Targets {
  /** Throws INVALID_REQUEST, which repeats nothing of the text, since the path of a URL may be a secret. */
  parse(text: string): URL;
  /** Whether a connection to this address may be made for this URL. */
  allows(url: URL, address: string): boolean;
}

const maxLength = 2_000;

export function createTargets(options: TargetOptions): Targets {
  const { allowedPorts, allowsLocalHttp } = options;
  const networks = options.allowedNetworks.map((network) => ipaddr.parseCIDR(network));
  const isAllowed = (address: string) =>
    isPublic(address) || networks.some((network) => isWithin(address, network));
  const allows = (url: URL, address: string) =>
    url.protocol === 'http:' ? allowsLocalHttp && isLoopback(address) : isAllowed(address);
  return {
    allows,
    parse(text) {
      const url = text.length <= maxLength ? URL.parse(text) : null;
      if (url === null) throw createInvalid('is not a valid URL');
      const { protocol, username, password } = url;
      if (username !== '' || password !== '') throw createInvalid('must not contain credentials');
      const isLocal = allowsLocalHttp && protocol === 'http:' && isLocalHost(url);
      if (protocol !== 'https:' && !isLocal) throw createInvalid('must begin with https://');
      if (!isLocal && !allowedPorts.includes(Number(url.port || 443))) {
        throw createInvalid(
          `must have one of the ports ${allowedPorts.join(', ')}; ALERT_ALLOW_PORTS allows others`,
        );
      }
      const host = toHost(url);
      if (isIP(host) !== 0 && !allows(url, host)) {
        throw createInvalid(
          'names an address that is not public; ALERT_ALLOW_CIDR allows networks of your own',
        );
      }
      return url;
    },
  };
}

/** The name or address of a URL. The parser has written every form of an IPv4 address, such as 0x7f.1, with four numbers. */
export function toHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function createInvalid(problem: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', `The URL of the endpoint ${problem}.`);
}

function isLocalHost(url: URL): boolean {
  const host = toHost(url);
  return host === 'localhost' || isLoopback(host);
}

function isLoopback(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.parse(address).range() === 'loopback';
}

type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

// All that IANA has given out for global unicast: https://www.iana.org/assignments/ipv6-address-space/
const globalUnicast: Network = ipaddr.parseCIDR('2000::/3');
// Public by its number, and answered by the host of a virtual machine at Azure:
// https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
const hostOfAzure = '168.63.129.16';

/**
 * Whether everybody on the internet reaches the same host under this address. Not so for addresses that contain another one,
 * which a router may unpack: IPv4 in IPv6, NAT64, 6to4 and Teredo.
 */
function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address) || address === hostOfAzure) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  return parsed.kind() === 'ipv4' || isWithin(address, globalUnicast);
}

function isWithin(address: string, [network, bits]: Network): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  // Addresses of the two kinds cannot be compared.
  return parsed.kind() === network.kind() && parsed.match(network, bits);
}
