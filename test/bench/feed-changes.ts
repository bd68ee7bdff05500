// The changes that the section `feed` makes by raw SQL, of every kind that responses show, each with a request that shows it.

import type { Client } from 'pg';
import { createKey, toKeyHash, toKeyHint } from '../../src/access/key.ts';
import { pepper } from './databases.ts';
import { toNumberId, toTenantId } from './fleet.ts';
import type { ChangeToFollow } from './follow-change.ts';
import { type Shape, toGraphQLRequest, toRequest } from './shapes.ts';

/** The tenants whose data changes, in rotation. */
const places = 50;

interface Kind {
  readonly shape: Shape;
  /** Parameters: the tenant, its first number, the new text. */
  readonly statement: string;
}

const nameOfNumber = `update whatsapp_number set name = $3, updated_at = clock_timestamp()
  where tenant_id = $1 and id = $2`;

/** Every table that responses depend on, through both APIs. */
const kinds: readonly Kind[] = [
  { shape: 'list', statement: nameOfNumber },
  { shape: 'REST list', statement: nameOfNumber },
  { shape: 'REST detail', statement: nameOfNumber },
  {
    shape: 'list',
    statement: `update api_key set name = $3 where tenant_id = $1 and number_id = $2`,
  },
  {
    shape: 'detail',
    statement: `update number_snapshot set data = data || jsonb_build_object('verifiedName', $3::text)
      where tenant_id = $1 and number_id = $2 and block = 'phone'`,
  },
  {
    shape: 'detail',
    statement: `update waba_snapshot s set data = data || jsonb_build_object('name', $3::text)
      from whatsapp_number n where n.tenant_id = $1 and n.id = $2 and s.tenant_id = $1 and s.waba_id = n.waba_id`,
  },
];

/** Makes the change at this index and leaves it uncommitted. `series` makes its text unique. */
export async function prepareChange(
  writer: Client,
  series: string,
  index: number,
): Promise<ChangeToFollow> {
  const place = 1 + (index % places);
  const kind = kinds[index % kinds.length];
  if (kind === undefined) throw new Error('No kind of change is defined.');
  const text = `${series} ${index}`;
  await writer.query('begin');
  const { rowCount } = await writer.query(kind.statement, [
    toTenantId(place),
    toNumberId(place, 1),
    text,
  ]);
  if (rowCount === 0) throw new Error(`No row was changed by: ${kind.statement}`);
  return {
    request: toRequest(kind.shape, place),
    commit: () => writer.query('commit'),
    isFresh: (response) => response.status === 200 && response.text.includes(`"${text}"`),
  };
}

/** Creates a key of a tenant, revokes it, and leaves the revocation uncommitted. */
export async function prepareRevocation(writer: Client, index: number): Promise<ChangeToFollow> {
  const key = createKey();
  const { keyPrefix, keyLast4 } = toKeyHint(key);
  const hash = toKeyHash(key, pepper);
  await writer.query(
    `insert into api_key (tenant_id, name, key_prefix, key_last4, hash)
     values ($1, 'To be revoked', $2, $3, $4)`,
    [toTenantId(1 + (index % places)), keyPrefix, keyLast4, hash],
  );
  await writer.query('begin');
  await writer.query('update api_key set revoked_at = clock_timestamp() where hash = $1', [hash]);
  return {
    request: toGraphQLRequest('{ numbers { id state } }', { 'x-api-key': key }),
    commit: () => writer.query('commit'),
    isFresh: ({ status }) => status === 401,
  };
}

/** Terminates the listening connections; resolves to their number. */
export async function cutListeners(writer: Client): Promise<number> {
  const { rowCount } = await writer.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and query ~* '\\m(un)?(listen|pg_notify|notify)\\M'`,
  );
  return rowCount ?? 0;
}
