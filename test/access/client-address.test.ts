// The client's address behind trusted proxies, and the network that its failures are counted under.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createClientAddressResolver, toNetwork } from '../../src/access/auth-throttle.ts';

const forwarded = (value: string) => new Headers({ 'x-forwarded-for': value });

describe('the address of a client', () => {
  test.each([
    ['no trusted proxy', 0, '192.0.2.1', '198.51.100.1', '192.0.2.1'],
    ['one proxy', 1, '10.0.0.1', '198.51.100.1', '198.51.100.1'],
    [
      'one proxy, and an entry that the client wrote',
      1,
      '10.0.0.1',
      '6.6.6.6, 198.51.100.1',
      '198.51.100.1',
    ],
    ['two proxies', 2, '10.0.0.1', '6.6.6.6, 198.51.100.1, 10.0.0.2', '198.51.100.1'],
    ['fewer entries than proxies', 3, '10.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['no header', 2, '10.0.0.1', '', '10.0.0.1'],
    ['an entry that is not an address', 1, '10.0.0.1', '198.51.100.1, unknown', '10.0.0.1'],
    ['an entry with a port', 1, '10.0.0.1', '198.51.100.1:4711', '198.51.100.1'],
    ['an entry of IPv6 with a port', 1, '10.0.0.1', '[2001:DB8::1]:4711', '2001:db8::1'],
    ['an entry of IPv6 in brackets', 1, '10.0.0.1', '[2001:db8::1]', '2001:db8::1'],
    [
      'an entry that ends with an address and a port',
      1,
      '10.0.0.1',
      'a198.51.100.1:4711',
      '10.0.0.1',
    ],
    ['an entry with text after its port', 1, '10.0.0.1', '198.51.100.1:4711a', '10.0.0.1'],
    ['an entry with text before its bracket', 1, '10.0.0.1', 'a[::1]', '10.0.0.1'],
    ['an entry with text after its bracket', 1, '10.0.0.1', '[::1]a', '10.0.0.1'],
    ['an entry with a zone', 1, '10.0.0.1', 'fe80::1%eth0', 'fe80::1'],
    ['an IPv4-mapped IPv6 address', 1, '10.0.0.1', '::FFFF:198.51.100.1', '198.51.100.1'],
    [
      'an IPv6 address that only ends like an IPv4-mapped one',
      1,
      '10.0.0.1',
      'fd00::ffff:1.2.3.4',
      'fd00::ffff:1.2.3.4',
    ],
    ['an IPv4-mapped address in hexadecimal', 1, '10.0.0.1', '::ffff:1:2', '::ffff:1:2'],
    ['a dual-stack socket', 1, '::ffff:10.0.0.1', '198.51.100.1', '198.51.100.1'],
    [
      'a trusted proxy on a dual-stack socket',
      ['10.0.0.1'],
      '::ffff:10.0.0.1',
      '198.51.100.1',
      '198.51.100.1',
    ],
    ['trusted addresses', ['10.0.0.1', '::1'], '10.0.0.1', '6.6.6.6, 198.51.100.1', '198.51.100.1'],
    ['a trusted network', ['10.0.0.0/8'], '10.9.9.9', '198.51.100.1, 10.3.3.3', '198.51.100.1'],
    ['a trusted IPv6 network', ['fd00::/8'], 'fd12::1', '198.51.100.1', '198.51.100.1'],
    ['an untrusted socket', ['10.0.0.0/8'], '192.0.2.1', '198.51.100.1', '192.0.2.1'],
    ['trusted proxies only', ['10.0.0.0/8'], '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
  ] as const)('%s', (_, trusted, socket, header, clientAddress) => {
    const resolve = createClientAddressResolver(trusted);
    expect(resolve(socket, header === '' ? new Headers() : forwarded(header))).toBe(clientAddress);
  });

  test('is unknown without a socket, whatever the header says', () => {
    expect(createClientAddressResolver(1)(undefined, forwarded('192.0.2.1'))).toBe('unknown');
  });

  test('is never taken from entries before those of trusted proxies', () => {
    const entries = fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[!-~]{0,20}$/)));
    fc.assert(
      fc.property(entries, fc.ipV4(), (forged, client) => {
        fc.pre(client !== '10.0.0.1');
        const header = [...forged, client].join(', ');
        expect(createClientAddressResolver(1)('10.0.0.1', forwarded(header))).toBe(client);
        expect(createClientAddressResolver(['10.0.0.1/32'])('10.0.0.1', forwarded(header))).toBe(
          client,
        );
        expect(createClientAddressResolver(0)('10.0.0.1', forwarded(header))).toBe('10.0.0.1');
      }),
    );
  });

  test('is counted alone for IPv4, and with its /64 for IPv6', () => {
    expect(toNetwork('192.0.2.1')).toBe('192.0.2.1');
    expect(toNetwork('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
    expect(toNetwork('2001:db8::1')).toBe('2001:db8:0:0::/64');
    expect(toNetwork('::1')).toBe('0:0:0:0::/64');
    expect(toNetwork('2001:0db8:0001:0002::')).toBe('2001:db8:1:2::/64');
    expect(toNetwork('unknown')).toBe('unknown');
  });

  test('is counted under the same network in every spelling, whatever its last 64 bits are', () => {
    const group = fc.oneof(
      { arbitrary: fc.constant(0), weight: 3 },
      { arbitrary: fc.nat(0xffff), weight: 2 },
    );
    const groups = fc.array(group, { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (numbers) => {
        const network = numbers.slice(0, 4).map((number) => number.toString(16));
        for (const address of toSpellings(numbers)) {
          expect(toNetwork(address)).toBe(`${network.join(':')}::/64`);
        }
      }),
    );
  });
});

/** In full, with an IPv4 suffix, and with each run of zeros compressed. */
function toSpellings(groups: readonly number[]): readonly string[] {
  const words = groups.map((group) => group.toString(16));
  const [a = 0, b = 0] = groups.slice(6);
  const tail = [a >> 8, a & 255, b >> 8, b & 255].join('.');
  const spellings = [
    words.map((word) => word.padStart(4, '0')).join(':'),
    [...words.slice(0, 6), tail].join(':'),
  ];
  for (const [start, first] of groups.entries()) {
    if (first !== 0) continue;
    const end = groups.findIndex((group, index) => index > start && group !== 0);
    const rest = end === -1 ? [] : words.slice(end);
    spellings.push(`${words.slice(0, start).join(':')}::${rest.join(':')}`);
  }
  return spellings;
}
