// Batch requests: up to fifty calls in one POST, each answered, counted and refused on its own.
// What one call answers is in graph.ts.

import { parseJson } from '../json.ts';
import { everything, spoilsReply, type Fault, type FaultOf } from './faults.ts';
import type { Fleet } from './fleet.ts';
import {
  answerCall,
  createSpending,
  replyTo,
  throwFault,
  toRefusalReply,
  withHeaders,
  type GraphSettings,
  type Spending,
} from './graph.ts';
import { toGraphCall, type GraphCall, type Versions } from './graph-call.ts';
import { GraphRefusal, refuse } from './refusals.ts';
import { authenticate } from './token.ts';
import { toHtmlReply, truncate, type Operation, type WireReply } from './wire.ts';

export interface GraphBatch {
  readonly call: GraphCall;
  /** A refusal in the place of an item that is not a request; one in the place of them all if there is no batch. */
  readonly items: readonly (GraphCall | GraphRefusal)[] | GraphRefusal;
}

interface BatchItem {
  readonly method: string;
  readonly relative_url: string;
}

const maxItems = 50;

export function isBatch(call: GraphCall): boolean {
  return call.method === 'POST' && call.version !== undefined && call.segments.length === 0;
}

/** Those of all items, in their order. */
export function listBatchOperations({ items }: GraphBatch): readonly Operation[] {
  if (items instanceof GraphRefusal) return [];
  return items.flatMap((item) => (item instanceof GraphRefusal ? [] : item.operations));
}

/** Reads the items without answering them, so that their operations are known when the request arrives. */
export function toGraphBatch(fleet: Fleet, versions: Versions, call: GraphCall): GraphBatch {
  const listed = parseItems(call.parameters.get('batch'));
  if (listed instanceof GraphRefusal) return { call, items: listed };
  const items = listed.map((item) =>
    isBatchItem(item)
      ? toItemCall(fleet, versions, call, item)
      : refuse(100, '(#100) Each batch item needs a method and a relative_url'),
  );
  return { call, items };
}

function parseItems(text: string | null): readonly unknown[] | GraphRefusal {
  const listed = parseJson(text ?? '');
  if (!Array.isArray(listed)) return refuse(100, '(#100) param batch must be an array.');
  if (listed.length <= maxItems) return listed;
  return refuse(100, `Too many requests in batch message. Maximum batch size is ${maxItems}`, {
    type: 'GraphBatchException',
  });
}

function isBatchItem(item: unknown): item is BatchItem {
  if (typeof item !== 'object' || item === null) return false;
  if (!('method' in item) || !('relative_url' in item)) return false;
  return typeof item.method === 'string' && typeof item.relative_url === 'string';
}

/** An item without a token of its own inherits token and proof; with one, it needs its own proof. */
function toItemCall(
  fleet: Fleet,
  versions: Versions,
  batch: GraphCall,
  { method, relative_url }: BatchItem,
): GraphCall {
  const [path = '', search = ''] = relative_url.split(/\?(.*)/s);
  const parameters = new URLSearchParams(search);
  if (!parameters.has('access_token')) {
    for (const name of ['access_token', 'appsecret_proof']) {
      const value = batch.parameters.get(name);
      if (value !== null && !parameters.has(name)) parameters.set(name, value);
    }
  }
  const { origin, bearer } = batch;
  const call = { method: method.toUpperCase(), origin, parameters, bearer };
  return toGraphCall(fleet, versions, path, call, batch.version);
}

/** An array in the order of the items, or one refusal for all when the batch itself is bad. */
export function answerBatch(
  settings: GraphSettings,
  batch: GraphBatch,
  faultOf: FaultOf,
): WireReply {
  const { call } = batch;
  const spending = createSpending();
  const general = faultOf(everything);
  const spoiler = general !== null && spoilsReply(general) ? general : null;
  if (spoiler?.kind === 'html') return toHtmlReply(spoiler.status ?? 502);
  const reply = replyTo(() => {
    authenticate(settings.fleet, settings.now(), call);
    throwFault(settings, spoiler);
    return answerItems(settings, batch, without(spoiler, faultOf), spending);
  });
  const whole = spoiler?.kind === 'truncated' ? truncate(reply) : reply;
  return withHeaders(settings, call, whole, spending);
}

/** What has spoiled the whole reply is not told once more in each item. */
function without(spoiler: Fault | null, faultOf: FaultOf): FaultOf {
  return (operation) => {
    const fault = faultOf(operation);
    return fault === spoiler ? null : fault;
  };
}

function answerItems(
  settings: GraphSettings,
  { call, items }: GraphBatch,
  faultOf: FaultOf,
  spending: Spending,
): readonly unknown[] {
  if (items instanceof GraphRefusal) throw items;
  const showsHeaders = call.parameters.get('include_headers') !== 'false';
  return items.map((item) => {
    if (item instanceof GraphRefusal) return toItemReply(toRefusalReply(item), showsHeaders);
    const own = createSpending();
    const answer = answerCall(settings, item, faultOf, own);
    for (const [id, subject] of own.subjects) spending.subjects.set(id, subject);
    for (const [id, minutes] of own.regainMinutes) spending.regainMinutes.set(id, minutes);
    const isNull = item.operations.some((it) => faultOf(it)?.kind === 'null-item');
    return isNull ? null : toItemReply(answer, showsHeaders);
  });
}

function toItemReply({ status, headers, body }: WireReply, showsHeaders: boolean): unknown {
  const listed = Object.entries(headers).map(([name, value]) => ({ name, value }));
  return { code: status, ...(showsHeaders ? { headers: listed } : {}), body };
}
