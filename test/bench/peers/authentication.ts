// The authentication of the peers, the same as the gateway's with its cache off: the form of the key, its HMAC, and a lookup
// in the database for each request. One peer caches keys, for comparison with the gateway as shipped.

import type { Pool } from 'pg';
import { isKey, toKeyHash } from '../../../src/access/key.ts';

export class UnauthenticatedError extends Error {
  override readonly name = 'UnauthenticatedError';
}

/** The value of an `x-api-key` header. */
type KeyHeader = string | string[] | undefined | null;

/** The tenant of a usable key. Throws UnauthenticatedError for any other. */
export async function authenticate(pool: Pool, pepper: string, key: KeyHeader): Promise<string> {
  if (typeof key !== 'string' || !isKey(key)) throw new UnauthenticatedError();
  const { rows } = await pool.query<{ tenant_id: string }>({
    name: 'authenticate',
    text: `select tenant_id from api_key
      where hash = $1 and revoked_at is null and (expires_at is null or expires_at > clock_timestamp())`,
    values: [toKeyHash(key, pepper)],
  });
  const [row] = rows;
  if (row === undefined) throw new UnauthenticatedError();
  return row.tenant_id;
}

const cacheMs = 60_000;
const maxCached = 10_000;

/** Looks up a usable key once a minute only. It does not notice a revoked key before that. */
export function createCachedAuthentication(pool: Pool, pepper: string) {
  const cache = new Map<string, { readonly tenantId: string; readonly until: number }>();
  return async (key: KeyHeader): Promise<string> => {
    const known = typeof key === 'string' ? cache.get(key) : undefined;
    if (known !== undefined && known.until > Date.now()) return known.tenantId;
    const tenantId = await authenticate(pool, pepper, key);
    if (cache.size >= maxCached) cache.clear();
    cache.set(String(key), { tenantId, until: Date.now() + cacheMs });
    return tenantId;
  };
}
