// The simulated session engine: one route that tells the connection state of an instance.
// It has its own errors, which are JSON but look nothing like Graph's.

import type { Fault } from './faults.ts';
import type { Fleet } from './fleet.ts';
import {
  toHtmlReply,
  toJsonReply,
  truncate,
  type Operation,
  type WireReply,
  type WireRequest,
} from './wire.ts';

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

/** Answers 401 before 404, so that a wrong key learns nothing about instances. No key means that any key is right. */
export function answerSession(
  fleet: Fleet,
  key: string | undefined,
  request: WireRequest,
  fault: Fault | null,
): WireReply {
  if (fault?.kind === 'html') return toHtmlReply(fault.status ?? 502);
  const reply = answerState(fleet, key, request, fault);
  return fault?.kind === 'truncated' ? truncate(reply) : reply;
}

function answerState(
  fleet: Fleet,
  key: string | undefined,
  request: WireRequest,
  fault: Fault | null,
): WireReply {
  if (key !== undefined && request.headers['apikey'] !== key) {
    return toProblem(401, 'Unauthorized', 'Unauthorized');
  }
  const instanceName = findInstanceName(request);
  if (instanceName === undefined) {
    return toProblem(404, 'Not Found', [`Cannot ${request.method} ${request.path}`]);
  }
  if (
    fault?.kind === 'error' ||
    fault?.kind === 'throttled' ||
    fault?.kind === 'transient-then-ok'
  ) {
    return toProblem(toStatus(fault), 'Simulated error', [toMessage(fault)]);
  }
  if (fault?.kind === 'empty-data') return toJsonReply(200, {});
  const instance = fleet.findInstance(instanceName);
  if (instance === undefined) {
    return toProblem(404, 'Not Found', [`The "${instanceName}" instance does not exist`]);
  }
  const state = fault?.kind === 'wrong-types' ? instance.state.length : instance.state;
  return toJsonReply(200, { instance: { instanceName, state } });
}

function toStatus(fault: Fault): number {
  if (fault.kind === 'throttled') return 429;
  return fault.kind === 'error' ? (fault.status ?? 500) : 500;
}

function toMessage(fault: Fault): string {
  return fault.kind === 'error' ? (fault.message ?? `Error ${fault.code}`) : 'Try again later';
}

function toProblem(status: number, error: string, message: string | readonly string[]): WireReply {
  return toJsonReply(status, { status, error, response: { message } });
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
