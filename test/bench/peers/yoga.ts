// Yoga, Pothos, DataLoader and Kysely as in the examples of each: all columns, a Date for each time, a resolver for each
// field, nothing tuned.

import { createServer } from 'node:http';
import SchemaBuilder from '@pothos/core';
import DataloaderPlugin from '@pothos/plugin-dataloader';
import { createYoga } from 'graphql-yoga';
import { Kysely, PostgresDialect, type Selectable } from 'kysely';
import { Pool } from 'pg';
import type { Tables } from '../../../src/database/tables.ts';
import { listenAndAnnounce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';

interface Context {
  readonly tenantId: string;
}
type NumberRow = Selectable<Tables['whatsapp_number']>;
type SnapshotRow = Pick<Selectable<Tables['number_snapshot']>, 'data' | 'observed_at'>;
type Json = Readonly<Record<string, unknown>>;

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });
const database = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });

const builder = new SchemaBuilder<{
  Context: Context;
  DefaultFieldNullability: false;
  Scalars: { DateTime: { Input: never; Output: Date } };
}>({ plugins: [DataloaderPlugin], defaultFieldNullability: false });

builder.scalarType('DateTime', { serialize: (value) => value.toISOString() });

const Provider = builder.enumType('Provider', { values: ['META', 'PILOT_STATUS'] as const });
const ConnectionState = builder.enumType('ConnectionState', {
  values: ['OPEN', 'CONNECTING', 'CLOSE'] as const,
});

const ApiKeyHint = builder
  .objectRef<Selectable<Pick<Tables['api_key'], 'name' | 'key_prefix' | 'key_last4'>>>('ApiKeyHint')
  .implement({
    fields: (t) => ({
      name: t.exposeString('name'),
      keyPrefix: t.exposeString('key_prefix'),
      keyLast4: t.exposeString('key_last4'),
    }),
  });

interface Health {
  readonly number: NumberRow;
  readonly phone: Json | null;
}

const NumberHealth = builder.objectRef<Health>('NumberHealth').implement({
  fields: (t) => ({
    qualityRating: text(t, ({ phone }) => phone?.['qualityRating']),
    messagingLimitTier: text(t, ({ phone }) => phone?.['messagingLimitTier']),
    metaStatus: text(t, ({ phone }) => phone?.['status']),
    sendable: t.boolean({ resolve: isSendable }),
  }),
});

// Any of the builders of an object's fields.
function text<Parent>(
  t: PothosSchemaTypes.ObjectFieldBuilder<typeof builder.$inferSchemaTypes, Parent>,
  read: (parent: Parent) => unknown,
) {
  return t.string({
    nullable: true,
    resolve: (parent) => (read(parent) as string | null | undefined) ?? null,
  });
}

function createBlock(name: string, members: readonly string[]) {
  return builder.objectRef<Json>(name).implement({
    fields: (t) =>
      Object.fromEntries(members.map((member) => [member, text(t, (block) => block[member])])),
  });
}

const MetaPhone = builder.objectRef<Json>('MetaPhone').implement({
  fields: (t) => ({
    displayPhoneNumber: text(t, (phone) => phone['displayPhoneNumber']),
    verifiedName: text(t, (phone) => phone['verifiedName']),
    qualityRating: text(t, (phone) => phone['qualityRating']),
    messagingLimitTier: text(t, (phone) => phone['messagingLimitTier']),
    isPinEnabled: t.boolean({
      nullable: true,
      resolve: (phone) => phone['isPinEnabled'] as boolean | null,
    }),
  }),
});
const MetaProfile = builder.objectRef<Json>('MetaProfile').implement({
  fields: (t) => ({
    about: text(t, (profile) => profile['about']),
    email: text(t, (profile) => profile['email']),
    vertical: text(t, (profile) => profile['vertical']),
    websites: t.stringList({
      nullable: true,
      resolve: (profile) => profile['websites'] as readonly string[] | null,
    }),
  }),
});
const MetaWaba = createBlock('MetaWaba', [
  'id',
  'name',
  'currency',
  'businessVerificationStatus',
  'country',
]);

interface Details {
  readonly phone: SnapshotRow | undefined;
  readonly profile: SnapshotRow | undefined;
  readonly waba: SnapshotRow | undefined;
}

const MetaDetails = builder.objectRef<Details>('MetaDetails').implement({
  fields: (t) => ({
    fetchedAt: t.field({
      type: 'DateTime',
      resolve: (details) => new Date(Math.min(...toTimes(details))),
    }),
    phone: t.field({
      type: MetaPhone,
      nullable: true,
      resolve: ({ phone }) => phone?.data ?? null,
    }),
    profile: t.field({
      type: MetaProfile,
      nullable: true,
      resolve: ({ profile }) => profile?.data ?? null,
    }),
    waba: t.field({
      type: MetaWaba,
      nullable: true,
      resolve: ({ waba }) =>
        waba?.data
          ? {
              ...waba.data,
              businessVerificationStatus: String(
                waba.data['businessVerificationStatus'],
              ).toUpperCase(),
            }
          : null,
    }),
  }),
});

const WhatsAppNumber = builder.objectRef<NumberRow>('WhatsAppNumber').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    instanceName: t.exposeString('instance_name', { nullable: true }),
    number: t.exposeString('number'),
    name: t.exposeString('name'),
    provider: t.expose('provider', { type: Provider }),
    state: t.expose('state', { type: ConnectionState }),
    isFullyConnected: t.boolean({ resolve: ({ state }) => state === 'OPEN' }),
    createdAt: t.expose('created_at', { type: 'DateTime' }),
    updatedAt: t.expose('updated_at', { type: 'DateTime' }),
    apiKeys: t.loadableList({
      type: ApiKeyHint,
      load: loadKeys,
      resolve: (number) => number.id,
    }),
    health: t.loadable({
      type: NumberHealth,
      load: loadHealth,
      resolve: (number) => number,
    }),
    meta: t.loadable({
      type: MetaDetails,
      nullable: true,
      load: loadMeta,
      resolve: (number) => number,
    }),
  }),
});

builder.queryType({
  fields: (t) => ({
    numbers: t.field({
      type: [WhatsAppNumber],
      resolve: (_root, _args, { tenantId }) =>
        database
          .selectFrom('whatsapp_number')
          .selectAll()
          .where('tenant_id', '=', tenantId)
          .orderBy('created_at')
          .orderBy('id')
          .execute(),
    }),
    number: t.field({
      type: WhatsAppNumber,
      nullable: true,
      args: { id: t.arg.id({ required: true }) },
      resolve: (_root, { id }, { tenantId }) =>
        database
          .selectFrom('whatsapp_number')
          .selectAll()
          .where('tenant_id', '=', tenantId)
          .where('id', '=', String(id))
          .executeTakeFirst(),
    }),
  }),
});

const yoga = createYoga({
  schema: builder.toSchema(),
  graphiql: false,
  context: async ({ request }) => ({
    tenantId: await authenticate(pool, pepper, request.headers.get('x-api-key')),
  }),
});
// Yoga answers a Node request by itself.
await listenAndAnnounce(createServer((incoming, outgoing) => void yoga(incoming, outgoing)));

function isSendable({ number, phone }: Health): boolean {
  if (number.state !== 'OPEN') return false;
  if (number.provider !== 'META') return true;
  const status = phone?.['status'];
  if (status !== 'CONNECTED' && status !== 'FLAGGED') return false;
  if (phone?.['platformType'] !== 'CLOUD_API') return false;
  const { entities } = phone['healthStatus'] as { entities: readonly { canSendMessage: string }[] };
  return entities.every((entity) => entity.canSendMessage !== 'BLOCKED');
}

function toTimes({ phone, profile, waba }: Details): readonly number[] {
  return [phone, profile, waba].flatMap((row) => row?.observed_at?.getTime() ?? []);
}

async function loadKeys(ids: string[], { tenantId }: Context) {
  const rows = await database
    .selectFrom('api_key')
    .selectAll()
    .where('tenant_id', '=', tenantId)
    .where('number_id', 'in', ids)
    .where('revoked_at', 'is', null)
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  const byNumber = Map.groupBy(rows, (row) => row.number_id);
  return ids.map((id) => byNumber.get(id) ?? []);
}

async function loadSnapshots(numbers: readonly NumberRow[], { tenantId }: Context) {
  const rows = await database
    .selectFrom('number_snapshot')
    .selectAll()
    .where('tenant_id', '=', tenantId)
    .where(
      'number_id',
      'in',
      numbers.map((number) => number.id),
    )
    .execute();
  return new Map(rows.map((row) => [`${row.number_id} ${row.block}`, row]));
}

async function loadHealth(numbers: NumberRow[], context: Context): Promise<Health[]> {
  const snapshots = await loadSnapshots(numbers, context);
  return numbers.map((number) => ({
    number,
    phone: snapshots.get(`${number.id} phone`)?.data ?? null,
  }));
}

async function loadMeta(numbers: NumberRow[], context: Context): Promise<(Details | null)[]> {
  const wabaIds = numbers.flatMap((number) => number.waba_id ?? []);
  const [snapshots, wabas] = await Promise.all([
    loadSnapshots(numbers, context),
    wabaIds.length === 0
      ? []
      : database
          .selectFrom('waba_snapshot')
          .selectAll()
          .where('tenant_id', '=', context.tenantId)
          .where('waba_id', 'in', wabaIds)
          .execute(),
  ]);
  return numbers.map((number) => {
    const details = {
      phone: snapshots.get(`${number.id} phone`),
      profile: snapshots.get(`${number.id} profile`),
      waba: wabas.find((waba) => waba.waba_id === number.waba_id),
    };
    return toTimes(details).length === 0 ? null : details;
  });
}
