// What can go wrong on purpose: the vocabulary of faults, and the board that says which one strikes an operation.
// Faults of the connection are carried out here, faults of the answer in graph.ts and nodes.ts.

import { ConnectionReset, until, type Operation, type WireReply } from './wire.ts';

/** Strikes the HTTP request as a whole, also when only one item of a batch touches the id. */
export type ConnectionFault =
  | { readonly kind: 'latency'; readonly ms: number }
  /** Never answers, until the caller gives up or the simulator is closed. */
  | { readonly kind: 'hang' }
  | { readonly kind: 'reset' }
  /** Status and the beginning of a body arrive, the rest never does. */
  | { readonly kind: 'stall' }
  /** A body that never becomes valid JSON; 2 MiB unless told. */
  | { readonly kind: 'oversized'; readonly bytes?: number }
  /** A 302 to a path of the same origin: a client that follows it shows up in the call log. */
  | { readonly kind: 'redirect' };

/** Strikes one answer: the whole reply of a plain request, one item of a batch. */
export type AnswerFault =
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
  /** Code 2 with `is_transient`, `times` times (once unless told), then healthy. */
  | { readonly kind: 'transient-then-ok' }
  /** The rate limit of the WABA, with the minutes (15 unless told) in the usage header. */
  | { readonly kind: 'throttled'; readonly minutes?: number }
  /** The item of a batch is `null`; a plain request is answered normally. */
  | { readonly kind: 'null-item' };

/** Strikes the data of one node, wherever it appears, nested ones included. */
export type DataFault =
  | { readonly kind: 'unknown-field'; readonly field: string }
  | { readonly kind: 'nested-profile' }
  | { readonly kind: 'empty-data' }
  | { readonly kind: 'missing-vertical' }
  | { readonly kind: 'wrong-types' };

/** `times` is the number of strikes after which the fault is over; without it, it stays until it is taken away. */
export type Fault = (ConnectionFault | AnswerFault | DataFault) & { readonly times?: number };

/** Strikes what a request asks; the fault on `everything` when the operation has none of its own. */
export type FaultOf = (operation: Operation) => Fault | null;

/** Stands for each request as a whole, under the id `*`. */
export const everything: Operation = { name: '*', id: '*' };

export interface FaultBoard {
  set(id: string, fault: Fault | null): void;
  /** The fault that strikes this operation now. Counts as one of its `times`. */
  strike(operation: Operation): Fault | null;
  /** The fault that lies on an id, without a strike: for nodes that are read as part of another one. */
  peek(id: string): Fault | null;
}

/**
 * A fault that was set ends after its `times`. A standing one, chosen by a sentinel id, starts again after one healthy
 * answer, and counts per operation, so that a retry of each read succeeds whatever is read beside it.
 */
export function createFaultBoard(standing: (id: string) => Fault | null): FaultBoard {
  const faults = new Map<string, Fault>();
  const strikes = new Map<string, number>();

  const strikeSet = (id: string, fault: Fault): Fault => {
    const count = (strikes.get(id) ?? 0) + 1;
    strikes.set(id, count);
    if (count >= toTimes(fault)) faults.delete(id);
    return fault;
  };
  const strikeStanding = (name: string, fault: Fault): Fault | null => {
    const count = strikes.get(name) ?? 0;
    strikes.set(name, count + 1);
    return count % (toTimes(fault) + 1) < toTimes(fault) ? fault : null;
  };

  return {
    set(id, fault) {
      strikes.delete(id);
      if (fault === null || toTimes(fault) < 1) faults.delete(id);
      else faults.set(id, fault);
    },
    strike({ id, name }) {
      const fault = faults.get(id);
      if (fault !== undefined) return strikeSet(id, fault);
      const fixed = standing(id);
      return fixed === null ? null : strikeStanding(name, fixed);
    },
    peek: (id) => faults.get(id) ?? standing(id),
  };
}

function toTimes(fault: Fault): number {
  return fault.times ?? (fault.kind === 'transient-then-ok' ? 1 : Number.POSITIVE_INFINITY);
}

/** Under the id `*`, such a fault spoils the whole reply to a batch; any other one shows in each of its items. */
export function spoilsReply({ kind }: Fault): boolean {
  return ['html', 'truncated', 'error', 'transient-then-ok'].includes(kind);
}

/** Whether nothing is asked of Graph any more once this fault has struck. */
export function endsRequest({ kind }: Fault): boolean {
  return ['hang', 'reset', 'stall', 'oversized', 'redirect'].includes(kind);
}

/** Carries out a fault of the connection; undefined when the request is to be answered after all. */
export async function disturb(fault: Fault, signal: AbortSignal): Promise<WireReply | undefined> {
  switch (fault.kind) {
    case 'latency':
      await delay(fault.ms, signal);
      return undefined;
    case 'hang':
      return until(new Promise<never>(() => {}), signal);
    case 'reset':
      throw new ConnectionReset('read ECONNRESET');
    case 'stall':
      return toStreamReply(toEndlessBody(signal));
    case 'oversized':
      return toStreamReply(toLargeBody(fault.bytes ?? 2 * 1024 * 1024, signal));
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

function toStreamReply(body: ReadableStream<Uint8Array>): WireReply {
  return { status: 200, headers: { 'content-type': 'application/json; charset=UTF-8' }, body };
}

const opening = new TextEncoder().encode('{"id":"');
const filling = new Uint8Array(64 * 1024).fill('x'.charCodeAt(0));

function toEndlessBody(signal: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      failOnAbort(controller, signal);
      controller.enqueue(opening);
    },
  });
}

function toLargeBody(bytes: number, signal: AbortSignal): ReadableStream<Uint8Array> {
  let sent = opening.length;
  return new ReadableStream({
    start(controller) {
      failOnAbort(controller, signal);
      controller.enqueue(opening);
    },
    pull(controller) {
      if (sent >= bytes) return controller.close();
      controller.enqueue(filling.slice());
      sent += filling.length;
    },
  });
}

function failOnAbort(controller: ReadableStreamDefaultController, signal: AbortSignal): void {
  signal.addEventListener('abort', () => controller.error(signal.reason), { once: true });
}
