// The format of API keys: generation, checksum, hash, and the hint that operators see.

import { createHmac, hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretLength = 43;
const checksumLength = 6;
const format = new RegExp(`^ps_([0-9A-Za-z]{${secretLength}})([0-9A-Za-z]{${checksumLength}})$`);

/** Enough of a key to tell it from others, too little to use it. */
export interface KeyHint {
  readonly name: string;
  /** `ps_` and four characters. */
  readonly keyPrefix: string;
  readonly keyLast4: string;
}

/** `ps_`, 32 bytes in base62, and the CRC-32 of that text in base62. `bytes` is for keys that must be reproducible. */
export function createKey(bytes: Buffer = randomBytes(32)): string {
  const secret = toBase62(BigInt(`0x${bytes.toString('hex')}`), secretLength);
  return `ps_${secret}${toChecksum(secret)}`;
}

/**
 * The key that a request presents: in x-api-key, or as a Bearer token that begins with `ps_`. Any other Authorization header
 * is ignored, because a proxy may add its own. Null without a key; '', which is no key, for two different ones.
 * https://www.rfc-editor.org/rfc/rfc6750#section-2.1
 */
export function readKey(headers: Pick<Headers, 'get'>): string | null {
  const key = headers.get('x-api-key');
  const token = /^Bearer +(ps_\S*)$/i.exec(headers.get('authorization') ?? '')?.[1];
  if (token === undefined) return key;
  return key === null || key === token ? token : '';
}

/** Whether `text` has the format and the checksum of a key. Refuses typing errors and guesses without a query. */
export function isKey(text: string): boolean {
  const parts = format.exec(text);
  // A text in this format has both parts.
  return parts !== null && toChecksum(parts[1]!) === parts[2];
}

/**
 * The database stores this hash instead of the key. A random key of 256 bits needs no slow hash. Without the pepper, nobody
 * can find out whether a key belongs to a stolen table.
 */
export function toKeyHash(key: string, pepper: string): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

/** Identifies a key in memory, so that the key itself is not kept there. Cheaper than `toKeyHash`. */
export function toFingerprint(key: string): string {
  return hash('sha256', key, 'base64url');
}

export function toKeyHint(key: string): Pick<KeyHint, 'keyPrefix' | 'keyLast4'> {
  return { keyPrefix: key.slice(0, 7), keyLast4: key.slice(-4) };
}

// Uses numbers instead of `toBase62` because it runs for every request.
function toChecksum(secret: string): string {
  let text = '';
  for (let rest = crc32(secret); rest > 0; rest = Math.floor(rest / 62)) {
    text = alphabet[rest % 62] + text;
  }
  return text.padStart(checksumLength, '0');
}

function toBase62(value: bigint, length: number): string {
  let text = '';
  for (let rest = value; rest > 0n; rest /= 62n) text = alphabet[Number(rest % 62n)] + text;
  return text.padStart(length, '0');
}
