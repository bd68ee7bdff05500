// A simulated Graph API and session engine with faults, reached by an in-process `fetch`.

import type { FleetChange } from './changes.ts';
import {
  applyConnectionFault,
  createFaultInjector,
  type Fault,
  type FaultOf,
  type Operation,
  preventsResponse,
  wholeRequest,
} from './faults.ts';
import { createFleet, type Fleet, type FleetContents } from './fleet.ts';
import { answerBatch, answerCall, type GraphSettings } from './graph.ts';
import { isBatch, listBatchOperations, parseBatch, parseCall } from './graph-request.ts';
import { answerSession, isSessionEnginePath, listSessionOperations } from './session-engine.ts';
import { createInProcessFetch, type WireRequest, type WireResponse } from './transport.ts';
import { createUsage } from './usage.ts';
import type { MetaWebhookEvent } from './webhooks.ts';

export type { Fault } from './faults.ts';
export type { SimulatedBusiness, SimulatedPhone, SimulatedToken, SimulatedWaba } from './fleet.ts';

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
  /** The maximum number of nodes on a page of an edge; 100 by default, as at Meta. */
  readonly maxPageSize?: number;
  readonly rateLimitCode?: 80008 | 80007 | 4;
  readonly rateLimitStatus?: 400 | 429;
}

export interface Simulator extends Pick<
  Fleet,
  'setPhone' | 'setWaba' | 'setBusiness' | 'setToken' | 'setInstance'
> {
  /** Reaches both systems: the path selects the system, the host is ignored. Rejects and aborts as the global `fetch` does. */
  readonly fetch: typeof globalThis.fetch;
  /** `id` is that of a phone or WABA, an instance name, or `*` for every request whose ids have no fault. Null removes it. */
  setFault(id: string, fault: Fault | null): void;
  /** Changes what is answered from then on. Returns what Meta announces of it; `webhooks.ts` sends it. */
  change(change: FleetChange): readonly MetaWebhookEvent[];
  parse(request: WireRequest): SimulatedRequest;
}

export interface SimulatedRequest {
  /** What it reads. */
  readonly operations: readonly Operation[];
  /** Answers it from the data at that time. `createSignal` is called if the response has to wait. */
  respond(createSignal: () => AbortSignal): Promise<WireResponse>;
}

export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const fleet = createFleet(options);
  const faults = createFaultInjector(options.sentinels?.findFault);
  const settings = toGraphSettings(options, fleet);
  const parse = (request: WireRequest): SimulatedRequest => {
    const { operations, answer } = isSessionEnginePath(request.path)
      ? parseSessionRequest(fleet, options.sessionEngineKey, request)
      : parseGraphRequest(settings, request);
    return {
      operations,
      async respond(createSignal) {
        const taken = new Map(operations.map((it) => [it, faults.take(it)]));
        const own = [...taken.values()].filter((fault) => fault !== null);
        const isEachFaulty = own.length === taken.size && taken.size > 0;
        const general = isEachFaulty ? null : faults.take(wholeRequest);
        return (
          (await applyConnectionFaults(general === null ? own : [...own, general], createSignal)) ??
          answer((operation) => taken.get(operation) ?? general)
        );
      },
    };
  };
  const { setPhone, setWaba, setBusiness, setToken, setInstance } = fleet;
  return {
    fetch: createInProcessFetch((request, signal) => parse(request).respond(() => signal)),
    parse,
    setPhone,
    setWaba,
    setBusiness,
    setToken,
    setInstance,
    setFault: faults.set,
    change(change) {
      const happenedAt = settings.now();
      const changeable = { ...fleet, setFault: faults.set };
      return change(changeable, happenedAt).map(({ entryId, field, value }) => ({
        entryId,
        field,
        value,
        happenedAt,
      }));
    },
  };
}

/** Answers after holds and connection faults. */
interface ParsedRequest {
  readonly operations: readonly Operation[];
  answer(faultOf: FaultOf): WireResponse;
}

function toGraphSettings(options: SimulatorOptions, fleet: Fleet): GraphSettings {
  const now = options.now ?? (() => new Date());
  return {
    fleet,
    now,
    usage: createUsage(now),
    minVersion: options.minVersion ?? 24,
    maxVersion: options.maxVersion ?? 26,
    emitNulls: options.emitNulls ?? false,
    profileShape: options.profileShape ?? 'flat',
    maxPageSize: options.maxPageSize ?? 100,
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
