// Graph's nodes and the profile edge: which fields exist, and how a response is built from the fleet.

import { toObject } from '../json.ts';
import type { Fault } from './faults.ts';
import {
  defaultAppId,
  type SimulatedBusiness,
  type SimulatedPhone,
  type SimulatedWaba,
} from './fleet.ts';
import { refuse, refuseField } from './refusals.ts';

type Json = Record<string, unknown>;

export interface NodeContext {
  readonly version: number;
  readonly emitNulls: boolean;
  readonly profileShape: 'flat' | 'nested';
  readonly maxPageSize: number;
}

interface NodeType {
  readonly name: string;
  readonly fields: ReadonlySet<string>;
  readonly defaults: readonly string[];
}

const toSet = (names: string): ReadonlySet<string> => new Set(names.split(' '));

/** There is no field for the WABA: Graph refuses `whatsapp_business_account` on a phone. */
const phoneType: NodeType = {
  name: 'WhatsAppBusinessPhoneNumber',
  fields: toSet(
    'id display_phone_number verified_name quality_rating quality_score messaging_limit_tier whatsapp_business_manager_messaging_limit is_pin_enabled status name_status new_name_status new_display_name code_verification_status platform_type throughput account_mode health_status certificate new_certificate last_onboarded_time is_official_business_account is_on_biz_app is_preverified_number search_visibility eligibility_for_api_business_global_search webhook_configuration conversational_automation country_code country_dial_code username host_platform unified_cert_status whatsapp_business_profile',
  ),
  defaults: [
    'verified_name',
    'code_verification_status',
    'display_phone_number',
    'quality_rating',
    'platform_type',
    'throughput',
  ],
};

const wabaType: NodeType = {
  name: 'WhatsAppBusinessAccount',
  fields: toSet(
    'id account_review_status analytics auth_international_rate_eligibility business_verification_status country creation_time currency disable_marketing_messages_on_cloud_api health_status is_enabled_for_insights is_shared_with_partners linked_commerce_account marketing_messages_ad_account marketing_messages_lite_api_status marketing_messages_onboarding_status message_template_namespace name on_behalf_of_business_info owner_business owner_business_info ownership_type primary_business_location primary_funding_id purchase_order_number status template_auto_archival_enabled timezone_id whatsapp_business_manager_messaging_limit whatsapp_manager_marketing_messages_max_price_enroll_status phone_numbers subscribed_apps',
  ),
  defaults: ['id', 'name', 'timezone_id', 'message_template_namespace'],
};

/** A portfolio. Its id is often mistaken for that of an account. */
const businessType: NodeType = {
  name: 'Business',
  fields: toSet('id name verification_status created_time primary_page timezone_id vertical link'),
  defaults: ['id', 'name'],
};

const profileType: NodeType = {
  name: 'WhatsAppBusinessProfile',
  fields: toSet(
    'about address description email profile_picture_url websites vertical messaging_product',
  ),
  defaults: ['messaging_product'],
};

export const nodeTypeNames = {
  phone: phoneType.name,
  waba: wabaType.name,
  business: businessType.name,
  user: 'User',
} as const;

type FieldNames = readonly string[] | undefined;

/** The names in the `fields` parameter; undefined means default fields. Throws Graph's refusal for a syntax error. */
export function parseFields(text: string | null): FieldNames {
  if (text === null || text.trim() === '') return undefined;
  const names = text.split(',').map((name) => name.trim());
  const invalid = names.find((name) => !/^\w+$/.test(name));
  if (invalid === undefined) return names;
  throw refuse(2500, `Syntax error "Expected name instead of "${invalid}"." in: ${text}`);
}

/** `waba`: the account of the phone. */
export function readPhone(
  context: NodeContext,
  phone: SimulatedPhone,
  waba: SimulatedWaba | undefined,
  names: FieldNames,
  fault: Fault | null,
): unknown {
  const isTierRemoved = context.version >= 24;
  const fields = {
    ...(waba?.callbackUrl !== undefined && {
      webhook_configuration: { application: waba.callbackUrl },
    }),
    ...phone.fields,
    ...(isTierRemoved && { messaging_limit_tier: null }),
    id: phone.id,
  };
  return select(context, phoneType, fields, names, fault);
}

export function readWaba(
  context: NodeContext,
  waba: SimulatedWaba,
  names: FieldNames,
  fault: Fault | null,
): unknown {
  const subscribed_apps = { data: listSubscribedApps(waba) };
  return select(context, wabaType, { subscribed_apps, ...waba.fields, id: waba.id }, names, fault);
}

/** The nodes of the edge `subscribed_apps`. */
export function listSubscribedApps(waba: SimulatedWaba): readonly Json[] {
  const { appId = defaultAppId, subscribedApps = [appId] } = waba;
  return subscribedApps.map((id) => ({
    whatsapp_business_api_data: {
      link: `https://www.facebook.com/games/?app_id=${id}`,
      name: 'Jaspers Market',
      id,
    },
  }));
}

export function readBusiness(
  context: NodeContext,
  business: SimulatedBusiness,
  names: FieldNames,
  fault: Fault | null,
): unknown {
  return select(context, businessType, { id: business.id, name: business.name }, names, fault);
}

/** The profile edge: `data` contains one object without an id, or nothing. */
export function readProfile(
  context: NodeContext,
  phone: SimulatedPhone,
  names: FieldNames,
  fault: Fault | null,
): Json {
  if (phone.profile === null || fault?.kind === 'empty-data') return { data: [] };
  const profile = { messaging_product: 'whatsapp', ...phone.profile };
  const hidden = fault?.kind === 'missing-vertical' ? { ...profile, vertical: null } : profile;
  const flat = select(context, profileType, hidden, names, fault);
  const isNested = context.profileShape === 'nested' || fault?.kind === 'nested-profile';
  return { data: [isNested ? { business_profile: flat } : flat] };
}

/**
 * Selects fields of a node. A field that does not exist refuses the whole request, unset fields are left out, and the id
 * is always included.
 */
function select(
  context: NodeContext,
  type: NodeType,
  node: Readonly<Json>,
  names: FieldNames = type.defaults,
  fault: Fault | null,
): unknown {
  const result: Json = {};
  for (const name of names) {
    const isRefused = fault?.kind === 'unknown-field' && [fault.field].flat().includes(name);
    if (isRefused || !(type.fields.has(name) || Object.hasOwn(node, name))) {
      throw refuseField(name, type.name);
    }
    if (fault?.kind === 'denied-field' && [fault.field].flat().includes(name)) {
      throw refuse(200, '(#200) You do not have permission to access this field.');
    }
    const value = node[name] ?? null;
    if (value !== null || context.emitNulls) result[name] = value;
  }
  if (type === profileType) result['messaging_product'] = node['messaging_product'];
  else result['id'] ??= node['id'];
  if (fault?.kind === 'empty-data') return { id: node['id'] };
  return fault?.kind === 'wrong-types' ? distort(result) : result;
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
