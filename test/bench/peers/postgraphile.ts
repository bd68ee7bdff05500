// PostGraphile with its own preset over views. The tenant is a setting of the transaction, as its documentation advises;
// fields are lists, not connections, and nothing is built that the requests do not use.

import { createServer } from 'node:http';
import { Pool } from 'pg';
import { postgraphile } from 'postgraphile';
import { makePgService } from 'postgraphile/adaptors/pg';
import { grafserv } from 'postgraphile/grafserv/node';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { listenAndAnnounce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';
import { createViews } from './postgraphile-views.ts';

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });
await createViews(pool);

const names: GraphileConfig.Plugin = {
  name: 'BenchNamesPlugin',
  inflection: {
    replace: {
      allRowsList: (previous, _options, resource) =>
        resource.name === 'whatsapp_number' ? 'numbers' : (previous?.(resource) ?? resource.name),
      rowByUnique: (previous, _options, details) =>
        details.resource.name === 'whatsapp_number'
          ? 'number'
          : (previous?.(details) ?? details.resource.name),
      // By default the column `id` would be named rowId.
      attribute: (previous, _options, details) =>
        details.attributeName === 'id' ? 'id' : (previous?.(details) ?? details.attributeName),
    },
  },
};

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [names],
  disablePlugins: ['NodePlugin', 'MutationPlugin', 'SubscriptionPlugin'],
  pgServices: [makePgService({ pool, schemas: ['bench'] })],
  schema: { defaultBehavior: '-connection +list -insert -update -delete -filter -order' },
  grafserv: { graphiql: false, watch: false, graphqlPath: '/graphql' },
  grafast: {
    explain: false,
    async context({ node }) {
      const key = node?.req.headers['x-api-key'];
      return { pgSettings: { 'app.tenant_id': await authenticate(pool, pepper, key) } };
    },
  },
});
const server = createServer();
await instance.createServ(grafserv).addTo(server);
if (process.argv.includes('--schema')) {
  const { printSchema } = await import('graphql');
  process.stderr.write(printSchema(await instance.getSchema()));
}
await listenAndAnnounce(server);
