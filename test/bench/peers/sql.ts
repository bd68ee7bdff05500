// node:http with authentication and one statement that builds the whole response in PostgreSQL. It has no GraphQL: the three
// documents are recognised by their text.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { Pool } from 'pg';
import { documents, type GraphQLShape } from '../shapes.ts';
import { listenAndAnnounce, readPeerEnvironment } from './announcement.ts';
import { authenticate } from './authentication.ts';

const { databaseUrl, pepper } = readPeerEnvironment();
const pool = new Pool({ connectionString: databaseUrl, max: 10 });

const iso = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const common = `'number', n.number, 'name', n.name, 'provider', n.provider, 'state', n.state,
  'isFullyConnected', n.state = 'OPEN', 'createdAt', ${iso('n.created_at')}, 'updatedAt', ${iso('n.updated_at')}`;

const health = `json_build_object('qualityRating', p.data->>'qualityRating',
  'messagingLimitTier', p.data->>'messagingLimitTier', 'metaStatus', p.data->>'status',
  'sendable', n.state = 'OPEN' and (n.provider <> 'META' or coalesce(p.data->>'status' in ('CONNECTED', 'FLAGGED')
    and p.data->>'platformType' = 'CLOUD_API' and not jsonb_path_exists(p.data,
      '$.healthStatus.entities[*] ? (@.canSendMessage == "BLOCKED")'), false)))`;

const phone = `left join number_snapshot p
  on p.tenant_id = n.tenant_id and p.number_id = n.id and p.block = 'phone'`;

const statements: Readonly<Record<GraphQLShape, string>> = {
  thin: `select json_build_object('data', json_build_object('numbers', coalesce(json_agg(
      json_build_object('id', n.id, 'state', n.state) order by n.created_at, n.id), '[]')))::text as answer
    from whatsapp_number n where n.tenant_id = $1`,
  list: `select json_build_object('data', json_build_object('numbers', coalesce(json_agg(
      json_build_object('id', n.id, 'instanceName', n.instance_name, ${common},
        'apiKeys', coalesce(k.hints, '[]'), 'health', ${health}) order by n.created_at, n.id), '[]')))::text as answer
    from whatsapp_number n ${phone}
    left join (select k.number_id, json_agg(json_build_object('name', k.name, 'keyPrefix', k.key_prefix,
        'keyLast4', k.key_last4) order by k.created_at, k.id) as hints
      from api_key k where k.tenant_id = $1 and k.revoked_at is null
        and (k.expires_at is null or k.expires_at > clock_timestamp()) group by k.number_id) k
      on k.number_id = n.id
    where n.tenant_id = $1`,
  detail: `select json_build_object('data', json_build_object('number', json_build_object('id', n.id, ${common},
      'health', ${health}, 'meta', case when coalesce(p.observed_at, f.observed_at, w.observed_at) is not null then
        json_build_object('fetchedAt', ${iso('least(p.observed_at, f.observed_at, w.observed_at)')},
          'phone', case when p.data is not null then json_build_object(
            'displayPhoneNumber', p.data->'displayPhoneNumber', 'verifiedName', p.data->'verifiedName',
            'qualityRating', p.data->'qualityRating', 'messagingLimitTier', p.data->'messagingLimitTier',
            'isPinEnabled', p.data->'isPinEnabled') end,
          'profile', case when f.data is not null then json_build_object('about', f.data->'about',
            'email', f.data->'email', 'websites', f.data->'websites', 'vertical', f.data->'vertical') end,
          'waba', case when w.data is not null then json_build_object('id', w.data->'id', 'name', w.data->'name',
            'currency', w.data->'currency',
            'businessVerificationStatus', upper(w.data->>'businessVerificationStatus'),
            'country', w.data->'country') end) end)))::text as answer
    from whatsapp_number n ${phone}
    left join number_snapshot f on f.tenant_id = n.tenant_id and f.number_id = n.id and f.block = 'profile'
    left join waba_snapshot w on w.tenant_id = n.tenant_id and w.waba_id = n.waba_id
    where n.tenant_id = $1 and n.id = $2`,
};
const shapeOf = new Map(
  Object.entries(documents).map(([shape, document]) => [document, shape as GraphQLShape]),
);

const server = createServer((incoming, outgoing) => void respond(incoming, outgoing));
await listenAndAnnounce(server);

async function respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  try {
    const body = await answer(incoming);
    outgoing.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    outgoing.end(body);
  } catch (error) {
    outgoing.writeHead(500).end(String(error));
  }
}

async function answer(incoming: IncomingMessage): Promise<string> {
  const tenantId = await authenticate(pool, pepper, incoming.headers['x-api-key']);
  const { query, variables } = JSON.parse(await text(incoming)) as {
    query: string;
    variables?: { id: string };
  };
  const shape = shapeOf.get(query);
  if (shape === undefined) throw new Error('Unknown document.');
  const values = shape === 'detail' ? [tenantId, variables?.id] : [tenantId];
  const { rows } = await pool.query<{ answer: string }>({
    name: shape,
    text: statements[shape],
    values,
  });
  return rows[0]?.answer ?? '{"data":{"number":null}}';
}
