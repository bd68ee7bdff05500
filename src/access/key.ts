// Owns what an API key looks like: its format, checksum, hash and the hint that people recognise it by. Pure.

import { createHmac, hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretLength = 43;
const checksumLength = 6;
const shape = new RegExp(`^ps_([0-9A-Za-z]{${secretLength}})([0-9A-Za-z]{${checksumLength}})$`);

/** What is shown of a key: enough to tell two apart, too little to use one. */
export interface KeyHint {
  readonly name: string;
  /** `ps_` and four characters. */
  readonly keyPrefix: string;
  readonly keyLast4: string;
}

/** `ps_`, 32 bytes in base62, and their CRC-32 in base62. `bytes` is for keys that must come out the same again. */
export function createKey(bytes: Buffer = randomBytes(32)): string {
  const secret = toBase62(BigInt(`0x${bytes.toString('hex')}`), secretLength);
  return `ps_${secret}${toChecksum(secret)}`;
}

/** Whether a text can be a key at all; a guess fails here and never reaches the database. */
export function isKey(text: string): boolean {
  const parts = shape.exec(text);
  // What has this shape has both parts.
  return parts !== null && toChecksum(parts[1]!) === parts[2];
}

/**
 * What the database keeps instead of the key. A random key of 256 bits needs no slow hash; the pepper keeps a stolen
 * table from being compared with stolen keys.
 */
export function toKeyHash(key: string, pepper: string): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

/**
 * What this process knows a key by in memory, where the key itself is not kept. Cheaper than `toKeyHash`, whose objects
 * outlive the request that made them.
 */
export function toFingerprint(key: string): string {
  return hash('sha256', key, 'base64url');
}

export function toKeyHint(key: string): Pick<KeyHint, 'keyPrefix' | 'keyLast4'> {
  return { keyPrefix: key.slice(0, 7), keyLast4: key.slice(-4) };
}

// With plain numbers: it is made for each request.
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
