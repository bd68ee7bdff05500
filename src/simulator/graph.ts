// Answers calls and batches to the simulated Graph API: access, rate limits, faults and response headers.

import { randomBytes } from 'node:crypto';

import { type Fault, type FaultOf, type Operation, replacesBatch, wholeRequest } from './faults.ts';
import { discover } from './discovery.ts';
import { defaultAppId, type Fleet, type SimulatedPhone, type SimulatedToken } from './fleet.ts';
import {
  authenticate,
  type GraphBatch,
  type GraphCall,
  isDiscovery,
  requireScope,
  type Versions,
} from './graph-request.ts';
import {
  nodeTypeNames,
  readBusiness,
  readPhone,
  readProfile,
  readWaba,
  listSubscribedApps,
  parseFields,
  type NodeContext,
} from './nodes.ts';
import { toPage } from './pages.ts';
import { GraphRefusal, refuse, refuseField, refuseObject } from './refusals.ts';
import { toHtmlResponse, toJsonResponse, truncate, type WireResponse } from './transport.ts';
import type { RateLimit, Usage, UsageBucket } from './usage.ts';

export interface GraphSettings extends Versions {
  readonly fleet: Fleet;
  readonly usage: Usage;
  readonly emitNulls: boolean;
  readonly profileShape: 'flat' | 'nested';
  readonly maxPageSize: number;
  readonly rateLimitCode: 80008 | 80007 | 4;
  readonly rateLimitStatus: 400 | 429;
  readonly now: () => Date;
}

/** The rate limits that a call counts against, by WABA id, for the usage headers. */
interface CallUsage {
  readonly rateLimits: Map<string, RateLimit>;
  readonly regainMinutes: Map<string, number>;
}

interface CallContext {
  readonly settings: GraphSettings;
  readonly call: GraphCall;
  readonly usage: CallUsage;
  readonly faultOf: FaultOf;
}

function createCallUsage(): CallUsage {
  return { rateLimits: new Map(), regainMinutes: new Map() };
}

/** Answers one call. A refusal is returned as Graph's error response. */
export function answerCall(
  settings: GraphSettings,
  call: GraphCall,
  faultOf: FaultOf,
  usage = createCallUsage(),
): WireResponse {
  const faults = (call.operations.length === 0 ? [wholeRequest] : call.operations).map(faultOf);
  const html = faults.find((fault) => fault?.kind === 'html');
  if (html?.kind === 'html') return toHtmlResponse(html.status ?? 502);
  const response = respondWith(() => {
    return readCall({ settings, call, usage, faultOf });
  });
  const isTruncated = faults.some((fault) => fault?.kind === 'truncated');
  return withHeaders(settings, call, isTruncated ? truncate(response) : response, usage);
}

/** Answers a batch with an array in the order of its items, or with one refusal if the batch as a whole is refused. */
export function answerBatch(
  settings: GraphSettings,
  batch: GraphBatch,
  faultOf: FaultOf,
): WireResponse {
  const { call } = batch;
  const usage = createCallUsage();
  const general = faultOf(wholeRequest);
  const fault = general !== null && replacesBatch(general) ? general : null;
  if (fault?.kind === 'html') return toHtmlResponse(fault.status ?? 502);
  const response = respondWith(() => {
    authenticate(settings.fleet, settings.now(), call);
    throwFault(settings, fault);
    return answerItems(settings, batch, exclude(fault, faultOf), usage);
  });
  const complete = fault?.kind === 'truncated' ? truncate(response) : response;
  return withHeaders(settings, call, complete, usage);
}

/** The fault of the whole batch does not occur in its items again. */
function exclude(excluded: Fault | null, faultOf: FaultOf): FaultOf {
  return (operation) => {
    const fault = faultOf(operation);
    return fault === excluded ? null : fault;
  };
}

function answerItems(
  settings: GraphSettings,
  { call, items }: GraphBatch,
  faultOf: FaultOf,
  usage: CallUsage,
): readonly unknown[] {
  if (items instanceof GraphRefusal) throw items;
  const includesHeaders = call.parameters.get('include_headers') !== 'false';
  return items.map((item) => {
    if (item instanceof GraphRefusal) return toBatchItem(toErrorResponse(item), includesHeaders);
    const itemUsage = createCallUsage();
    const response = answerCall(settings, item, faultOf, itemUsage);
    for (const [id, rateLimit] of itemUsage.rateLimits) usage.rateLimits.set(id, rateLimit);
    for (const [id, minutes] of itemUsage.regainMinutes) usage.regainMinutes.set(id, minutes);
    const isNull = item.operations.some((it) => faultOf(it)?.kind === 'null-item');
    return isNull ? null : toBatchItem(response, includesHeaders);
  });
}

function toBatchItem({ status, headers, body }: WireResponse, includesHeaders: boolean): unknown {
  const listed = Object.entries(headers).map(([name, value]) => ({ name, value }));
  return { code: status, ...(includesHeaders ? { headers: listed } : {}), body };
}

/** Responds with what `read` returns, or with the refusal that it throws. */
function respondWith(read: () => unknown): WireResponse {
  try {
    return toJsonResponse(200, read());
  } catch (error) {
    if (!(error instanceof GraphRefusal)) throw error;
    return toErrorResponse(error);
  }
}

function toErrorResponse({ status, error }: GraphRefusal): WireResponse {
  const reason = status === 401 ? 'invalid_token' : 'invalid_request';
  const message = error.message.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll('"', "'");
  return toJsonResponse(
    status,
    { error: { ...error, fbtrace_id: `A${randomBytes(16).toString('base64url')}` } },
    { 'www-authenticate': `OAuth "Facebook Platform" "${reason}" "${message}"` },
  );
}

/** Adds the headers of every Graph response, including the usage headers. */
function withHeaders(
  settings: GraphSettings,
  call: GraphCall,
  response: WireResponse,
  { rateLimits, regainMinutes }: CallUsage,
): WireResponse {
  const counted = [...rateLimits.values()];
  const appId = counted[0]?.appId ?? defaultAppId;
  return {
    ...response,
    headers: {
      ...response.headers,
      'facebook-api-version': `v${call.version ?? settings.maxVersion}.0`,
      'x-fb-trace-id': randomBytes(8).toString('base64url'),
      'x-fb-request-id': `A${randomBytes(16).toString('base64url')}`,
      'x-fb-rev': '1019544279',
      ...settings.usage.toHeaders(appId, counted, regainMinutes),
    },
  };
}

function refusePath(segments: readonly string[]): GraphRefusal {
  return refuse(2500, `Unknown path components: /${segments.join('/')}`);
}

function readCall(context: CallContext): unknown {
  const { settings, call } = context;
  const [id, edge, ...more] = call.segments;
  if (call.version === undefined) throw refusePath(call.segments);
  if (more.length > 0) throw refusePath(call.segments.slice(2));
  const token = authenticate(settings.fleet, settings.now(), call);
  if (call.method !== 'GET' || id === undefined) throw refuseObject(call.method, id ?? '');
  const [operation] = call.operations;
  const nodes = { ...settings, version: call.version };
  if (operation !== undefined && isDiscovery(call.segments)) {
    throwFault(settings, context.faultOf(operation));
    return discover({ fleet: settings.fleet, nodes, call, token });
  }
  if (edge === undefined && operation !== undefined) {
    return readNode(context, nodes, token, operation);
  }
  if (edge === 'whatsapp_business_profile' && operation !== undefined) {
    return readProfileEdge(context, nodes, token, operation);
  }
  if (edge === 'phone_numbers' && operation !== undefined) {
    return readNumbersEdge(context, nodes, token, operation);
  }
  if (edge === 'subscribed_apps' && operation !== undefined) {
    return readAppsEdge(context, token, operation);
  }
  throw refuseEdge(context, token, id, edge ?? '');
}

function readNode(
  context: CallContext,
  nodes: NodeContext,
  token: SimulatedToken,
  operation: Operation,
): unknown {
  const { settings, call } = context;
  const waba = settings.fleet.findWaba(operation.id);
  const phone = settings.fleet.findPhone(operation.id);
  const fault = authorize(context, token, operation, {
    scopes: phone === undefined ? management : either,
    code: phone === undefined ? 200 : 10,
    bucket: 'whatsapp_business_management',
  });
  const names = parseFields(call.parameters.get('fields'));
  if (phone !== undefined) {
    const account = settings.fleet.findWaba(phone.wabaId);
    return readPhone(nodes, phone, account, names, fault);
  }
  if (waba !== undefined) return readWaba(nodes, waba, names, fault);
  const business = settings.fleet.findBusiness(operation.id);
  if (business !== undefined) return readBusiness(nodes, business, names, fault);
  throw refuseObject(call.method, operation.id);
}

function readProfileEdge(
  context: CallContext,
  nodes: NodeContext,
  token: SimulatedToken,
  operation: Operation,
): unknown {
  const { settings, call } = context;
  const phone = settings.fleet.findPhone(operation.id);
  if (phone === undefined) throw refuseEdge(context, token, operation.id, call.segments[1] ?? '');
  const fault = authorize(context, token, operation, {
    scopes: either,
    code: 200,
    bucket: 'whatsapp',
  });
  return readProfile(nodes, phone, parseFields(call.parameters.get('fields')), fault);
}

function readNumbersEdge(
  context: CallContext,
  nodes: NodeContext,
  token: SimulatedToken,
  operation: Operation,
): unknown {
  const { settings, call } = context;
  const waba = settings.fleet.findWaba(operation.id);
  if (waba === undefined) {
    throw refuseEdge(context, token, operation.id, call.segments[1] ?? '');
  }
  const fault = authorize(context, token, operation, {
    scopes: management,
    code: 200,
    bucket: 'whatsapp_business_management',
  });
  const names = parseFields(call.parameters.get('fields'));
  const phones = settings.fleet
    .listPhones(operation.id)
    .map((phone) => readPhone(nodes, phone, waba, names, fault));
  if (fault?.kind === 'missing-list') return { success: true };
  return toPage(phones, call, {
    isEmpty: fault?.kind === 'empty-data',
    hasCursors: fault?.kind !== 'missing-cursor',
    maxLimit: nodes.maxPageSize,
  });
}

/** It has one page. */
function readAppsEdge(context: CallContext, token: SimulatedToken, operation: Operation): unknown {
  const { settings, call } = context;
  const waba = settings.fleet.findWaba(operation.id);
  if (waba === undefined) throw refuseEdge(context, token, operation.id, call.segments[1] ?? '');
  authorize(context, token, operation, {
    scopes: management,
    code: 200,
    bucket: 'whatsapp_business_management',
  });
  return { data: listSubscribedApps(waba) };
}

const management: readonly string[] = ['whatsapp_business_management'];
const either: readonly string[] = [...management, 'whatsapp_business_messaging'];

/**
 * Every read of a node passes here: checks that the token can see the node and has the scope, counts the call, and
 * throws the rate limit or the injected fault. Returns a fault that affects the data.
 */
function authorize(
  { settings, call, usage, faultOf }: CallContext,
  token: SimulatedToken,
  operation: Operation,
  required: {
    readonly scopes: readonly string[];
    readonly code: 10 | 200;
    readonly bucket: UsageBucket;
  },
): Fault | null {
  const wabaId = findWabaId(settings.fleet, token, operation.id);
  if (wabaId === undefined) throw refuseObject(call.method, operation.id);
  requireScope(token, required.scopes, required.code);
  const waba = settings.fleet.findWaba(wabaId);
  const rateLimit = {
    appId: waba?.appId ?? defaultAppId,
    wabaId,
    callsPerHour: waba?.hourlyCalls ?? 5000,
  };
  usage.rateLimits.set(wabaId, rateLimit);
  settings.usage.record(rateLimit, required.bucket);
  const fault = faultOf(operation);
  if (fault?.kind === 'throttled') usage.regainMinutes.set(wabaId, fault.minutes ?? 15);
  const isLimited = required.bucket === 'whatsapp_business_management';
  const isExceeded = isLimited && settings.usage.minutesToRegain(rateLimit, required.bucket) > 0;
  throwFault(settings, isExceeded ? { kind: 'throttled' } : fault);
  return fault;
}

function refuseRateLimit({ rateLimitCode, rateLimitStatus }: GraphSettings): GraphRefusal {
  return refuse(rateLimitCode, undefined, { status: rateLimitStatus });
}

/** Throws the refusal of a fault that has one. */
function throwFault(settings: GraphSettings, fault: Fault | null): void {
  if (fault?.kind === 'throttled') throw refuseRateLimit(settings);
  if (fault?.kind === 'transient-then-ok') throw refuse(2, undefined, { transient: true });
  if (fault?.kind !== 'error') return;
  throw refuse(fault.code, fault.message, {
    subcode: fault.subcode,
    status: fault.status,
    transient: fault.transient,
  });
}

/** The WABA of a node that the token can see; undefined for a node that is missing or belongs to others. */
function findWabaId(fleet: Fleet, token: SimulatedToken, id: string): string | undefined {
  const phone: SimulatedPhone | undefined = fleet.findPhone(id);
  const wabaId =
    phone?.wabaId ?? fleet.findWaba(id)?.id ?? fleet.findBusiness(id)?.ownedWabaIds?.[0];
  return wabaId !== undefined && fleet.canSee(token, wabaId) ? wabaId : undefined;
}

/** Graph reports an edge that a node does not have as a nonexisting field. */
function refuseEdge(
  { settings, call }: CallContext,
  token: SimulatedToken,
  id: string,
  edge: string,
): GraphRefusal {
  if (findWabaId(settings.fleet, token, id) === undefined) return refuseObject(call.method, id);
  if (settings.fleet.findPhone(id) !== undefined) return refuseField(edge, nodeTypeNames.phone);
  const isWaba = settings.fleet.findWaba(id) !== undefined;
  return refuseField(edge, isWaba ? nodeTypeNames.waba : nodeTypeNames.business);
}
