// The simulated Graph API: what one call answers, whom it is refused, what it costs, and the headers around it.
// Many calls in one request are in batch.ts, the nodes themselves in nodes.ts.

import { randomBytes } from 'node:crypto';

import { everything, type Fault, type FaultOf } from './faults.ts';
import { defaultAppId, type Fleet, type SimulatedPhone, type SimulatedToken } from './fleet.ts';
import type { GraphCall, Versions } from './graph-call.ts';
import {
  nodeTypeNames,
  readPhone,
  readPhoneNumbers,
  readProfile,
  readWaba,
  toSelections,
  type ReadingContext,
} from './nodes.ts';
import { GraphRefusal, refuse, refuseField, refuseObject } from './refusals.ts';
import { authenticate, describeToken, requireScope } from './token.ts';
import type { Subject, Usage, UsageBucket } from './usage.ts';
import { toHtmlReply, toJsonReply, truncate, type Operation, type WireReply } from './wire.ts';

export interface GraphSettings extends Versions {
  readonly fleet: Fleet;
  readonly usage: Usage;
  readonly emitNulls: boolean;
  readonly profileShape: 'flat' | 'nested';
  readonly rateLimitCode: 80008 | 80007 | 4;
  readonly rateLimitStatus: 400 | 429;
  readonly now: () => Date;
  readonly peekFault: (id: string) => Fault | null;
}

/** What a call has touched, for the usage headers. */
export interface Spending {
  readonly subjects: Map<string, Subject>;
  readonly regainMinutes: Map<string, number>;
}

/** A call on its way through: who asks, and what goes wrong on purpose. */
interface Reading {
  readonly settings: GraphSettings;
  readonly call: GraphCall;
  readonly context: ReadingContext;
  readonly spending: Spending;
  readonly faultOf: FaultOf;
}

export function createSpending(): Spending {
  return { subjects: new Map(), regainMinutes: new Map() };
}

/** Answers one call. A refusal is not thrown: it comes as the reply that Graph gives. */
export function answerCall(
  settings: GraphSettings,
  call: GraphCall,
  faultOf: FaultOf,
  spending: Spending,
): WireReply {
  const faults = (call.operations.length === 0 ? [everything] : call.operations).map(faultOf);
  const html = faults.find((fault) => fault?.kind === 'html');
  if (html?.kind === 'html') return toHtmlReply(html.status ?? 502);
  const reply = replyTo(() => {
    const context = toContext(settings, call);
    return readCall({ settings, call, context, spending, faultOf });
  });
  const isTruncated = faults.some((fault) => fault?.kind === 'truncated');
  return withHeaders(settings, call, isTruncated ? truncate(reply) : reply, spending);
}

/** The reply to what a reading returns, or to the refusal it throws. */
export function replyTo(read: () => unknown): WireReply {
  try {
    return toJsonReply(200, read());
  } catch (error) {
    if (!(error instanceof GraphRefusal)) throw error;
    return toRefusalReply(error);
  }
}

export function toRefusalReply({ status, error }: GraphRefusal): WireReply {
  const reason = status === 401 ? 'invalid_token' : 'invalid_request';
  const message = error.message.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll('"', "'");
  return toJsonReply(
    status,
    { error: { ...error, fbtrace_id: `A${randomBytes(16).toString('base64url')}` } },
    { 'www-authenticate': `OAuth "Facebook Platform" "${reason}" "${message}"` },
  );
}

/** Adds what every answer of Graph carries, the usage headers included. */
export function withHeaders(
  settings: GraphSettings,
  call: GraphCall,
  reply: WireReply,
  { subjects, regainMinutes }: Spending,
): WireReply {
  const touched = [...subjects.values()];
  const appId = touched[0]?.appId ?? defaultAppId;
  return {
    ...reply,
    headers: {
      ...reply.headers,
      'facebook-api-version': `v${call.version ?? settings.maxVersion}.0`,
      'x-fb-trace-id': randomBytes(8).toString('base64url'),
      'x-fb-request-id': `A${randomBytes(16).toString('base64url')}`,
      'x-fb-rev': '1019544279',
      ...settings.usage.toHeaders(appId, touched, regainMinutes),
    },
  };
}

function toContext(settings: GraphSettings, call: GraphCall): ReadingContext {
  const { fleet, emitNulls, profileShape, peekFault } = settings;
  const version = call.version;
  if (version === undefined) throw refusePath(call.segments);
  return {
    version,
    emitNulls,
    profileShape,
    faultOn: peekFault,
    listPhones: fleet.listPhones,
    toEdgeUrl: (path, parameters) => {
      const url = new URL(`/v${version}.0/${path}`, call.origin);
      const access_token = call.parameters.get('access_token');
      for (const [name, value] of Object.entries({ access_token, ...parameters })) {
        if (value !== null) url.searchParams.set(name, value);
      }
      return url.href;
    },
  };
}

function refusePath(segments: readonly string[]): GraphRefusal {
  return refuse(2500, `Unknown path components: /${segments.join('/')}`);
}

function readCall(reading: Reading): unknown {
  const { settings, call } = reading;
  const [id, edge, ...more] = call.segments;
  if (more.length > 0) throw refusePath(call.segments.slice(2));
  if (id === 'debug_token' && edge === undefined) {
    throwFault(settings, reading.faultOf(call.operations[0] ?? everything));
    return describeToken(settings.fleet, settings.now(), call);
  }
  const token = authenticate(settings.fleet, settings.now(), call);
  if (call.method !== 'GET') throw refuseObject(call.method, id ?? '');
  const [operation] = call.operations;
  if (id === undefined) return readIds(reading, token);
  if (edge === undefined && operation !== undefined) return readNode(reading, token, operation);
  if (edge === 'whatsapp_business_profile' && operation !== undefined) {
    return readProfileEdge(reading, token, operation);
  }
  if (edge === 'phone_numbers' && operation !== undefined) {
    return readPhoneNumbersEdge(reading, token, operation);
  }
  throw refuseEdge(reading, token, id, edge ?? '');
}

function readIds(reading: Reading, token: SimulatedToken): unknown {
  const { operations, parameters } = reading.call;
  if (!parameters.has('ids')) {
    throw refuse(
      100,
      'Unsupported get request. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api',
      { type: 'GraphMethodException' },
    );
  }
  if (operations.length === 0) throw refuse(100, 'Cannot specify an empty identifier');
  if (operations.length > 50) {
    throw refuse(100, `(#100) Too many IDs. Maximum: 50. Provided: ${operations.length}.`);
  }
  const missing = operations.filter(
    ({ id }) => wabaIdOf(reading.settings.fleet, token, id) === undefined,
  );
  if (missing.length > 0) {
    const aliases = missing.map(({ id }) => id).join(',');
    throw refuse(803, `(#803) Some of the aliases you requested do not exist: ${aliases}`);
  }
  return Object.fromEntries(operations.map((it) => [it.id, readNode(reading, token, it)]));
}

function readNode(reading: Reading, token: SimulatedToken, operation: Operation): unknown {
  const { settings, call, context } = reading;
  const waba = settings.fleet.findWaba(operation.id);
  const phone = settings.fleet.findPhone(operation.id);
  const fault = enter(reading, token, operation, {
    scopes: phone === undefined ? management : either,
    code: phone === undefined ? 200 : 10,
    bucket: 'whatsapp_business_management',
  });
  const selections = toSelections(call.parameters.get('fields'));
  if (phone !== undefined) return readPhone(context, phone, selections, fault);
  if (waba !== undefined) return readWaba(context, waba, selections, fault);
  throw refuseObject(call.method, operation.id);
}

function readProfileEdge(reading: Reading, token: SimulatedToken, operation: Operation): unknown {
  const { settings, call, context } = reading;
  const phone = settings.fleet.findPhone(operation.id);
  if (phone === undefined) throw refuseEdge(reading, token, operation.id, call.segments[1] ?? '');
  const fault = enter(reading, token, operation, { scopes: either, code: 200, bucket: 'whatsapp' });
  return readProfile(context, phone, toSelections(call.parameters.get('fields')), fault);
}

function readPhoneNumbersEdge(
  reading: Reading,
  token: SimulatedToken,
  operation: Operation,
): unknown {
  const { settings, call, context } = reading;
  const { parameters } = call;
  if (settings.fleet.findWaba(operation.id) === undefined) {
    throw refuseEdge(reading, token, operation.id, 'phone_numbers');
  }
  const fault = enter(reading, token, operation, {
    scopes: management,
    code: 200,
    bucket: 'whatsapp_business_management',
  });
  const selections = toSelections(parameters.get('fields'));
  return readPhoneNumbers(context, operation.id, selections, Object.fromEntries(parameters), fault);
}

const management: readonly string[] = ['whatsapp_business_management'];
const either: readonly string[] = [...management, 'whatsapp_business_messaging'];

/** The one way to a node: visible, in scope, counted, not throttled, not broken on purpose. */
function enter(
  { settings, call, spending, faultOf }: Reading,
  token: SimulatedToken,
  operation: Operation,
  demand: {
    readonly scopes: readonly string[];
    readonly code: 10 | 200;
    readonly bucket: UsageBucket;
  },
): Fault | null {
  const wabaId = wabaIdOf(settings.fleet, token, operation.id);
  if (wabaId === undefined) throw refuseObject(call.method, operation.id);
  requireScope(token, demand.scopes, demand.code);
  const waba = settings.fleet.findWaba(wabaId);
  const subject = { appId: waba?.appId ?? defaultAppId, wabaId, limit: waba?.hourlyCalls ?? 5000 };
  spending.subjects.set(wabaId, subject);
  settings.usage.record(subject, demand.bucket);
  const fault = faultOf(operation);
  if (fault?.kind === 'throttled') spending.regainMinutes.set(wabaId, fault.minutes ?? 15);
  const isLimited = demand.bucket === 'whatsapp_business_management';
  const isOverdrawn = isLimited && settings.usage.minutesToRegain(subject, demand.bucket) > 0;
  throwFault(settings, isOverdrawn ? { kind: 'throttled' } : fault);
  return fault;
}

function refuseRate({ rateLimitCode, rateLimitStatus }: GraphSettings): GraphRefusal {
  return refuse(rateLimitCode, undefined, { status: rateLimitStatus });
}

/** Throws the refusal that a fault asks for, if it asks for one. */
export function throwFault(settings: GraphSettings, fault: Fault | null): void {
  if (fault?.kind === 'throttled') throw refuseRate(settings);
  if (fault?.kind === 'transient-then-ok') throw refuse(2, undefined, { transient: true });
  if (fault?.kind !== 'error') return;
  throw refuse(fault.code, fault.message, {
    subcode: fault.subcode,
    status: fault.status,
    transient: fault.transient,
  });
}

/** The WABA through which the token sees a node; undefined for what is missing or foreign. */
function wabaIdOf(fleet: Fleet, token: SimulatedToken, id: string): string | undefined {
  const phone: SimulatedPhone | undefined = fleet.findPhone(id);
  const wabaId = phone?.wabaId ?? fleet.findWaba(id)?.id;
  return wabaId !== undefined && fleet.canSee(token, wabaId) ? wabaId : undefined;
}

/** An edge that the node does not have is, to Graph, a field that it does not have. */
function refuseEdge(
  { settings, call }: Reading,
  token: SimulatedToken,
  id: string,
  edge: string,
): GraphRefusal {
  if (wabaIdOf(settings.fleet, token, id) === undefined) return refuseObject(call.method, id);
  const isPhone = settings.fleet.findPhone(id) !== undefined;
  return refuseField(edge, isPhone ? nodeTypeNames.phone : nodeTypeNames.waba);
}
