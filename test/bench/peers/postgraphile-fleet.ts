// PostGraphile with its own preset over a view of the tenant's fleet, with connections that filter, order and count.

import { createServer } from 'node:http';
import { Pool } from 'pg';
import { postgraphile } from 'postgraphile';
import { makePgService } from 'postgraphile/adaptors/pg';
import { grafserv } from 'postgraphile/grafserv/node';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { listenAndAnnounce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });

const view = `
  create schema if not exists bench_fleet;
  create or replace view bench_fleet.number_status as
    select number_id, name_key, state, provider, quality_rating, meta_status, messaging_limit_tier, verdict,
      reply_verdict, rank, observed_at
    from public.number_status where tenant_id = (select current_setting('app.tenant_id', true));
  comment on view bench_fleet.number_status is E'@primaryKey number_id'`;
await pool.query(view);

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  disablePlugins: ['NodePlugin', 'MutationPlugin', 'SubscriptionPlugin', 'PgIndexBehaviorsPlugin'],
  pgServices: [makePgService({ pool, schemas: ['bench_fleet'] })],
  schema: { defaultBehavior: '-insert -update -delete' },
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
