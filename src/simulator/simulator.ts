// A simulated Graph API and session engine, reached by an in-process `fetch` or a server on a port, with a log of calls.

import {
  applyConnectionFault,
  createFaultInjector,
  createHolds,
  type Fault,
  type FaultOf,
  type Hold,
  type Operation,
  preventsResponse,
  wholeRequest,
} from './faults.ts';
import { createFleet, type Fleet, type FleetContents } from './fleet.ts';
import { answerBatch, answerCall, type GraphSettings } from './graph.ts';
import { isBatch, listBatchOperations, parseBatch, parseCall } from './graph-request.ts';
import { findSentinelFault, sentinelNodes } from './sentinels.ts';
import { answerSession, isSessionEnginePath, listSessionOperations } from './session-engine.ts';
import {
  ConnectionReset,
  createInProcessFetch,
  openHttpServer,
  type RequestHandler,
  type WireRequest,
  type WireResponse,
} from './transport.ts';
import { createUsage } from './usage.ts';

export type { Fault, Hold } from './faults.ts';
export type { SimulatedInstance, SimulatedPhone, SimulatedToken, SimulatedWaba } from './fleet.ts';
export { sentinels, sentinelWabaId, type Sentinel } from './sentinels.ts';

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

export interface SimulatorOptions extends FleetContents {
  /** The `apikey` that the session engine requires; by default every key is valid. */
  readonly sessionEngineKey?: string;
  /** The oldest supported major version, 24 by default; it also answers for older ones. */
  readonly minVersion?: number;
  /** The newest major version; 26 by default. */
  readonly maxVersion?: number;
  readonly now?: () => Date;
  /** Whether unset fields are null instead of left out. */
  readonly emitNulls?: boolean;
  readonly profileShape?: 'flat' | 'nested';
  readonly rateLimitCode?: 80008 | 80007 | 4;
  readonly rateLimitStatus?: 400 | 429;
}

export interface Simulator extends AsyncDisposable {
  /** Reaches both systems: the path selects the system, the host is ignored. Rejects and aborts as the global `fetch` does. */
  readonly fetch: typeof globalThis.fetch;
  /** The last 10,000 HTTP requests, in order of arrival. */
  readonly calls: readonly SimulatorCall[];
  clearCalls(): void;
  setPhone: Fleet['setPhone'];
  setWaba: Fleet['setWaba'];
  setToken: Fleet['setToken'];
  setInstance: Fleet['setInstance'];
  /** `id` is that of a phone or WABA, an instance name, or `*` for every request whose ids have no fault. Null removes it. */
  setFault(id: string, fault: Fault | null): void;
  /** Makes requests that read the id wait for `release`. They are answered from the data at that time. */
  hold(id: string): Hold;
  /** Starts a server, which is closed with the simulator. On 127.0.0.1 and a free port by default. */
  listen(options?: {
    readonly port?: number;
    readonly host?: string;
  }): Promise<{ readonly url: string }>;
}

/** A parsed request: what it reads, and how to answer it after holds and connection faults. */
interface ParsedRequest {
  readonly operations: readonly Operation[];
  answer(faultOf: FaultOf): WireResponse;
}

/** Bounds the memory of a simulator that runs for days. */
const maxCalls = 10_000;

/** The status is set when there is a response. */
type LoggedCall = { -readonly [Name in keyof SimulatorCall]: SimulatorCall[Name] };

/** Disposing it rejects the requests in flight and closes its servers with their connections. */
export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const fleet = createFleet(options, sentinelNodes);
  const faults = createFaultInjector(findSentinelFault);
  const holds = createHolds();
  const settings = toGraphSettings(options, fleet, faults.peek);
  const disposed = new AbortController();
  const servers = new AsyncDisposableStack();
  const calls: LoggedCall[] = [];

  const handle: RequestHandler = async (request, aborted) => {
    disposed.signal.throwIfAborted();
    // Created only for requests that wait, since the simulator's own signal keeps a reference to each.
    const createSignal = (): AbortSignal => AbortSignal.any([aborted, disposed.signal]);
    const { operations, answer } = isSessionEnginePath(request.path)
      ? parseSessionRequest(fleet, options.sessionEngineKey, request)
      : parseGraphRequest(settings, request);
    const call = logCall(calls, request, operations);
    await holds.wait(operations, createSignal);
    const taken = new Map(operations.map((it) => [it, faults.take(it)]));
    const own = [...taken.values()].filter((fault) => fault !== null);
    const isEachFaulty = own.length === taken.size && taken.size > 0;
    const general = isEachFaulty ? null : faults.take(wholeRequest);
    const response =
      (await applyConnectionFaults(general === null ? own : [...own, general], createSignal)) ??
      answer((operation) => taken.get(operation) ?? general);
    call.status = response.status;
    return response;
  };

  return {
    fetch: createInProcessFetch(handle),
    calls,
    clearCalls: () => void calls.splice(0),
    setPhone: fleet.setPhone,
    setWaba: fleet.setWaba,
    setToken: fleet.setToken,
    setInstance: fleet.setInstance,
    setFault: faults.set,
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

function toGraphSettings(
  options: SimulatorOptions,
  fleet: Fleet,
  peekFault: GraphSettings['peekFault'],
): GraphSettings {
  const now = options.now ?? (() => new Date());
  return {
    fleet,
    peekFault,
    now,
    usage: createUsage(now),
    minVersion: options.minVersion ?? 24,
    maxVersion: options.maxVersion ?? 26,
    emitNulls: options.emitNulls ?? false,
    profileShape: options.profileShape ?? 'flat',
    rateLimitCode: options.rateLimitCode ?? 80008,
    rateLimitStatus: options.rateLimitStatus ?? 400,
  };
}

function parseSessionRequest(
  fleet: Fleet,
  key: string | undefined,
  request: WireRequest,
): ParsedRequest {
  const operations = listSessionOperations(request);
  return {
    operations,
    answer: (faultOf) => answerSession(fleet, key, request, faultOf(operations[0] ?? wholeRequest)),
  };
}

function parseGraphRequest(settings: GraphSettings, request: WireRequest): ParsedRequest {
  const parameters = new URLSearchParams(request.search);
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    for (const [name, value] of new URLSearchParams(request.body)) parameters.set(name, value);
  }
  const { method, origin } = request;
  const bearer = /^(?:Bearer|OAuth) +(.*)$/i.exec(request.headers['authorization'] ?? '')?.[1];
  const { fleet } = settings;
  const call = parseCall(fleet, settings, request.path, { method, origin, parameters, bearer });
  if (!isBatch(call)) {
    return {
      operations: call.operations,
      answer: (faultOf) => answerCall(settings, call, faultOf),
    };
  }
  const batch = parseBatch(fleet, settings, call);
  return {
    operations: listBatchOperations(batch),
    answer: (faultOf) => answerBatch(settings, batch, faultOf),
  };
}

/** Applies the longest latency first, then the first fault that prevents a response. */
async function applyConnectionFaults(
  faults: readonly Fault[],
  createSignal: () => AbortSignal,
): Promise<WireResponse | undefined> {
  if (faults.length === 0) return undefined;
  const signal = createSignal();
  const delays = faults.filter(({ kind }) => kind === 'latency');
  await Promise.all(delays.map((fault) => applyConnectionFault(fault, signal)));
  const fault = faults.find(preventsResponse);
  return fault && applyConnectionFault(fault, signal);
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
