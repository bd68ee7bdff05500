// Parses requests to the simulated Graph API, and checks their access tokens: version, path, items of a batch, scopes.

import { createHmac } from 'node:crypto';
import { parseJson } from '../json.ts';
import type { Operation } from './faults.ts';
import { defaultScopes, type Fleet, type SimulatedToken } from './fleet.ts';
import { GraphRefusal, refuse, refuseExpired } from './refusals.ts';

/** One call: a plain request, or an item of a batch. */
export interface GraphCall {
  readonly method: string;
  readonly origin: string;
  /** The version that answers, which may be newer than the requested one; undefined if that does not exist. */
  readonly version: number | undefined;
  readonly segments: readonly string[];
  readonly parameters: URLSearchParams;
  /** The token of the authorization header. The parameter `access_token` takes precedence. */
  readonly bearer: string | undefined;
  readonly operations: readonly Operation[];
}

export interface Versions {
  readonly minVersion: number;
  readonly maxVersion: number;
}

/** `defaultVersion` is for a path without a version: the oldest supported one, or that of the batch for its items. */
export function parseCall(
  fleet: Fleet,
  versions: Versions,
  path: string,
  call: Pick<GraphCall, 'method' | 'origin' | 'parameters' | 'bearer'>,
  defaultVersion: number = versions.minVersion,
): GraphCall {
  const [, major, minor, rest = ''] = /^\/?(?:v(\d+)\.(\d+)(?=\/|$))?(.*)$/s.exec(path) ?? [];
  const segments = rest.split('/').filter((segment) => segment !== '');
  const version = major === undefined ? defaultVersion : resolveVersion(versions, major, minor);
  const operations = version === undefined ? [] : listOperations(fleet, segments);
  return { ...call, version, segments, operations };
}

function resolveVersion(
  { minVersion, maxVersion }: Versions,
  major: string,
  minor: string | undefined,
): number | undefined {
  const version = Math.max(Number(major), minVersion);
  return minor === '0' && version <= maxVersion ? version : undefined;
}

function listOperations(
  fleet: Fleet,
  [id, edge, ...more]: readonly string[],
): readonly Operation[] {
  if (id === undefined || more.length > 0) return [];
  if (edge === 'whatsapp_business_profile') return [{ name: `profile ${id}`, id }];
  if (isDiscovery([id, edge ?? ''])) return [{ name: [edge, id].filter(Boolean).join(' '), id }];
  if (edge === 'phone_numbers' || edge === 'subscribed_apps')
    return [{ name: `${edge} ${id}`, id }];
  return edge === undefined ? [toNodeOperation(fleet, id)] : [];
}

export const debugToken = 'debug_token';

/** Whether the path asks what a token can find; see discovery.ts. */
export function isDiscovery([id, edge = '']: readonly string[]): boolean {
  if (id === debugToken) return edge === '';
  return id === 'me' || /^(owned|client)_whatsapp_business_accounts$/.test(edge);
}

function toNodeOperation(fleet: Fleet, id: string): Operation {
  if (fleet.findPhone(id) !== undefined) return { name: `phone ${id}`, id };
  if (fleet.findWaba(id) !== undefined) return { name: `waba ${id}`, id };
  // Last: it searches all accounts.
  return { name: `${fleet.findBusiness(id) === undefined ? 'node' : 'business'} ${id}`, id };
}

/** Several calls in one POST, each answered, counted and refused separately. */
export interface GraphBatch {
  readonly call: GraphCall;
  /** A refusal replaces an item that is not a request, or all items if the batch is malformed. */
  readonly items: readonly (GraphCall | GraphRefusal)[] | GraphRefusal;
}

interface BatchItem {
  readonly method: string;
  readonly relative_url: string;
}

const maxBatchItems = 50;

export function isBatch(call: GraphCall): boolean {
  return call.method === 'POST' && call.version !== undefined && call.segments.length === 0;
}

export function parseBatch(fleet: Fleet, versions: Versions, call: GraphCall): GraphBatch {
  const listed = parseItems(call.parameters.get('batch'));
  if (listed instanceof GraphRefusal) return { call, items: listed };
  const items = listed.map((item) =>
    isBatchItem(item)
      ? parseItem(fleet, versions, call, item)
      : refuse(100, '(#100) Each batch item needs a method and a relative_url'),
  );
  return { call, items };
}

/** The operations of all items, in order. */
export function listBatchOperations({ items }: GraphBatch): readonly Operation[] {
  if (items instanceof GraphRefusal) return [];
  return items.flatMap((item) => (item instanceof GraphRefusal ? [] : item.operations));
}

function parseItems(text: string | null): readonly unknown[] | GraphRefusal {
  const listed = parseJson(text ?? '');
  if (!Array.isArray(listed)) return refuse(100, '(#100) param batch must be an array.');
  if (listed.length <= maxBatchItems) return listed;
  return refuse(100, `Too many requests in batch message. Maximum batch size is ${maxBatchItems}`, {
    type: 'GraphBatchException',
  });
}

function isBatchItem(item: unknown): item is BatchItem {
  if (typeof item !== 'object' || item === null) return false;
  if (!('method' in item) || !('relative_url' in item)) return false;
  return typeof item.method === 'string' && typeof item.relative_url === 'string';
}

/** An item without its own token inherits token and proof from the batch; one with a token needs its own proof. */
function parseItem(
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
  return parseCall(fleet, versions, path, call, batch.version);
}

/** Throws Graph's refusal when the token is missing or invalid, or the proof that its app requires is. */
export function authenticate(fleet: Fleet, now: Date, call: GraphCall): SimulatedToken {
  const text = call.parameters.get('access_token') ?? call.bearer;
  if (text === undefined || text === '') throw refuseAnonymous(call);
  const token = fleet.findToken(text);
  const refusal = findRefusal(token, now);
  if (token === undefined || refusal !== undefined) throw refusal ?? refuse(190);
  checkProof(token, call.parameters.get('appsecret_proof'));
  return token;
}

/** As Meta does, the profile edge asks for an app id when there is no token. */
function refuseAnonymous(call: GraphCall): GraphRefusal {
  return call.segments[1] === 'whatsapp_business_profile'
    ? refuse(200, '(#200) Provide valid app ID')
    : refuse(190);
}

function findRefusal(token: SimulatedToken | undefined, now: Date): GraphRefusal | undefined {
  switch (token?.state) {
    case 'expired':
      return refuseExpired(now);
    case 'invalid':
      return refuse(
        190,
        'Error validating access token: The session is invalid because the user logged out.',
        { subcode: 467 },
      );
    default:
      return token === undefined ? refuse(190) : undefined;
  }
}

function checkProof(token: SimulatedToken, proof: string | null): void {
  if (token.appSecret === undefined) return;
  const details = { type: 'GraphMethodException' };
  if (proof === null) {
    throw refuse(100, 'API calls from the server require an appsecret_proof argument', details);
  }
  if (proof !== createHmac('sha256', token.appSecret).update(token.token).digest('hex')) {
    throw refuse(100, 'Invalid appsecret_proof provided in the API argument', details);
  }
}

/** Throws Graph's refusal when the token lacks every one of the accepted scopes. */
export function requireScope(
  token: SimulatedToken,
  accepted: readonly string[],
  code: 10 | 200,
): void {
  const scopes = token.scopes ?? defaultScopes;
  if (!accepted.some((scope) => scopes.includes(scope))) throw refuse(code);
}
