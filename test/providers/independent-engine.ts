// A session engine that shares no code with the simulator: it sends what was recorded of public engines, byte by byte.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An answer of an engine, by status and body. `{name}` in the body stands for the name of the instance. */
export interface RecordedAnswer {
  readonly status: number;
  readonly body: string;
  readonly contentType?: string;
  readonly location?: string;
}

export interface IndependentEngine extends AsyncDisposable {
  readonly url: string;
  /** From now on the answer to each request. */
  answer(answer: RecordedAnswer): void;
}

export async function openIndependentEngine(): Promise<IndependentEngine> {
  let current: RecordedAnswer = recorded.open;
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url?.split('/').at(-1) ?? '');
    const { status, body, contentType = 'application/json; charset=utf-8', location } = current;
    response.writeHead(status, { 'content-type': contentType, ...(location && { location }) });
    response.end(body.replaceAll('{name}', name));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    answer: (answer) => void (current = answer),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const evolution = (state: string): RecordedAnswer => ({
  status: 200,
  body: `{"instance":{"instanceName":"{name}","state":"${state}"}}`,
});

/**
 * As in the source of these engines: src/main.ts and src/api/guards of https://github.com/EvolutionAPI/evolution-api,
 * src/guards of https://github.com/code-chat-br/whatsapp-api, src/api/sessions.controller.ts of
 * https://github.com/devlikeapro/waha, src/middleware/statusConnection.ts of
 * https://github.com/wppconnect-team/wppconnect-server.
 */
export const recorded = {
  open: evolution('open'),
  close: evolution('close'),
  refused: evolution('refused'),
  evolution,
  codechatOpen: { status: 200, body: '{"state":"open","statusReason":200}' },
  codechatClose: { status: 200, body: '{"state":"close","statusReason":400}' },
  evolutionMissing: {
    status: 404,
    body: '{"status":404,"error":"Not Found","response":{"message":["The \\"{name}\\" instance does not exist"]}}',
  },
  evolutionMissing400: {
    status: 400,
    body: '{"status":400,"error":"Bad Request","response":{"message":["The \\"{name}\\" instance does not exist"]}}',
  },
  codechatMissing: {
    status: 400,
    body: '{"status":400,"error":"Bad Request","message":["The \\"{name}\\" instance does not exist or is not connected"]}',
  },
  wahaMissing: {
    status: 404,
    body: '{"message":"Session not found","error":"Not Found","statusCode":404}',
  },
  wppconnectMissing: {
    status: 404,
    body: '{"response":null,"status":"Disconnected","message":"A sessão do WhatsApp não está ativa."}',
  },
  // https://github.com/chrishubert/whatsapp-api
  codeMissing: {
    status: 404,
    body: '{"success":false,"state":null,"message":"session_not_found"}',
  },
  // Evolution API while an instance is stored and not loaded: JSON.stringify leaves `undefined` out.
  withoutState: { status: 200, body: '{"instance":{"instanceName":"{name}"}}' },
  nullState: { status: 200, body: '{"instance":{"instanceName":"{name}","state":null}}' },
  evolutionKeyRefused: {
    status: 401,
    body: '{"status":401,"error":"Unauthorized","response":{"message":"Unauthorized"}}',
  },
  proxyKeyRefused: {
    status: 403,
    contentType: 'text/html',
    body: '<html><head><title>403 Forbidden</title></head></html>',
  },
  evolutionUnknownPath: {
    status: 404,
    body: '{"status":404,"error":"Not Found","response":{"message":["Cannot GET /instance/connectionState/{name}"]}}',
  },
  wahaUnknownPath: {
    status: 404,
    body: '{"message":"Cannot GET /instance/connectionState/{name}","error":"Not Found","statusCode":404}',
  },
  // The edge of a hosting platform whose application has been removed.
  platformNotFound: {
    status: 404,
    body: '{"status":"error","code":404,"message":"Application not found","request_id":"x"}',
  },
  proxyNotFound: { status: 404, contentType: 'text/plain', body: '404 page not found\n' },
  // A proxy that only serves https: https://github.com/traefik/traefik/issues/1819
  redirect: { status: 308, location: 'https://engine.example/', body: 'Permanent Redirect' },
  managerPage: {
    status: 200,
    contentType: 'text/html',
    body: '<!doctype html><html><head><title>Evolution Manager</title></head></html>',
  },
  truncated: { status: 200, body: '{"instance":{"instanceName":"{name}","sta' },
  otherInstance: { status: 200, body: '{"instance":{"instanceName":"another","state":"open"}}' },
  numericState: { status: 200, body: '{"instance":{"instanceName":"{name}","state":1}}' },
  unknownWord: evolution('hibernating'),
  badGateway: {
    status: 502,
    contentType: 'text/html',
    body: '<html><head><title>502 Bad Gateway</title></head></html>',
  },
} as const satisfies Readonly<Record<string, RecordedAnswer | typeof evolution>>;
