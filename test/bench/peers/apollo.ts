// Apollo Server with DataLoader on Fastify, in production mode: its document store is on, plugins that report are off.

import { ApolloServer } from '@apollo/server';
import {
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled';
import fastifyApollo, { fastifyApolloDrainPlugin } from '@as-integrations/fastify';
import DataLoader from 'dataloader';
import fastify from 'fastify';
import { Pool } from 'pg';
import { announce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';
import {
  findNumber,
  type HealthRow,
  type KeyRow,
  listHealth,
  listKeys,
  listMeta,
  listNumbers,
  type MetaRow,
  type NumberRow,
  toHealth,
  toMeta,
} from './rows.ts';
import { sdl } from './sdl.ts';

interface Context {
  readonly tenantId: string;
  readonly health: DataLoader<string, HealthRow | undefined>;
  readonly keys: DataLoader<string, readonly KeyRow[]>;
  readonly meta: DataLoader<string, MetaRow | undefined>;
}

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });
const app = fastify({ logger: false });

const server = new ApolloServer<Context>({
  typeDefs: sdl,
  resolvers: {
    Query: {
      numbers: (_root: unknown, _args: unknown, { tenantId }: Context) =>
        listNumbers(pool, tenantId),
      number: (_root: unknown, { id }: { id: string }, { tenantId }: Context) =>
        findNumber(pool, tenantId, id),
    },
    WhatsAppNumber: {
      isFullyConnected: ({ state }: NumberRow) => state === 'OPEN',
      health: async (number: NumberRow, _args: unknown, { health }: Context) =>
        toHealth(number, await health.load(number.id)),
      apiKeys: ({ id }: NumberRow, _args: unknown, { keys }: Context) => keys.load(id),
      meta: async ({ id }: NumberRow, _args: unknown, { meta }: Context) =>
        toMeta(await meta.load(id)),
    },
  },
  introspection: false,
  includeStacktraceInErrorResponses: false,
  plugins: [
    fastifyApolloDrainPlugin(app),
    ApolloServerPluginLandingPageDisabled(),
    ApolloServerPluginUsageReportingDisabled(),
  ],
});
await server.start();
await app.register(fastifyApollo(server), {
  path: '/graphql',
  context: async (request) =>
    createContext(await authenticate(pool, pepper, request.headers['x-api-key'])),
});
await app.listen({ port: 0, host: '127.0.0.1' });
announce(app.server);

function createContext(tenantId: string): Context {
  return {
    tenantId,
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
