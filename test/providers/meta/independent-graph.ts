// A Graph API that shares no code with the simulator: its answers follow error bodies that were published; some are
// put together from published wordings, and the ids of traces are invented.

import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** The body of an answer, as JSON text, and its status; 400 by default. */
export interface RecordedError {
  readonly body: string;
  readonly status?: number;
}

/** A whole response as it goes over the wire. A body that is not text is sent as JSON; `{id}` in it is the id in the path. */
export interface RawResponse {
  readonly body: unknown;
  /** 200 by default. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An object of Graph's. */
export interface RecordedNode {
  /** Graph's name of its type, for errors. */
  readonly type: string;
  /** JSON texts, by field. Other fields do not exist. */
  readonly fields: Readonly<Record<string, string>>;
  /** The edge `whatsapp_business_profile`; without it, it does not exist. */
  readonly profile?: Readonly<Record<string, string>>;
  /** Refuses a request that asks for one of these fields, without saying for which. */
  readonly denied?: { readonly fields: readonly string[]; readonly error: RecordedError };
  /** The answer to all requests. */
  readonly error?: RecordedError;
}

/** One operation: a GET, or an item of a batch. */
export interface RecordedCall {
  readonly id: string;
  readonly edge: string | null;
  readonly fields: readonly string[];
  readonly token: string;
  /** How many operations its HTTP request has. */
  readonly batch: number;
}

export interface IndependentGraph extends AsyncDisposable {
  readonly url: string;
  /** By id; others do not exist. Entries may be replaced at any time. */
  readonly nodes: Map<string, RecordedNode>;
  /** By the path below the version: the responses to single reads, whatever fields they ask for, in the place of the node's. */
  readonly responses: Map<string, RawResponse>;
  readonly calls: RecordedCall[];
}

/** Messages with `{}` have the id or the field there. */
const unknownObject = `{"error":{"message":"Unsupported get request. Object with ID '{}' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https:\\/\\/developers.facebook.com\\/docs\\/graph-api","type":"GraphMethodException","code":100,"error_subcode":33,"fbtrace_id":"AXfu0NKfYelIG2VlOmIfK3C"}}`;
const unknownField = `{"error":{"message":"(#100) Tried accessing nonexisting field ({}) on node type ({type})","type":"OAuthException","code":100,"fbtrace_id":"AZwsqIu9s-AdksGdQXIH5hs"}}`;

/** https://github.com/PipedreamHQ/pipedream/issues/9004 and others; the ids of traces are invented. */
export const recorded = {
  blocked: {
    body: '{"error":{"message":"API access blocked.","type":"OAuthException","code":200,"fbtrace_id":"AlDDQr1uZSKx6XygxOyZKxT"}}',
  },
  deactivated: {
    body: '{"error":{"message":"API access deactivated. To reactivate, go to the app dashboard.","type":"OAuthException","code":200,"fbtrace_id":"AlDDQr1uZSKx6XygxOyZKxU"}}',
  },
  fieldDenied: {
    body: '{"error":{"message":"(#200) You do not have permission to access this field.","type":"OAuthException","code":200,"fbtrace_id":"ADQ5nUtcGt9Xx6eOBnxWxW1"}}',
    status: 403,
  },
  ownerDenied: {
    body: '{"error":{"message":"(#200) Requires business_management permission to access the field owner_business_info","type":"OAuthException","code":200,"fbtrace_id":"ADQ5nUtcGt9Xx6eOBnxWxW2"}}',
    status: 403,
  },
  permissionDenied: {
    body: '{"error":{"message":"(#200) Permissions error","type":"OAuthException","code":200,"fbtrace_id":"ADQ5nUtcGt9Xx6eOBnxWxW3"}}',
    status: 403,
  },
  expired: {
    body: '{"error":{"message":"Error validating access token: Session has expired on Tuesday, 01-Sep-26 12:00:00 PDT. The current time is Wednesday, 02-Sep-26 08:11:05 PDT.","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"ALs4cXh0rSGvQeJHT0oIxN8"}}',
    status: 401,
  },
  passwordChanged: {
    body: '{"error":{"message":"Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.","type":"OAuthException","code":190,"error_subcode":460,"fbtrace_id":"ALs4cXh0rSGvQeJHT0oIxN9"}}',
    status: 401,
  },
  loggedOut: {
    body: '{"error":{"message":"Error validating access token: The session is invalid because the user logged out.","type":"OAuthException","code":190,"error_subcode":467,"fbtrace_id":"ALs4cXh0rSGvQeJHT0oIxNA"}}',
    status: 401,
  },
  unknownVersion: {
    body: '{"error":{"message":"Unknown path components: \\/106540352242922","type":"OAuthException","code":2500,"fbtrace_id":"Amgr0jjZ0NZ-Ca2k5qo8HfV"}}',
  },
  retiredVersion: {
    body: '{"error":{"message":"(#2635) You are calling a deprecated version of the API. Please update to the latest version.","type":"OAuthException","code":2635,"fbtrace_id":"Amgr0jjZ0NZ-Ca2k5qo8HfW"}}',
  },
  notRegistered: {
    body: '{"error":{"message":"(#133010) Account not registered","type":"OAuthException","code":133010,"error_data":{"messaging_product":"whatsapp","details":"Account does not exist in Cloud API, please use \\/register API to create an account first."},"fbtrace_id":"AUxcvYiZvJZc_6LZmoj1Bqq"}}',
  },
  minusOne: {
    body: '{"error":{"message":"An unknown error has occurred.","type":"OAuthException","code":-1,"fbtrace_id":"AUxcvYiZvJZc_6LZmoj1Bqr"}}',
    status: 500,
  },
} as const satisfies Readonly<Record<string, RecordedError>>;

export async function openIndependentGraph(): Promise<IndependentGraph> {
  const nodes = new Map<string, RecordedNode>();
  const responses = new Map<string, RawResponse>();
  const calls: RecordedCall[] = [];
  const server = createServer((request, response) => {
    void answer(request).then(({ status, headers, body }) =>
      response
        .writeHead(status, { 'content-type': 'application/json; charset=UTF-8', ...headers })
        .end(body),
    );
  }).listen(0, '127.0.0.1');

  const answer = async (request: IncomingMessage): Promise<Answer> => {
    const path = toPath(request.url ?? '');
    const raw = responses.get(path);
    if (raw !== undefined) return toRawAnswer(raw, path);
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const form = new URLSearchParams(await text(request));
    const batch = form.get('batch');
    if (batch === null) return answerOne(request.url ?? '', token, 1);
    const items = JSON.parse(batch) as readonly { readonly relative_url: string }[];
    const answers = items.map(({ relative_url }) => answerOne(relative_url, token, items.length));
    const listed = answers.map(({ status, body }) => ({ code: status, body }));
    return { status: 200, body: JSON.stringify(listed) };
  };

  const answerOne = (path: string, token: string, batch: number): Required<RecordedError> => {
    const url = new URL(path, 'http://graph.test');
    const [id = '', edge = null] = toPath(path).split('/');
    const fields = (url.searchParams.get('fields') ?? '').split(',');
    calls.push({ id, edge, fields, token, batch });
    const node = nodes.get(id);
    if (node === undefined) return toError({ body: unknownObject }, id);
    return node.error === undefined ? read(node, id, edge, fields) : toError(node.error);
  };

  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    nodes,
    responses,
    calls,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Answer = Required<RecordedError> & Pick<RawResponse, 'headers'>;

function toRawAnswer({ body, status = 200, headers }: RawResponse, path: string): Answer {
  const json = typeof body === 'string' ? body : JSON.stringify(body);
  return {
    status,
    body: json.replaceAll('{id}', path.split('/')[0]!),
    ...(headers && { headers }),
  };
}

/** Without the version and the query. */
function toPath(url: string): string {
  return new URL(url, 'http://graph.test').pathname.replace(/^\/(v[\d.]+\/)?/, '');
}

function toError({ body, status = 400 }: RecordedError, value = '', type = '') {
  return { status, body: body.replaceAll('{}', value).replaceAll('{type}', type) };
}

function read(
  node: RecordedNode,
  id: string,
  edge: string | null,
  names: readonly string[],
): Required<RecordedError> {
  const known = edge === null ? { id: `"${id}"`, ...node.fields } : node.profile;
  if (known === undefined) return toError({ body: unknownField }, edge ?? '', node.type);
  const missing = names.find((name) => !Object.hasOwn(known, name));
  const type = edge === null ? node.type : 'WhatsAppBusinessProfile';
  if (missing !== undefined) return toError({ body: unknownField }, missing, type);
  if (node.denied?.fields.some((field) => names.includes(field))) return toError(node.denied.error);
  const members = (edge === null ? [...new Set([...names, 'id'])] : names)
    .map((name) => `"${name}":${known[name]}`)
    .join(',');
  return { status: 200, body: edge === null ? `{${members}}` : `{"data":[{${members}}]}` };
}

/** A number that can send, with all of its fields. */
export function toRecordedPhone(
  id: string,
  wabaId: string,
): RecordedNode & Required<Pick<RecordedNode, 'profile'>> {
  const available = '"can_send_message":"AVAILABLE"';
  return {
    type: 'WhatsAppBusinessPhoneNumber',
    fields: {
      display_phone_number: '"+1 631-555-5555"',
      verified_name: '"Jasper\'s Market"',
      quality_rating: '"GREEN"',
      whatsapp_business_manager_messaging_limit: '"TIER_2K"',
      is_pin_enabled: 'true',
      status: '"CONNECTED"',
      name_status: '"APPROVED"',
      code_verification_status: '"VERIFIED"',
      platform_type: '"CLOUD_API"',
      throughput: '{"level":"STANDARD"}',
      account_mode: '"LIVE"',
      last_onboarded_time: '"2026-07-01T08:30:00+0000"',
      is_official_business_account: 'false',
      is_on_biz_app: 'false',
      webhook_configuration: '{"application":"https:\\/\\/hooks.example\\/in"}',
      health_status: `{${available},"entities":[{"entity_type":"PHONE_NUMBER","id":"${id}",${available}},{"entity_type":"WABA","id":"${wabaId}",${available}},{"entity_type":"BUSINESS","id":"506914307656634",${available}},{"entity_type":"APP","id":"634974688087057",${available}}]}`,
    },
    profile: {
      about: '"Hey there! I am using WhatsApp."',
      email: '"user@server.com"',
      websites: '["https:\\/\\/example.org\\/"]',
      vertical: '"PROF_SERVICES"',
      address: '"123 Main St"',
      description: '"Business Description"',
      profile_picture_url: '"https:\\/\\/pps.whatsapp.net\\/v\\/t61"',
      messaging_product: '"whatsapp"',
    },
  };
}

/** An account with all of its fields. */
export const recordedWaba: RecordedNode = {
  type: 'WhatsAppBusinessAccount',
  fields: {
    name: '"Lucky Shrub"',
    currency: '"USD"',
    country: '"US"',
    business_verification_status: '"verified"',
    account_review_status: '"APPROVED"',
    timezone_id: '"1"',
    ownership_type: '"SELF_OWNED"',
    owner_business_info: '{"id":"506914307656634","name":"Lucky Shrub Inc"}',
    whatsapp_business_manager_messaging_limit: '"TIER_2K"',
    subscribed_apps:
      '{"data":[{"whatsapp_business_api_data":{"link":"https:\\/\\/www.facebook.com\\/games\\/?app_id=67084","name":"Jaspers Market","id":"67084"}}]}',
  },
};

/** A business portfolio, as the token of its administrator may read it. */
export const recordedBusiness: RecordedNode = {
  type: 'Business',
  fields: { name: '"Lucky Shrub Inc"', verification_status: '"verified"' },
};
