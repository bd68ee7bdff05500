// What a request to the Graph API asks for, as its URL or as its form.

import { createHmac } from 'node:crypto';
import { type Credentials, toPlainFailure, type UpstreamFailure } from '../../numbers/provider.ts';
import { type GraphNode, idNames } from './graph-refusals.ts';

/** A page of an edge of a node, such as the numbers of an account. */
export interface GraphPage {
  readonly edge:
    | 'phone_numbers'
    | 'businesses'
    | 'owned_whatsapp_business_accounts'
    | 'client_whatsapp_business_accounts'
    | 'assigned_whatsapp_business_accounts';
  /** At most 100. */
  readonly limit: number;
  /** The cursor at the end of the page before; null for the first page. */
  readonly after: string | null;
}

/** Reads some fields of a node, of its profile edge, or of each node on a page of another edge. */
export interface GraphOperation {
  /** Chooses node or edge, and the words of a failure. */
  readonly block: GraphNode;
  /** Of the phone number, the WABA or the business; `me` for the user of the token. */
  readonly id: string;
  /** The account whose rate limit counts the operation; for a WABA its own id. */
  readonly wabaId: string | null;
  /** Graph's names, at least one. */
  readonly fields: readonly string[];
  readonly page?: GraphPage;
}

/** https://developers.facebook.com/docs/graph-api/batch-requests */
export const maxBatchOperations = 50;

export const tokenOperation = {
  block: 'token',
  id: 'debug_token',
  wabaId: null,
  fields: [],
} as const;

export function toInspectionForm(credentials: Credentials): URLSearchParams {
  const { accessToken } = credentials;
  return toForm(credentials, [`debug_token?input_token=${encodeURIComponent(accessToken)}`]);
}

const templates: Readonly<Record<GraphNode, string>> = {
  phone: '/{version}/{id}',
  profile: '/{version}/{id}/whatsapp_business_profile',
  waba: '/{version}/{id}',
  business: '/{version}/{id}',
  user: '/{version}/me',
  token: '/{version}/',
};

/** The path with names in the place of ids, for tracing. */
export function toTemplate({ block, page }: GraphOperation): string {
  return page === undefined ? templates[block] : `/{version}/{id}/${page.edge}`;
}

/** Why the operation cannot be put into a URL and a header; null when it can. */
export function findInvalidInput(
  { block, id }: GraphOperation,
  { accessToken }: Credentials,
): UpstreamFailure | null {
  if (block !== 'user' && block !== 'token' && !/^\d{5,20}$/.test(id)) {
    const [name, option] = idNames[block];
    return toInvalidInput(
      `The stored ${name} is invalid: Meta's ids have 5 to 20 digits.`,
      option === null ? `Look up the ${name}.` : `Correct it with: number update ${option}.`,
    );
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(accessToken)) {
    return toInvalidInput(
      'The stored access token contains invalid characters.',
      'Store it again.',
    );
  }
  return null;
}

function toInvalidInput(message: string, solution: string): UpstreamFailure {
  return toPlainFailure('META_ACCESS_DENIED', false, message, { solution });
}

export function toRelativeUrl(operation: GraphOperation, credentials: Credentials): string {
  const { block, id, fields, page } = operation;
  const edge = block === 'profile' ? 'whatsapp_business_profile' : page?.edge;
  const proof = toProof(credentials);
  const parameters = [
    `fields=${fields.join(',')}`,
    ...(page === undefined ? [] : [`limit=${page.limit}`]),
    ...(page === undefined || page.after === null
      ? []
      : [`after=${encodeURIComponent(page.after)}`]),
    ...(proof === null ? [] : [`appsecret_proof=${proof}`]),
  ];
  return `${id}${edge === undefined ? '' : `/${edge}`}?${parameters.join('&')}`;
}

export function toBatchForm(
  operations: readonly GraphOperation[],
  credentials: Credentials,
): URLSearchParams {
  return toForm(
    credentials,
    operations.map((operation) => toRelativeUrl(operation, credentials)),
  );
}

function toForm(credentials: Credentials, relativeUrls: readonly string[]): URLSearchParams {
  const items = relativeUrls.map((relative_url) => ({ method: 'GET', relative_url }));
  const proof = toProof(credentials);
  return new URLSearchParams({
    batch: JSON.stringify(items),
    include_headers: 'false',
    ...(proof === null ? {} : { appsecret_proof: proof }),
  });
}

/** https://developers.facebook.com/docs/graph-api/guides/secure-requests */
function toProof({ accessToken, appSecret }: Credentials): string | null {
  return appSecret === null
    ? null
    : createHmac('sha256', appSecret).update(accessToken).digest('hex');
}
