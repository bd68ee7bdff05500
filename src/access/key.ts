// API keys: their format, checksum and hash, the hint that operators see, and a cache of verified keys.

import { createHmac, hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { LRUCache } from 'lru-cache';
import type { ChangeFeed } from '../database/change-feed.ts';

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

/** What a key allows, and what each scope means. */
export const keyScopes = {
  read: 'Reads numbers, stored and live.',
  operate:
    'Also mutes and labels numbers, acknowledges incidents, and requests reads. A key of a number does so for this number alone.',
  webhooks: "Delivers Meta's webhooks for the tenant, and reads nothing.",
} as const satisfies Record<string, string>;

export type KeyScope = keyof typeof keyScopes;

/** What operators see of a key. */
export interface ApiKey extends KeyHint {
  readonly id: string;
  readonly tenantId: string;
  readonly numberId: string | null;
  readonly scopes: readonly KeyScope[];
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** Recorded once a minute; null for a key that was never used. */
  readonly lastUsedAt: Date | null;
}

/** `ps_`, 32 bytes in base62, and the CRC-32 of that text in base62. `bytes` is for keys that must be reproducible. */
export function createKey(bytes: Buffer = randomBytes(32)): string {
  const secret = toBase62(BigInt(`0x${bytes.toString('hex')}`), secretLength);
  return `ps_${secret}${toChecksum(secret)}`;
}

/**
 * The key that a request presents: in x-api-key, or as a Bearer token that begins with `ps_`. Any other Authorization header
 * is ignored, because a proxy may add its own. So is an empty x-api-key, which some tools send. Null without a key; '', which
 * is no key, for two different ones.
 * https://www.rfc-editor.org/rfc/rfc6750#section-2.1
 */
export function readKey(headers: Pick<Headers, 'get'>): string | null {
  const key = headers.get('x-api-key') || null;
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

export interface FoundKey {
  readonly tenantId: string;
  readonly id: string;
  /** Null for a tenant-scoped key. */
  readonly numberId: string | null;
  readonly scopes: readonly KeyScope[];
  /** Time until the key expires, on the clock of the database; null for a key that never expires. */
  readonly expiresInMs: number | null;
}

export type CachedKey = Omit<FoundKey, 'expiresInMs'>;

/** With it, most requests are authenticated without a query. */
export interface KeyCache {
  /** Undefined unless the database is known to accept the key; then call `readThrough`. */
  find(fingerprint: string): CachedKey | undefined;
  /** Calls `read`, and caches its result unless keys of the tenant changed while it ran. */
  readThrough(
    fingerprint: string,
    read: () => Promise<FoundKey | undefined>,
  ): Promise<CachedKey | undefined>;
}

export interface KeyCacheOptions {
  readonly changes: Pick<ChangeFeed, 'open' | 'version' | 'versionOf'>;
  /** Milliseconds on a monotonic clock. */
  readonly clock?: () => number;
  /** About 500 bytes each. */
  readonly maxKeys?: number;
}

/** Caches nothing. */
export const disabledKeyCache: KeyCache = {
  find: () => undefined,
  readThrough: (_, read) => read(),
};

interface CacheEntry {
  readonly key: CachedKey;
  /** The version of the tenant's keys that was current when the key was read. */
  readonly version: number;
  readonly expiresAt: number;
}

/** An entry is valid until its key expires or the keys of its tenant change; see `versionOf`. */
export function createKeyCache({
  changes,
  clock = () => performance.now(),
  maxKeys = 50_000,
}: KeyCacheOptions): KeyCache {
  const entries = new LRUCache<string, CacheEntry>({ max: maxKeys });
  changes.open();
  return {
    find(fingerprint) {
      const entry = entries.get(fingerprint);
      if (entry === undefined || clock() >= entry.expiresAt) return undefined;
      // The version is null while the feed is not current, and then matches no entry.
      return changes.versionOf(entry.key.tenantId, 'keys') === entry.version
        ? entry.key
        : undefined;
    },
    async readThrough(fingerprint, read) {
      const readAt = clock();
      const versionBefore = changes.version();
      const found = await read();
      if (found === undefined) {
        entries.delete(fingerprint);
        return undefined;
      }
      const { expiresInMs, ...key } = found;
      const version = changes.versionOf(key.tenantId, 'keys');
      // The tenant is not known before the read. All versions come from one counter, so a later one belongs to a change
      // that was announced since, perhaps the revocation of this key.
      if (version !== null && version <= versionBefore) {
        entries.set(fingerprint, { key, version, expiresAt: readAt + (expiresInMs ?? Infinity) });
      }
      return key;
    },
  };
}
