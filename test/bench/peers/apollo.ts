// Apollo Server with DataLoader on Fastify, in production mode: document store on, reporting plugins off.

import { ApolloServer } from '@apollo/server';
import {
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled';
import fastifyApollo, { fastifyApolloDrainPlugin } from '@as-integrations/fastify';
import fastify from 'fastify';
import { Pool } from 'pg';
import { announce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';
import { createLoaders, loadedFields, type Loaders } from './loaders.ts';
import { findNumber, listNumbers, type NumberRow } from './rows.ts';
import { sdl } from './sdl.ts';

interface Context extends Loaders {
  readonly tenantId: string;
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
      ...loadedFields,
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
  context: async (request) => {
    const tenantId = await authenticate(pool, pepper, request.headers['x-api-key']);
    return { tenantId, ...createLoaders(pool, tenantId) };
  },
});
await app.listen({ port: 0, host: '127.0.0.1' });
announce(app.server);
