// A simulated Graph API and a simulated session engine behind two doors, a `fetch` function and a server on a port.
// This file puts the parts together and keeps the call log.

import { answerBatch, isBatch, listBatchOperations, toGraphBatch } from './batch.ts';
import {
  createFaultBoard,
  disturb,
  endsRequest,
  everything,
  type Fault,
  type FaultOf,
} from './faults.ts';
import { createFetchDoor } from './fetch-door.ts';
import { createFleet, type Fleet, type FleetContents } from './fleet.ts';
import { answerCall, createSpending, type GraphSettings } from './graph.ts';
import { toGraphCall } from './graph-call.ts';
import { createHolds, type Hold } from './holds.ts';
import { sentinelFault, sentinelNodes } from './sentinels.ts';
import { openServerDoor } from './server-door.ts';
import { answerSession, isSessionEnginePath, listSessionOperations } from './session-engine.ts';
import { createUsage } from './usage.ts';
import {
  ConnectionReset,
  type Exchange,
  type Operation,
  type WireReply,
  type WireRequest,
} from './wire.ts';

export type { Fault } from './faults.ts';
export type { Hold } from './holds.ts';
export type { SimulatedInstance, SimulatedPhone, SimulatedToken, SimulatedWaba } from './fleet.ts';
export { sentinels, sentinelWabaId, type Sentinel } from './sentinels.ts';

export interface SimulatorCall {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** `phone 123`, `profile 123`, `waba 456`, `phone_numbers 456`, `debug_token`, `connectionState name`, `node 789` for an id that nobody knows. */
  readonly operations: readonly string[];
  /** 0 until an answer begins, and for ever when none does. */
  readonly status: number;
}

export interface SimulatorOptions extends FleetContents {
  /** The `apikey` that the session engine demands; any is right when there is none. */
  readonly sessionEngineKey?: string;
  /** The oldest live major version, 24 unless told; it answers for those before it. */
  readonly minimumVersion?: number;
  /** 26 unless told; a later one does not exist. */
  readonly maxVersion?: number;
  readonly now?: () => Date;
  /** Sends unset fields as null instead of leaving them out. */
  readonly emitNulls?: boolean;
  readonly profileShape?: 'flat' | 'nested';
  readonly rateLimitCode?: 80008 | 80007 | 4;
  readonly rateLimitStatus?: 400 | 429;
}

export interface Simulator extends AsyncDisposable {
  /** Both systems, told apart by path; the host is ignored. Rejects and aborts like the real one. */
  readonly fetch: typeof globalThis.fetch;
  /** HTTP requests, not operations, in order of arrival; the last 10,000 of them. */
  readonly calls: readonly SimulatorCall[];
  clearCalls(): void;
  setPhone: Fleet['setPhone'];
  setWaba: Fleet['setWaba'];
  setToken: Fleet['setToken'];
  setInstance: Fleet['setInstance'];
  /** On the id of a phone or WABA, on an instance name, or on `*`: every request whose own ids have no fault. Null takes it away. */
  setFault(id: string, fault: Fault | null): void;
  /** Requests that touch the id wait until the release; they are answered from what is known then. */
  hold(id: string): Hold;
  /** Closed with the simulator. On 127.0.0.1 and a free port unless told. */
  listen(options?: {
    readonly port?: number;
    readonly host?: string;
  }): Promise<{ readonly url: string }>;
}

/** What a request turned out to ask, and how to answer it once holds and faults of the connection are over. */
interface Plan {
  readonly operations: readonly Operation[];
  answer(faultOf: FaultOf): WireReply;
}

/** A simulator that runs for days does not grow. */
const maxCalls = 10_000;

/** A call in the making: its status comes when its answer does. */
type LoggedCall = { -readonly [Name in keyof SimulatorCall]: SimulatorCall[Name] };

/** Disposing it rejects what is under way and closes the servers with their sockets. */
export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const fleet = createFleet(options, sentinelNodes);
  const board = createFaultBoard(sentinelFault);
  const holds = createHolds();
  const settings = toGraphSettings(options, fleet, board.peek);
  const disposed = new AbortController();
  const doors = new AsyncDisposableStack();
  const calls: LoggedCall[] = [];

  const exchange: Exchange = async (request, givenUp) => {
    disposed.signal.throwIfAborted();
    // Joined only by a request that waits: the simulator's signal would remember each one.
    const toSignal = (): AbortSignal => AbortSignal.any([givenUp, disposed.signal]);
    const plan = isSessionEnginePath(request.path)
      ? planSession(fleet, options.sessionEngineKey, request)
      : planGraph(settings, request);
    const call = logCall(calls, request, plan.operations);
    await holds.wait(plan.operations, toSignal);
    const faults = new Map(plan.operations.map((it) => [it, board.strike(it)]));
    const own = [...faults.values()].filter((fault) => fault !== null);
    const general = own.length < faults.size || faults.size === 0 ? board.strike(everything) : null;
    const reply =
      (await disturbAll(general === null ? own : [...own, general], toSignal)) ??
      plan.answer((operation) => faults.get(operation) ?? general);
    call.status = reply.status;
    return reply;
  };

  return {
    fetch: createFetchDoor(exchange),
    calls,
    clearCalls: () => void calls.splice(0),
    setPhone: fleet.setPhone,
    setWaba: fleet.setWaba,
    setToken: fleet.setToken,
    setInstance: fleet.setInstance,
    setFault: board.set,
    hold: holds.hold,
    async listen(where = {}) {
      disposed.signal.throwIfAborted();
      const { url } = doors.use(await openServerDoor(exchange, where));
      return { url };
    },
    async [Symbol.asyncDispose]() {
      disposed.abort(new ConnectionReset('simulator closed'));
      await doors.disposeAsync();
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
    minimumVersion: options.minimumVersion ?? 24,
    maxVersion: options.maxVersion ?? 26,
    emitNulls: options.emitNulls ?? false,
    profileShape: options.profileShape ?? 'flat',
    rateLimitCode: options.rateLimitCode ?? 80008,
    rateLimitStatus: options.rateLimitStatus ?? 400,
  };
}

function planSession(fleet: Fleet, key: string | undefined, request: WireRequest): Plan {
  const operations = listSessionOperations(request);
  return {
    operations,
    answer: (faultOf) => answerSession(fleet, key, request, faultOf(operations[0] ?? everything)),
  };
}

function planGraph(settings: GraphSettings, request: WireRequest): Plan {
  const parameters = new URLSearchParams(request.search);
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    for (const [name, value] of new URLSearchParams(request.body)) parameters.set(name, value);
  }
  const { method, origin } = request;
  const bearer = /^(?:Bearer|OAuth) +(.*)$/i.exec(request.headers['authorization'] ?? '')?.[1];
  const { fleet } = settings;
  const call = toGraphCall(fleet, settings, request.path, { method, origin, parameters, bearer });
  if (!isBatch(call)) {
    const answer = (faultOf: FaultOf): WireReply =>
      answerCall(settings, call, faultOf, createSpending());
    return { operations: call.operations, answer };
  }
  const batch = toGraphBatch(fleet, settings, call);
  return {
    operations: listBatchOperations(batch),
    answer: (faultOf) => answerBatch(settings, batch, faultOf),
  };
}

/** The slowest part of a request delays it, whatever else goes wrong; then the first fault that ends it does. */
async function disturbAll(
  faults: readonly Fault[],
  toSignal: () => AbortSignal,
): Promise<WireReply | undefined> {
  if (faults.length === 0) return undefined;
  const signal = toSignal();
  const delays = faults.filter(({ kind }) => kind === 'latency');
  await Promise.all(delays.map((fault) => disturb(fault, signal)));
  const ending = faults.find(endsRequest);
  return ending && disturb(ending, signal);
}

/** Adds the call to the log, which keeps the last ones. */
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
