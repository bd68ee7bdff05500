// Parses the values of environment variables. The message of an error continues a sentence that begins with the name of the
// variable, and never contains the value, which may be secret.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';

export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    throw new Error('must be a port number from 0 to 65535');
  return port;
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new Error('must be an integer from 1 to 99999999');
  return Number(text);
}

/** Evidence expires after an hour, and so is valid while every second read succeeds. */
const maxReadSeconds = 1_800;

export function parseReadSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^[1-9]\d{0,3}$/.test(text) || seconds > maxReadSeconds) {
    throw new Error(`must be an integer from 1 to ${maxReadSeconds}`);
  }
  return seconds;
}

export function parseShare(text: string): number {
  const share = Number(text);
  if (!/^(0\.\d{1,4}|1(\.0)?)$/.test(text) || share === 0) {
    throw new Error('must be a number above 0 and at most 1, for example 0.5');
  }
  return share;
}

export function parseRateLimit(
  text: string,
): { readonly points: number; readonly seconds: number } | null {
  if (text === 'off') return null;
  const [, points, seconds] = /^([1-9]\d{0,8})\/([1-9]\d{0,4})$/.exec(text) ?? [];
  if (points === undefined || seconds === undefined) {
    throw new Error('must be points/seconds, for example 1000/60, or off');
  }
  return { points: Number(points), seconds: Number(seconds) };
}

export function parseDatabaseUrl(text: string): string {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) {
    throw new Error('must be a PostgreSQL URL, for example postgres://user@host:5432/database');
  }
  return text;
}

export function parsePublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new Error('must be an https or http URL, for example https://numbers.example.com');
  }
  assertPlain(url);
  return url.href.replace(/\/+$/, '');
}

function assertPlain({ username, password, search, hash }: URL): void {
  if (username || password || search || hash) {
    throw new Error('must not contain a user, password, query or fragment');
  }
}

// Tokens are sent to these URLs, so plain http is allowed on this machine only.
export function parseUpstreamUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url?.hostname ?? '');
  if (url?.protocol !== 'https:' && !(url?.protocol === 'http:' && loopback)) {
    throw new Error('must be an https URL, or an http URL on a loopback address');
  }
  assertPlain(url);
  return url;
}

export function parseGraphVersion(text: string): string {
  const major = /^v(\d{1,3})\.\d$/.exec(text)?.[1];
  if (major === undefined || Number(major) < 24) {
    throw new Error('must be v24.0 or later, for example v26.0');
  }
  return text;
}

export function parseEncryptionKeys(
  text: string,
  required: boolean,
): readonly { readonly id: string; readonly key: KeyObject }[] {
  if (text === '') {
    if (!required) return [];
    throw new Error(
      'is missing; generate one and keep it safe: echo "k1:$(head -c 32 /dev/urandom | base64)"',
    );
  }
  const keys = text.split(',').map((entry, index) => {
    const [, id, encoded] = /^\s*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]{43}=?)\s*$/.exec(entry) ?? [];
    if (id === undefined || encoded === undefined) {
      throw new Error(`entry ${index + 1} must be id:base64key, with a key of 32 bytes`);
    }
    return { id, key: createSecretKey(Buffer.from(encoded, 'base64')) };
  });
  if (new Set(keys.map((key) => key.id)).size < keys.length) {
    throw new Error('must not use the same key id twice');
  }
  return keys;
}

export function parsePepper(text: string, required: boolean): string {
  if (text === '' && !required) return text;
  if (text === '') {
    throw new Error('is missing; generate one and keep it safe: head -c 32 /dev/urandom | base64');
  }
  if (text.length < 32) throw new Error('must have at least 32 characters');
  return text;
}

export function parseFailures(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new Error('must be an integer from 0 to 999999');
  return Number(text);
}

export function parseMegabytes(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new Error('must be an integer from 0 to 99999');
  return Number(text);
}

export function parseProxies(text: string): number | readonly string[] {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  const entries = splitList(text);
  for (const entry of entries) {
    const [, address = '', prefix = '0'] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
    const maxPrefix = isIP(address) === 6 ? 128 : 32;
    if (isIP(address) === 0 || Number(prefix) > maxPrefix) {
      throw new Error(
        'must be the number of proxies, or their addresses and networks, for example 10.0.0.0/8,::1',
      );
    }
  }
  return entries;
}

/** Networks in CIDR notation. */
export function parseNetworks(text: string): readonly string[] {
  const entries = splitList(text);
  for (const entry of entries) {
    const [, address = '', prefix = ''] = /^([^/%]+)\/(\d{1,3})$/.exec(entry) ?? [];
    if (isIP(address) === 0 || Number(prefix) > (isIP(address) === 6 ? 128 : 32)) {
      throw new Error('must be networks separated by commas, for example 10.0.0.0/8,fd00::/8');
    }
  }
  return entries;
}

export function parsePorts(text: string): readonly number[] {
  return splitList(text).map((entry) => {
    const port = parsePort(entry);
    if (port === 0) throw new Error('must be port numbers from 1 to 65535, separated by commas');
    return port;
  });
}

export function parseOrigins(text: string): readonly string[] {
  const origins = splitList(text);
  for (const origin of origins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new Error('must be origins separated by commas, for example https://app.example.com');
    }
  }
  return origins;
}

function splitList(text: string): readonly string[] {
  const entries = text.split(',').map((entry) => entry.trim());
  return entries.filter((entry) => entry !== '');
}

export function oneOf<const T extends string>(words: readonly T[], text: string): T {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw new Error(`must be one of: ${words.join(', ')}`);
  return word;
}
