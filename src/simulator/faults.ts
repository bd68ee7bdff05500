// Faults that are injected into the simulator.

import { ConnectionReset, until, type WireResponse } from './transport.ts';

/** One thing that a request reads; a batch has several. Faults and holds are set on `id`. */
export interface Operation {
  readonly name: string;
  readonly id: string;
}

/** Affects the HTTP request as a whole, even if only one item of a batch reads the id. */
export type ConnectionFault =
  | { readonly kind: 'latency'; readonly ms: number }
  /** No response until the caller aborts or the simulator is closed. */
  | { readonly kind: 'hang' }
  | { readonly kind: 'reset' }
  /** The status and the first bytes of a body arrive; the rest never does. */
  | { readonly kind: 'stall' }
  /** A body that never becomes valid JSON; 2 MiB by default. */
  | { readonly kind: 'oversized'; readonly bytes?: number }
  /** A 302 to a path of the same origin. A client that follows it makes another logged call. */
  | { readonly kind: 'redirect' };

/** Affects one response: that of a plain request, or of one item of a batch. */
export type ResponseFault =
  | { readonly kind: 'html'; readonly status?: 502 | 503 }
  | { readonly kind: 'truncated' }
  | {
      readonly kind: 'error';
      readonly code: number;
      readonly subcode?: number;
      readonly message?: string;
      readonly status?: number;
      readonly transient?: boolean;
    }
  /** Code 2 with `is_transient`, `times` times (default: once), then healthy. */
  | { readonly kind: 'transient-then-ok' }
  /** The rate limit of the WABA, with these minutes (default: 15) in the usage header. */
  | { readonly kind: 'throttled'; readonly minutes?: number }
  /** The item of a batch is `null`; a plain request gets a normal response. */
  | { readonly kind: 'null-item' };

/** Affects the data of one node. */
export type DataFault =
  | { readonly kind: 'unknown-field'; readonly field: string | readonly string[] }
  /** The token lacks a permission for these fields; the refusal does not name them. */
  | { readonly kind: 'denied-field'; readonly field: string | readonly string[] }
  | { readonly kind: 'nested-profile' }
  | { readonly kind: 'empty-data' }
  /** A page of an edge says that another one follows, and not at which cursor. */
  | { readonly kind: 'missing-cursor' }
  /** An edge responds with an object that has no list. */
  | { readonly kind: 'missing-list' }
  | { readonly kind: 'missing-vertical' }
  | { readonly kind: 'wrong-types' };

/** `times` is how often the fault occurs; by default it occurs until it is removed. */
export type Fault = (ConnectionFault | ResponseFault | DataFault) & { readonly times?: number };

/** The fault of an operation; that of `wholeRequest` if the operation has none of its own. */
export type FaultOf = (operation: Operation) => Fault | null;

/** Stands for every request as a whole, under the id `*`. */
export const wholeRequest: Operation = { name: '*', id: '*' };

export interface FaultInjector {
  set(id: string, fault: Fault | null): void;
  /** The fault of this operation now. Each call counts as one of its `times`. */
  take(operation: Operation): Fault | null;
}

/**
 * A fault that was set ends after its `times`. The fault of a sentinel id repeats: it occurs `times` times, then once
 * not. It is counted per operation, so that a retry of each read succeeds independently of other reads.
 */
export function createFaultInjector(
  findSentinelFault: (id: string) => Fault | null = () => null,
): FaultInjector {
  const faults = new Map<string, Fault>();
  const counts = new Map<string, number>();

  const takeSet = (id: string, fault: Fault): Fault => {
    const count = (counts.get(id) ?? 0) + 1;
    counts.set(id, count);
    if (count >= getTimes(fault)) faults.delete(id);
    return fault;
  };
  const takeSentinel = (name: string, fault: Fault): Fault | null => {
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    return count % (getTimes(fault) + 1) < getTimes(fault) ? fault : null;
  };

  return {
    set(id, fault) {
      counts.delete(id);
      if (fault === null || getTimes(fault) < 1) faults.delete(id);
      else faults.set(id, fault);
    },
    take({ id, name }) {
      const fault = faults.get(id);
      if (fault !== undefined) return takeSet(id, fault);
      const sentinelFault = findSentinelFault(id);
      return sentinelFault === null ? null : takeSentinel(name, sentinelFault);
    },
  };
}

function getTimes(fault: Fault): number {
  return fault.times ?? (fault.kind === 'transient-then-ok' ? 1 : Number.POSITIVE_INFINITY);
}

/** Whether such a fault on `*` replaces the whole response to a batch. Other faults affect each of its items. */
export function replacesBatch({ kind }: Fault): boolean {
  return ['html', 'truncated', 'error', 'transient-then-ok'].includes(kind);
}

/** Whether such a fault prevents a response of the simulated system. */
export function preventsResponse({ kind }: Fault): boolean {
  return ['hang', 'reset', 'stall', 'oversized', 'redirect'].includes(kind);
}

/** Carries out a connection fault. Returns undefined when the simulated system still has to answer. */
export async function applyConnectionFault(
  fault: Fault,
  signal: AbortSignal,
): Promise<WireResponse | undefined> {
  switch (fault.kind) {
    case 'latency':
      await delay(fault.ms, signal);
      return undefined;
    case 'hang':
      return until(new Promise<never>(() => {}), signal);
    case 'reset':
      throw new ConnectionReset('read ECONNRESET');
    case 'stall':
      return toStreamResponse(toEndlessBody(signal));
    case 'oversized':
      return toStreamResponse(toLargeBody(fault.bytes ?? 2 * 1024 * 1024, signal));
    case 'redirect':
      return { status: 302, headers: { location: '/redirect-target' }, body: '' };
    default:
      return undefined;
  }
}

async function delay(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  try {
    await until(promise, signal);
  } finally {
    clearTimeout(timer);
  }
}

function toStreamResponse(body: ReadableStream<Uint8Array>): WireResponse {
  return { status: 200, headers: { 'content-type': 'application/json; charset=UTF-8' }, body };
}

const firstChunk = new TextEncoder().encode('{"id":"');
const nextChunk = new Uint8Array(64 * 1024).fill('x'.charCodeAt(0));

function toEndlessBody(signal: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      failOnAbort(controller, signal);
      controller.enqueue(firstChunk);
    },
  });
}

function toLargeBody(bytes: number, signal: AbortSignal): ReadableStream<Uint8Array> {
  let sent = firstChunk.length;
  return new ReadableStream({
    start(controller) {
      failOnAbort(controller, signal);
      controller.enqueue(firstChunk);
    },
    pull(controller) {
      if (sent >= bytes) return controller.close();
      controller.enqueue(nextChunk.slice());
      sent += nextChunk.length;
    },
  });
}

function failOnAbort(controller: ReadableStreamDefaultController, signal: AbortSignal): void {
  signal.addEventListener('abort', () => controller.error(signal.reason), { once: true });
}
