// The simulator for tests: with sentinel ids, a log of calls, holds, and a server on a port.

import type { Operation } from '../../src/simulator/faults.ts';
import {
  createSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../src/simulator/simulator.ts';
import {
  ConnectionReset,
  createInProcessFetch,
  type RequestHandler,
  type WireRequest,
} from '../../src/simulator/transport.ts';
import { createHolds, type Hold } from './holds.ts';
import { openHttpServer } from './http-server.ts';
import { sentinelNodes } from './sentinels.ts';

export type {
  Fault,
  SimulatedPhone,
  SimulatedWaba,
  SimulatorOptions,
} from '../../src/simulator/simulator.ts';
export { sentinels, sentinelWabaId } from './sentinels.ts';

export interface SimulatorCall {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** `phone 123`, `profile 123`, `waba 456`, `phone_numbers 456`, `debug_token`, `connectionState name`, or `node 789` for an unknown id. */
  readonly operations: readonly string[];
  /** 0 until there is a response. */
  readonly status: number;
}

export interface TestSimulator extends Omit<Simulator, 'parse'>, AsyncDisposable {
  /** The last 10,000 HTTP requests, in order of arrival. */
  readonly calls: readonly SimulatorCall[];
  clearCalls(): void;
  /** Makes requests that read the id wait for `release`. They are answered from the data at that time. */
  hold(id: string): Hold;
  /** Starts a server, which is closed with the simulator. On 127.0.0.1 and a free port by default. */
  listen(options?: {
    readonly port?: number;
    readonly host?: string;
  }): Promise<{ readonly url: string }>;
}

/** Bounds the memory of a simulator that runs for days. */
const maxCalls = 10_000;

/** The status is set when there is a response. */
type LoggedCall = { -readonly [Name in keyof SimulatorCall]: SimulatorCall[Name] };

/** Disposing it rejects the requests in flight and closes its servers with their connections. */
export function createTestSimulator(options: SimulatorOptions = {}): TestSimulator {
  const { parse, ...simulator } = createSimulator({ sentinels: sentinelNodes, ...options });
  const holds = createHolds();
  const disposed = new AbortController();
  const servers = new AsyncDisposableStack();
  const calls: LoggedCall[] = [];
  const handle: RequestHandler = async (request, aborted) => {
    disposed.signal.throwIfAborted();
    // Created only for requests that wait, since the simulator's own signal keeps a reference to each.
    const createSignal = (): AbortSignal => AbortSignal.any([aborted, disposed.signal]);
    const { operations, respond } = parse(request);
    const call = logCall(calls, request, operations);
    await holds.wait(operations, createSignal);
    const response = await respond(createSignal);
    call.status = response.status;
    return response;
  };
  return {
    ...simulator,
    fetch: createInProcessFetch(handle),
    calls,
    clearCalls: () => void calls.splice(0),
    hold: holds.hold,
    async listen(where = {}) {
      disposed.signal.throwIfAborted();
      const { url } = servers.use(await openHttpServer(handle, where));
      return { url };
    },
    async [Symbol.asyncDispose]() {
      disposed.abort(new ConnectionReset('simulator closed'));
      await servers.disposeAsync();
    },
  };
}

/** Adds the call to the log, and removes the oldest one if the log is full. */
function logCall(
  calls: LoggedCall[],
  { method, path, search, headers, body }: WireRequest,
  operations: readonly Operation[],
): LoggedCall {
  const call = {
    method,
    path,
    query: Object.fromEntries(new URLSearchParams(search)),
    headers,
    body,
    operations: operations.map(({ name }) => name),
    status: 0,
  };
  calls.push(call);
  if (calls.length > maxCalls) calls.shift();
  return call;
}
