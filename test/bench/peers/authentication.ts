// Owns the authentication of the peers, the same as the gateway's: the key's form, its HMAC, and a look into the
// database with each request.

import type { Pool } from 'pg';
import { isKey, toKeyHash } from '../../../src/access/key.ts';

export class UnauthenticatedError extends Error {
  override readonly name = 'UnauthenticatedError';
}

/** The tenant of a usable key. Throws UnauthenticatedError for any other. */
export async function authenticate(
  pool: Pool,
  pepper: string,
  key: string | string[] | undefined | null,
): Promise<string> {
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
