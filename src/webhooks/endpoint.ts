// Serves the URL that Meta, or a relay of the tenant, sends webhooks to: the handshake and the delivery.
// https://developers.facebook.com/docs/graph-api/webhooks/getting-started

import { setTimeout as delay } from 'node:timers/promises';
import { type Access, type AccessControl, assertScope } from '../access/access.ts';
import { BulkheadRejection, createBulkhead } from '../http/bulkhead.ts';
import { GatewayError } from '../errors.ts';
import type { Endpoint, PublicRoute } from '../http/endpoint.ts';
import { decodeBody, type HttpRequest, type HttpResponse } from '../http/message.ts';
import type { RequestContext } from '../http/request-context.ts';
import { pathOfEndpoints } from '../numbers/webhook-route.ts';
import { readDelivery } from './event.ts';
import { isSameSecret, isSigned, readSignature } from './proof.ts';
import type { OpenEndpoint, Webhooks } from './webhooks.ts';

export interface WebhookEndpointOptions {
  readonly webhooks: Pick<Webhooks, 'find' | 'receive'>;
  readonly access: Pick<AccessControl, 'authenticate'>;
  readonly toErrorResponse: Endpoint['toErrorResponse'];
}

/** Meta sends at most so much. */
const maxBytes = 3 * 2 ** 20;
/** How long a body may take to arrive. */
const maxBodyMs = 5_000;
/** How many bodies may be in memory; of one tenant half of all, so that none keeps the others from receiving. */
const maxBodies = { maxPerProcess: 16, maxPerTenant: 8, maxQueuedPerTenant: 200 };
/** Of one client address for one tenant, so that somebody who knows the URL alone does not keep Meta from delivering. */
const maxBodiesOfAddress = {
  maxPerProcess: Infinity,
  maxPerTenant: 4,
  maxQueuedPerTenant: 100,
};
const maxWaitMs = 5_000;

export function createWebhookEndpoint(options: WebhookEndpointOptions): Endpoint {
  const { webhooks } = options;
  const limitBodies = createBodyLimit();
  const find = async ({ path }: HttpRequest): Promise<OpenEndpoint> => {
    const endpoint = await webhooks.find(path.slice(pathOfEndpoints.length));
    if (endpoint === undefined) throw createNotFound();
    return endpoint;
  };
  const verify = toRoute('verifyWebhook', async (request, context) => {
    const endpoint = await find(request);
    const response = toChallengeResponse(endpoint, request.search);
    context.tenantId = endpoint.tenantId;
    return response;
  });
  const receive = toRoute('receiveWebhook', async (request, context) => {
    const signature = readSignature(request.headers);
    // Before any query, so that refusing those who only know the URL is cheap.
    if (signature === null && !hasKey(request)) throw createUnsignedError();
    const endpoint = await find(request);
    const prove =
      endpoint.proof === 'SIGNED'
        ? createSignatureProof(endpoint, signature)
        : createKeyProof(options, endpoint, request, context);
    await prove(null);
    await limitBodies(endpoint, request, context, async () => {
      const body = await readBody(request, context);
      await prove(body);
      context.tenantId = endpoint.tenantId;
      await webhooks.receive(endpoint, readDelivery(decodeBody(body)));
    });
    return received;
  });
  return {
    match({ path, method }) {
      if (!endpointPath.test(path)) throw createNotFound();
      if (method === 'GET') return verify;
      if (method === 'POST') return receive;
      const message = 'The methods of this route are GET and POST.';
      throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow: ['GET', 'POST'] });
    },
    toErrorResponse: options.toErrorResponse,
  };
}

function toRoute(operation: string, respond: PublicRoute['respond']): PublicRoute {
  return { needsKey: false, path: `${pathOfEndpoints}{endpoint}`, operation, respond };
}

const endpointPath = new RegExp(`^${pathOfEndpoints}[^/]+$`);

const plainHeaders = {
  'content-type': 'text/plain; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
};

const received: HttpResponse = { status: 200, headers: plainHeaders, body: 'received\n' };

/** The challenge is the caller's text, so only what Meta sends is repeated. */
const challengeFormat = /^[\w.-]{1,128}$/;

function toChallengeResponse({ verifyToken }: OpenEndpoint, search: string): HttpResponse {
  const given = new URLSearchParams(search);
  if (!isSameSecret(given.get('hub.verify_token') ?? '', verifyToken)) {
    const message =
      'The verify token is not that of this endpoint; enter the one that webhook meta add or rotate printed.';
    throw new GatewayError('UNAUTHENTICATED', message);
  }
  const challenge = given.get('hub.challenge') ?? '';
  if (given.get('hub.mode') !== 'subscribe' || !challengeFormat.test(challenge)) {
    const message =
      'Send hub.mode=subscribe, and as hub.challenge up to 128 letters, digits, dots, hyphens and underscores.';
    throw new GatewayError('INVALID_REQUEST', message);
  }
  return { status: 200, headers: plainHeaders, body: challenge };
}

function hasKey({ headers }: HttpRequest): boolean {
  return headers.get('x-api-key') !== null || headers.get('authorization') !== null;
}

/** Called before the body is read, with null, and afterwards. Throws unless the sender may deliver. */
type Prove = (body: Buffer | null) => Promise<void>;

function createSignatureProof({ appSecrets }: OpenEndpoint, signature: Buffer | null): Prove {
  return async (body) => {
    if (signature === null) throw createUnsignedError();
    if (body === null || isSigned(body, signature, appSecrets)) return;
    const message =
      'The signature is not that of the body with an app secret of this endpoint. A relay must pass on the bytes as they are; a new app secret is stored with: webhook meta rotate.';
    throw new GatewayError('UNAUTHENTICATED', message);
  };
}

/** Twice, because the key may be revoked while the body arrives. A key of another tenant finds no endpoint. */
function createKeyProof(
  { access: accessControl }: WebhookEndpointOptions,
  { tenantId }: OpenEndpoint,
  { headers }: HttpRequest,
  context: RequestContext,
): Prove {
  return async () => {
    const { receivedAt, clientAddress, meter } = context;
    const access: Access = await accessControl.authenticate({
      headers,
      receivedAt,
      clientAddress,
      meter,
    });
    if (access.tenantId !== tenantId) throw createNotFound();
    assertScope(access, 'webhooks');
    context.keyId = access.keyId;
  };
}

async function readBody(request: HttpRequest, { meter }: RequestContext): Promise<Buffer> {
  const stop = new AbortController();
  const late = async (): Promise<never> => {
    await delay(maxBodyMs, undefined, { signal: stop.signal, ref: false });
    const message = 'The body took too long to arrive.';
    throw new GatewayError('INVALID_REQUEST', message);
  };
  try {
    return await meter.releaseWhile(() => Promise.race([request.bytes(maxBytes), late()]));
  } finally {
    stop.abort();
  }
}

type LimitBodies = (
  endpoint: Pick<OpenEndpoint, 'tenantId'>,
  request: HttpRequest,
  context: RequestContext,
  work: () => Promise<void>,
) => Promise<void>;

/** Runs `work` when the body may be in memory. Throws UNAVAILABLE when that takes too long. */
function createBodyLimit(): LimitBodies {
  const ofTenant = createBulkhead(maxBodies);
  const ofAddress = createBulkhead(maxBodiesOfAddress);
  return async ({ tenantId }, { signal }, { clientAddress }, work) => {
    const turn = { signal, deadlineAt: performance.now() + maxWaitMs };
    const address = `${tenantId} ${clientAddress}`;
    const waitForTenant = () => ofTenant({ ...turn, tenantId }, work);
    await ofAddress({ ...turn, tenantId: address }, waitForTenant).catch(toBusyError);
  };
}

function toBusyError(error: unknown): never {
  if (!(error instanceof BulkheadRejection)) throw error;
  const message = 'The gateway is receiving too much at once; send this again in a moment.';
  throw new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 });
}

function createUnsignedError(): GatewayError {
  const message =
    'Send the header X-Hub-Signature-256 as Meta does, or for an endpoint with the proof key an API key with the scope webhooks.';
  return new GatewayError('UNAUTHENTICATED', message);
}

function createNotFound(): GatewayError {
  return new GatewayError('NOT_FOUND', 'There is no such webhook endpoint.');
}
