// The simulated session engine: the connection state of an instance, and the engine's error format.

import type { Fault, Operation } from './faults.ts';
import type { Fleet } from './fleet.ts';
import {
  toHtmlResponse,
  toJsonResponse,
  truncate,
  type WireRequest,
  type WireResponse,
} from './transport.ts';

const route = /^\/instance\/connectionState\/([^/]+)$/;

export function isSessionEnginePath(path: string): boolean {
  return path.startsWith('/instance/');
}

export function listSessionOperations(request: WireRequest): readonly Operation[] {
  const instanceName = findInstanceName(request);
  return instanceName === undefined
    ? []
    : [{ name: `connectionState ${instanceName}`, id: instanceName }];
}

/** Checks the key first, so that a wrong key gets no information about instances. If `key` is undefined, every key is valid. */
export function answerSession(
  fleet: Fleet,
  key: string | undefined,
  request: WireRequest,
  fault: Fault | null,
): WireResponse {
  if (fault?.kind === 'html') return toHtmlResponse(fault.status ?? 502);
  const response = answerState(fleet, key, request, fault);
  return fault?.kind === 'truncated' ? truncate(response) : response;
}

function answerState(
  fleet: Fleet,
  key: string | undefined,
  request: WireRequest,
  fault: Fault | null,
): WireResponse {
  const isKeyRefused = fault?.kind === 'error' && fault.status === 401;
  if (isKeyRefused || (key !== undefined && request.headers['apikey'] !== key)) {
    return toErrorResponse(401, 'Unauthorized', 'Unauthorized');
  }
  const instanceName = findInstanceName(request);
  if (instanceName === undefined) {
    return toErrorResponse(404, 'Not Found', [`Cannot ${request.method} ${request.path}`]);
  }
  if (
    fault?.kind === 'error' ||
    fault?.kind === 'throttled' ||
    fault?.kind === 'transient-then-ok'
  ) {
    return toErrorResponse(toStatus(fault), 'Simulated error', [toMessage(fault)]);
  }
  if (fault?.kind === 'empty-data') return toJsonResponse(200, {});
  const instance = fleet.findInstance(instanceName);
  if (instance === undefined) {
    return toErrorResponse(404, 'Not Found', [`The "${instanceName}" instance does not exist`]);
  }
  const { state } = instance;
  if (state === null) return toJsonResponse(200, { instance: { instanceName } });
  const sent = fault?.kind === 'wrong-types' ? state.length : state;
  return toJsonResponse(200, { instance: { instanceName, state: sent } });
}

function toStatus(fault: Fault): number {
  if (fault.kind === 'throttled') return 429;
  return fault.kind === 'error' ? (fault.status ?? 500) : 500;
}

function toMessage(fault: Fault): string {
  return fault.kind === 'error' ? (fault.message ?? `Error ${fault.code}`) : 'Try again later';
}

function toErrorResponse(
  status: number,
  error: string,
  message: string | readonly string[],
): WireResponse {
  return toJsonResponse(status, { status, error, response: { message } });
}

function findInstanceName(request: WireRequest): string | undefined {
  const encoded = request.method === 'GET' ? route.exec(request.path)?.[1] : undefined;
  if (encoded === undefined) return undefined;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}
