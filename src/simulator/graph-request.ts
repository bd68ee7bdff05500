// Parses requests to the simulated Graph API: version, path and parameters, the items of a batch, and the `fields` parameter.

import { parseJson } from '../json.ts';
import type { Operation } from './faults.ts';
import type { Fleet } from './fleet.ts';
import { GraphRefusal, refuse } from './refusals.ts';

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
  const operations = version === undefined ? [] : listOperations(fleet, segments, call.parameters);
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
  parameters: URLSearchParams,
): readonly Operation[] {
  if (id === undefined) return listIds(parameters).map((it) => toNodeOperation(fleet, it));
  if (more.length > 0) return [];
  if (edge === 'whatsapp_business_profile') return [{ name: `profile ${id}`, id }];
  if (edge === 'phone_numbers') return [{ name: `phone_numbers ${id}`, id }];
  if (edge !== undefined) return [];
  return id === 'debug_token' ? [{ name: id, id }] : [toNodeOperation(fleet, id)];
}

function toNodeOperation(fleet: Fleet, id: string): Operation {
  if (fleet.findPhone(id) !== undefined) return { name: `phone ${id}`, id };
  return { name: `${fleet.findWaba(id) === undefined ? 'node' : 'waba'} ${id}`, id };
}

function listIds(parameters: URLSearchParams): readonly string[] {
  const ids = parameters.get('ids')?.split(',') ?? [];
  return [...new Set(ids.map((id) => id.trim()))].filter((id) => id !== '');
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

/** One field of the `fields` parameter, such as `name` or `edge.limit(5){id}`. */
export interface FieldSelection {
  readonly name: string;
  readonly arguments: Readonly<Record<string, string>>;
  /** Undefined without braces, which for an edge means its default fields. */
  readonly nested?: readonly FieldSelection[];
}

interface Cursor {
  readonly text: string;
  position: number;
}

/** Throws Graph's refusal for a syntax error. */
export function parseFields(text: string): readonly FieldSelection[] {
  const cursor: Cursor = { text: text.replaceAll(/\s/g, ''), position: 0 };
  const selections = parseList(cursor);
  if (cursor.position < cursor.text.length) throw toSyntaxError(cursor, 'end of string');
  return selections;
}

/** The inverse of `parseFields`; null for default fields. */
export function formatFields(selections: readonly FieldSelection[] | undefined): string | null {
  if (selections === undefined) return null;
  const texts = selections.map(({ name, arguments: given, nested }) => {
    const calls = Object.entries(given).map(([argument, value]) => `.${argument}(${value})`);
    const inner = formatFields(nested);
    return [name, ...calls, inner === null ? '' : `{${inner}}`].join('');
  });
  return texts.join(',');
}

function parseList(cursor: Cursor): readonly FieldSelection[] {
  const selections = [parseSelection(cursor)];
  while (take(cursor, ',')) selections.push(parseSelection(cursor));
  return selections;
}

function parseSelection(cursor: Cursor): FieldSelection {
  const name = parseName(cursor);
  const given: Record<string, string> = {};
  while (take(cursor, '.')) {
    const argument = parseName(cursor);
    expect(cursor, '(');
    const end = cursor.text.indexOf(')', cursor.position);
    if (end < 0) throw toSyntaxError(cursor, ')');
    given[argument] = cursor.text.slice(cursor.position, end);
    cursor.position = end + 1;
  }
  if (!take(cursor, '{')) return { name, arguments: given };
  const nested = parseList(cursor);
  expect(cursor, '}');
  return { name, arguments: given, nested };
}

function parseName(cursor: Cursor): string {
  const name = /^\w+/.exec(cursor.text.slice(cursor.position))?.[0];
  if (name === undefined) throw toSyntaxError(cursor, 'string');
  cursor.position += name.length;
  return name;
}

function take(cursor: Cursor, character: string): boolean {
  if (cursor.text[cursor.position] !== character) return false;
  cursor.position += 1;
  return true;
}

function expect(cursor: Cursor, character: string): void {
  if (!take(cursor, character)) throw toSyntaxError(cursor, character);
}

function toSyntaxError(cursor: Cursor, expected: string): Error {
  const found = cursor.text[cursor.position] ?? 'end of string';
  return refuse(
    2500,
    `Syntax error "Expected ${expected} instead of "${found}"." at character ${cursor.position}: ${cursor.text}`,
  );
}
