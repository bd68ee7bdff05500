// Which URLs an endpoint may have, and which addresses are connected to.

import { describe, expect, test } from 'vitest';
import { createTargets, type TargetOptions } from '../../src/alerts/endpoint-url.ts';

const production: TargetOptions = {
  allowedNetworks: [],
  allowedPorts: [443, 8443],
  allowsLocalHttp: false,
};

const parse = (text: string, options: Partial<TargetOptions> = {}) =>
  createTargets({ ...production, ...options }).parse(text).href;

const https = new URL('https://hooks.example.com/');
const allows = (address: string, options: Partial<TargetOptions> = {}) =>
  createTargets({ ...production, ...options }).allows(https, address);

/** Addresses that are not public, in the forms in which the standards and C libraries write them. */
const hostileHosts = [
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '0x7f.1',
  '0x7f000001',
  '0X7F.0.0.0x1',
  '2130706433',
  '017700000001',
  '0177.0.0.1',
  '127.0.0.1.',
  '127。0。0。1',
  '１２７.0.0.1',
  '%31%32%37.0.0.1',
  '0',
  '0.0.0.0',
  '10.0.0.1',
  '10.1',
  '0xa.1',
  '012.0.0.1',
  '100.64.0.1',
  '100.127.255.254',
  '100.100.100.200',
  '169.254.169.254',
  '0xa9fea9fe',
  '2852039166',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.8',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.1',
  '198.18.0.1',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '240.0.0.1',
  '255.255.255.255',
  '168.63.129.16',
  '[::1]',
  '[0:0:0:0:0:0:0:1]',
  '[::]',
  '[::ffff:10.0.0.1]',
  '[::ffff:a00:1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:8.8.8.8]',
  '[::ffff:0:10.0.0.1]',
  '[::127.0.0.1]',
  '[::10.0.0.1]',
  '[64:ff9b::10.0.0.1]',
  '[64:ff9b::8.8.8.8]',
  '[64:ff9b:1::10.0.0.1]',
  '[100::1]',
  '[2001::1]',
  '[2001:0:a00:1::]',
  '[2001:2::1]',
  '[2001:10::1]',
  '[2001:20::1]',
  '[2001:db8::1]',
  '[2002:a00:1::]',
  '[2002:7f00:1::1]',
  '[3fff::1]',
  '[4000::1]',
  '[5f00::1]',
  '[fc00::1]',
  '[fd00:ec2::254]',
  '[fe80::1]',
  '[fec0::1]',
  '[ff02::1]',
];

describe('a URL', () => {
  test.each(hostileHosts)('with the address %s is refused', (host) => {
    expect(() => parse(`https://${host}/hook`)).toThrow(/names an address that is not public/);
  });

  test.each([
    ['http', 'http://hooks.example.com/', /must begin with https/],
    ['http to this machine', 'http://127.0.0.1/', /must begin with https/],
    ['another protocol', 'ftp://hooks.example.com/', /must begin with https/],
    ['a file', 'file:///etc/passwd', /must begin with https/],
    ['a user', 'https://me@hooks.example.com/', /must not contain credentials/],
    ['a password', 'https://:secret@hooks.example.com/', /must not contain credentials/],
    ['the port of SSH', 'https://hooks.example.com:22/', /ports 443, 8443/],
    ['the port of PostgreSQL', 'https://hooks.example.com:5432/', /ports 443, 8443/],
    ['no host', 'https:///', /not a valid URL/],
    ['an address that is none', 'https://256.1.1.1/', /not a valid URL/],
    ['a zone of an address', 'https://[fe80::1%25eth0]/', /not a valid URL/],
    ['more than 2,000 characters', `https://hooks.example.com/${'x'.repeat(2_000)}`, /not a valid/],
    ['a text without a protocol', 'hooks.example.com', /not a valid URL/],
  ])('with %s is refused', (_, url, message) => {
    expect(() => parse(url)).toThrow(message);
    expect(() => parse(url)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
  });

  test('is not repeated when it is refused', () => {
    for (const url of ['https://user:canary@hooks.example.com', 'http://h/canary', 'canary']) {
      expect(() => parse(url)).toThrow(expect.not.objectContaining({ message: /canary/ }));
    }
  });

  test('may have a public name or address, and the ports 443 and 8443', () => {
    for (const url of [
      'https://hooks.example.com/services/T0/B0?token=x',
      'https://hooks.example.com:8443/',
      'https://8.8.8.8/',
      'https://[2606:4700:4700::1111]/',
    ]) {
      expect(parse(url)).toBe(url);
    }
  });

  test('may have what the operator allows beside that', () => {
    const allowed = { allowedNetworks: ['10.1.0.0/16', 'fd00::/8'], allowedPorts: [9443] };
    expect(parse('https://10.1.2.3:9443/', allowed)).toBe('https://10.1.2.3:9443/');
    expect(parse('https://[fd00::1]:9443/', allowed)).toBe('https://[fd00::1]:9443/');
    expect(() => parse('https://10.2.0.1:9443/', allowed)).toThrow(/not public/);
    expect(() => parse('https://[::ffff:10.1.2.3]:9443/', allowed)).toThrow(/not public/);
    expect(() => parse('https://10.1.2.3/', allowed)).toThrow(/ports 9443/);
  });

  test('may be http where this is allowed, to this machine alone', () => {
    const allowed = { allowsLocalHttp: true };
    for (const url of ['http://127.0.0.1:1234/', 'http://localhost:1234/', 'http://[::1]:80/']) {
      expect(() => parse(url, allowed)).not.toThrow();
    }
    for (const url of ['http://10.0.0.1/', 'http://hooks.example.com/', 'http://localhost.x/']) {
      expect(() => parse(url, allowed)).toThrow(/must begin with https/);
    }
    expect(() => parse('https://127.0.0.1/', allowed)).toThrow(/not public/);
  });
});

describe('an address', () => {
  const literal = /^\[?([\da-f.:]+)\]?$/;
  const written = hostileHosts.flatMap(
    (host) => literal.exec(new URL(`https://${host}`).hostname)?.[1] ?? [],
  );

  test('is one for every host of the table', () => {
    expect(written).toHaveLength(hostileHosts.length);
  });

  test.each([
    ...new Set(written),
    'fe80::1%eth0',
    '',
    'localhost',
    '127.1',
    '0x7f.1',
    '2130706433',
  ])('that a name leads to is not connected to: %s', (address) => {
    expect(allows(address)).toBe(false);
  });

  test.each(['8.8.8.8', '1.1.1.1', '100.63.255.255', '100.128.0.1', '172.32.0.1', '2606:4700::1'])(
    'that is public is connected to: %s',
    (address) => {
      expect(allows(address)).toBe(true);
    },
  );

  test('is loopback for http, and nothing else', () => {
    const targets = createTargets({ ...production, allowsLocalHttp: true });
    const http = new URL('http://localhost:1234/');
    expect(targets.allows(http, '127.0.0.1')).toBe(true);
    expect(targets.allows(http, '::1')).toBe(true);
    for (const address of ['8.8.8.8', '10.0.0.1', '::ffff:127.0.0.1']) {
      expect(targets.allows(http, address)).toBe(false);
    }
    expect(createTargets(production).allows(http, '127.0.0.1')).toBe(false);
  });
});
