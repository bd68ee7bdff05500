// Graph's nodes and edges: which fields exist, how they are selected, and how a response is built from the fleet.

import { toObject } from '../json.ts';
import type { Fault } from './faults.ts';
import type { SimulatedPhone, SimulatedWaba } from './fleet.ts';
import { refuse, refuseField } from './refusals.ts';

type Json = Record<string, unknown>;

export interface NodeContext {
  readonly version: number;
  readonly emitNulls: boolean;
  readonly profileShape: 'flat' | 'nested';
  /** The URL of an edge, for `paging.next`. It contains the access token if the query of the call did. */
  toEdgeUrl(path: string, parameters: Readonly<Record<string, string | null>>): string;
  /** The fault of a node that is read as part of another one. */
  peekFault(id: string): Fault | null;
  listPhones(wabaId: string): readonly SimulatedPhone[];
}

interface NodeType {
  readonly name: string;
  readonly fields: ReadonlySet<string>;
  readonly defaults: string;
}

const toSet = (names: string): ReadonlySet<string> => new Set(names.split(' '));

/** There is no field for the WABA: Graph refuses `whatsapp_business_account` on a phone. */
const phoneType: NodeType = {
  name: 'WhatsAppBusinessPhoneNumber',
  fields: toSet(
    'id display_phone_number verified_name quality_rating quality_score messaging_limit_tier whatsapp_business_manager_messaging_limit is_pin_enabled status name_status new_name_status new_display_name code_verification_status platform_type throughput account_mode health_status certificate new_certificate last_onboarded_time is_official_business_account is_on_biz_app is_preverified_number search_visibility eligibility_for_api_business_global_search webhook_configuration conversational_automation country_code country_dial_code username host_platform unified_cert_status whatsapp_business_profile',
  ),
  defaults:
    'verified_name,code_verification_status,display_phone_number,quality_rating,platform_type,throughput',
};

const wabaType: NodeType = {
  name: 'WhatsAppBusinessAccount',
  fields: toSet(
    'id account_review_status analytics auth_international_rate_eligibility business_verification_status country creation_time currency disable_marketing_messages_on_cloud_api health_status is_enabled_for_insights is_shared_with_partners linked_commerce_account marketing_messages_ad_account marketing_messages_lite_api_status marketing_messages_onboarding_status message_template_namespace name on_behalf_of_business_info owner_business owner_business_info ownership_type primary_business_location primary_funding_id purchase_order_number status template_auto_archival_enabled timezone_id whatsapp_business_manager_messaging_limit whatsapp_manager_marketing_messages_max_price_enroll_status phone_numbers',
  ),
  defaults: 'id,name,timezone_id,message_template_namespace',
};

const profileType: NodeType = {
  name: 'WhatsAppBusinessProfile',
  fields: toSet(
    'about address description email profile_picture_url websites vertical messaging_product',
  ),
  defaults: 'messaging_product',
};

export const nodeTypeNames = { phone: phoneType.name, waba: wabaType.name } as const;

type Selections = readonly FieldSelection[] | undefined;

/** Undefined means default fields. Throws Graph's refusal for a syntax error. */
export function parseSelections(fields: string | null): Selections {
  return fields === null || fields.trim() === '' ? undefined : parseFields(fields);
}

export function readPhone(
  context: NodeContext,
  phone: SimulatedPhone,
  selections: Selections,
  fault: Fault | null,
): unknown {
  const isTierRemoved = context.version >= 24;
  const fields = isTierRemoved ? { ...phone.fields, messaging_limit_tier: null } : phone.fields;
  const node = { ...fields, id: phone.id };
  return select(context, phoneType, node, selections, fault, (selection) =>
    selection.name === 'whatsapp_business_profile'
      ? readProfile(context, phone, selection.nested, fault)
      : undefined,
  );
}

export function readWaba(
  context: NodeContext,
  waba: SimulatedWaba,
  selections: Selections,
  fault: Fault | null,
): unknown {
  const node = { ...waba.fields, id: waba.id };
  return select(context, wabaType, node, selections, fault, (selection) =>
    selection.name === 'phone_numbers'
      ? readPhoneNumbers(context, waba.id, selection.nested, selection.arguments, null)
      : undefined,
  );
}

/** The profile edge: `data` contains one object without an id, or nothing. */
export function readProfile(
  context: NodeContext,
  phone: SimulatedPhone,
  selections: Selections,
  fault: Fault | null,
): Json {
  if (phone.profile === null || fault?.kind === 'empty-data') return { data: [] };
  const profile = { messaging_product: 'whatsapp', ...phone.profile };
  const hidden = fault?.kind === 'missing-vertical' ? { ...profile, vertical: null } : profile;
  const flat = select(context, profileType, hidden, selections, fault);
  const isNested = context.profileShape === 'nested' || fault?.kind === 'nested-profile';
  return { data: [isNested ? { business_profile: flat } : flat] };
}

/** One page of the edge. `next` and `previous` are set only if such a page exists. */
export function readPhoneNumbers(
  context: NodeContext,
  wabaId: string,
  selections: Selections,
  paging: Readonly<Record<string, string>>,
  fault: Fault | null,
): Json {
  if (fault?.kind === 'empty-data') return { data: [] };
  const phones = context.listPhones(wabaId);
  const limit = parseLimit(paging['limit']);
  const { start, end } = findRange(phones, limit, paging);
  const page = phones.slice(start, end);
  const data = page.map((it) =>
    readPhone(context, it, selections, context.peekFault(it.id) ?? fault),
  );
  const [first, last] = [page.at(0), page.at(-1)];
  if (first === undefined || last === undefined) return { data };
  const cursors = { before: toCursor(first), after: toCursor(last) };
  const path = `${wabaId}/phone_numbers`;
  const toUrl = (cursor: Readonly<Record<string, string>>): string =>
    context.toEdgeUrl(path, { fields: formatFields(selections), limit: String(limit), ...cursor });
  return {
    data,
    paging: {
      cursors,
      ...(start > 0 ? { previous: toUrl({ before: cursors.before }) } : {}),
      ...(end < phones.length ? { next: toUrl({ after: cursors.after }) } : {}),
    },
  };
}

function findRange(
  phones: readonly SimulatedPhone[],
  limit: number,
  paging: Readonly<Record<string, string>>,
): { readonly start: number; readonly end: number } {
  const positionOf = (cursor: string): number => {
    const position = phones.findIndex((phone) => toCursor(phone) === cursor);
    if (position < 0) throw refuse(100, '(#100) Invalid cursors values', { subcode: 33 });
    return position;
  };
  const { after, before } = paging;
  if (after !== undefined) {
    const start = positionOf(after) + 1;
    return { start, end: start + limit };
  }
  if (before === undefined) return { start: 0, end: limit };
  const end = positionOf(before);
  return { start: Math.max(0, end - limit), end };
}

function parseLimit(text: string | undefined): number {
  if (text === undefined) return 25;
  if (!/^[1-9]\d*$/.test(text)) {
    throw refuse(100, '(#100) Param limit must be an integer greater than or equal to 1');
  }
  return Math.min(100, Number(text));
}

function toCursor(phone: SimulatedPhone): string {
  return Buffer.from(`cursor ${phone.id}`).toString('base64');
}

/**
 * Selects fields of a node. A field that does not exist refuses the whole request, unset fields are left out, and the id
 * is always included.
 */
function select(
  context: NodeContext,
  type: NodeType,
  node: Readonly<Json>,
  selections: Selections,
  fault: Fault | null,
  readEdge: (selection: FieldSelection) => unknown = () => undefined,
): unknown {
  const result: Json = {};
  for (const selection of selections ?? parseFields(type.defaults)) {
    const { name } = selection;
    const isRefused = fault?.kind === 'unknown-field' && fault.field === name;
    if (isRefused || !(type.fields.has(name) || Object.hasOwn(node, name))) {
      throw refuseField(name, type.name);
    }
    const value = readEdge(selection) ?? selectNested(node[name], selection.nested) ?? null;
    if (value !== null || context.emitNulls) result[name] = value;
  }
  if (type === profileType) result['messaging_product'] = node['messaging_product'];
  else result['id'] ??= node['id'];
  if (fault?.kind === 'empty-data') return { id: node['id'] };
  return fault?.kind === 'wrong-types' ? distort(result) : result;
}

function selectNested(value: unknown, nested: Selections): unknown {
  const object = toObject(value);
  if (nested === undefined || object === null) return value;
  const names = new Set(nested.map(({ name }) => name));
  return Object.fromEntries(Object.entries(object).filter(([name]) => names.has(name)));
}

/** Replaces each value by one of another JSON type. Objects and edges keep their members. */
function distort(value: unknown): unknown {
  const object = toObject(value);
  if (object !== null) {
    return Object.fromEntries(Object.entries(object).map(([name, it]) => [name, distort(it)]));
  }
  if (Array.isArray(value)) return { 0: value[0] };
  if (typeof value === 'string') return value.length;
  return typeof value === 'boolean' ? String(value) : [value];
}

/** One field of the `fields` parameter, such as `name` or `edge.limit(5){id}`. */
interface FieldSelection {
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
function parseFields(text: string): readonly FieldSelection[] {
  const cursor: Cursor = { text: text.replaceAll(/\s/g, ''), position: 0 };
  const selections = parseList(cursor);
  if (cursor.position < cursor.text.length) throw toSyntaxError(cursor, 'end of string');
  return selections;
}

/** The inverse of `parseFields`; null for default fields. */
function formatFields(selections: readonly FieldSelection[] | undefined): string | null {
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
