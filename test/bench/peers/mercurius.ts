// Mercurius with its JIT and its loaders, as its documentation advises for speed; see README.md. KEY_CACHE=on caches verified
// keys in the process, DATA_LOADER=on replaces its loaders by DataLoader.

import fastify from 'fastify';
import mercurius, { type MercuriusContext } from 'mercurius';
import { Pool } from 'pg';
import { announce, readPeerEnvironment } from './announcement.ts';
import { authenticate, createCachedAuthentication } from './authentication.ts';
import { createLoaders, loadedFields, type Loaders } from './loaders.ts';
import {
  findNumber,
  listHealth,
  listKeys,
  listMeta,
  listNumbers,
  type NumberRow,
  toHealth,
  toMeta,
} from './rows.ts';
import { sdl } from './sdl.ts';

declare module 'mercurius' {
  // The members of Loaders are only set with DATA_LOADER=on.
  interface MercuriusContext extends Loaders {
    tenantId: string;
  }
}

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });
const findTenant =
  process.env['KEY_CACHE'] === 'on'
    ? createCachedAuthentication(pool, pepper)
    : (key: string | string[] | undefined) => authenticate(pool, pepper, key);
const hasDataLoader = process.env['DATA_LOADER'] === 'on';
const app = fastify({ logger: false });

type Queries = readonly { readonly obj: NumberRow }[];
const toIds = (queries: Queries): readonly string[] => queries.map(({ obj }) => obj.id);

const isFullyConnected = ({ state }: NumberRow): boolean => state === 'OPEN';
const loaders = {
  WhatsAppNumber: {
    health: {
      async loader(queries: Queries, { tenantId }: MercuriusContext) {
        const rows = await listHealth(pool, tenantId, toIds(queries));
        return queries.map(({ obj }) => toHealth(obj, rows.get(obj.id)));
      },
      opts: { cache: false },
    },
    apiKeys: {
      async loader(queries: Queries, { tenantId }: MercuriusContext) {
        const rows = await listKeys(pool, tenantId, toIds(queries));
        return queries.map(({ obj }) => rows.get(obj.id) ?? []);
      },
      opts: { cache: false },
    },
    meta: {
      async loader(queries: Queries, { tenantId }: MercuriusContext) {
        const rows = await listMeta(pool, tenantId, toIds(queries));
        return queries.map(({ obj }) => toMeta(rows.get(obj.id)));
      },
      opts: { cache: false },
    },
  },
};

await app.register(mercurius, {
  schema: sdl,
  jit: 1,
  path: '/graphql',
  context: async (request) => {
    const tenantId = await findTenant(request.headers['x-api-key']);
    return hasDataLoader ? { tenantId, ...createLoaders(pool, tenantId) } : { tenantId };
  },
  resolvers: {
    Query: {
      numbers: (_root: unknown, _args: unknown, { tenantId }: MercuriusContext) =>
        listNumbers(pool, tenantId),
      number: (_root: unknown, { id }: { id: string }, { tenantId }: MercuriusContext) =>
        findNumber(pool, tenantId, id),
    },
    WhatsAppNumber: hasDataLoader ? { isFullyConnected, ...loadedFields } : { isFullyConnected },
  },
  ...(!hasDataLoader && { loaders }),
});
await app.listen({ port: 0, host: '127.0.0.1' });
announce(app.server);
