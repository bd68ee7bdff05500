// The DataLoaders of the peers that use them: created for each request, one statement for a whole list.

import DataLoader from 'dataloader';
import type { Pool } from 'pg';
import {
  type HealthRow,
  type KeyRow,
  listHealth,
  listKeys,
  listMeta,
  type MetaRow,
  type NumberRow,
  toHealth,
  toMeta,
} from './rows.ts';

export interface Loaders {
  readonly health: DataLoader<string, HealthRow | undefined>;
  readonly keys: DataLoader<string, readonly KeyRow[]>;
  readonly meta: DataLoader<string, MetaRow | undefined>;
}

export function createLoaders(pool: Pool, tenantId: string): Loaders {
  return {
    health: new DataLoader(async (ids) => {
      const rows = await listHealth(pool, tenantId, ids);
      return ids.map((id) => rows.get(id));
    }),
    keys: new DataLoader(async (ids) => {
      const rows = await listKeys(pool, tenantId, ids);
      return ids.map((id) => rows.get(id) ?? []);
    }),
    meta: new DataLoader(async (ids) => {
      const rows = await listMeta(pool, tenantId, ids);
      return ids.map((id) => rows.get(id));
    }),
  };
}

/** Resolvers of the fields that use a loader. */
export const loadedFields = {
  health: async (number: NumberRow, _args: unknown, { health }: Loaders) =>
    toHealth(number, await health.load(number.id)),
  apiKeys: ({ id }: NumberRow, _args: unknown, { keys }: Loaders) => keys.load(id),
  meta: async ({ id }: NumberRow, _args: unknown, { meta }: Loaders) => toMeta(await meta.load(id)),
};
