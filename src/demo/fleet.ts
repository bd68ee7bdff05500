// The demo data: two tenants, their accounts, and one row per number. Both the simulated upstreams and the database are
// filled from these rows.

import type { MetaBlock } from '../numbers/meta.ts';
import type { ConnectionState } from '../numbers/provider.ts';
import type { Fault } from '../simulator/simulator.ts';

export const demoTenants = {
  acme: { id: 'ten_acme', name: 'Acme Group', country: 'BR' },
  borealis: { id: 'ten_borealis', name: 'Borealis Travel', country: 'SE' },
} as const;

export type DemoTenant = keyof typeof demoTenants;

/**
 * Phone number prefixes, completed by two digits. They are from the ranges that regulators reserve for fiction; Brazil
 * reserves none, so its numbers are merely an unlikely pattern.
 */
export const countries = {
  BR: { phone: '+55 11 90000-01', currency: 'BRL', hours: 'Seg-sex 8h-18h', city: 'São Paulo' },
  DE: { phone: '+49 171 39200', currency: 'EUR', hours: 'Mo-Fr 9-18 Uhr', city: 'Berlin' },
  FR: { phone: '+33 6 39 98 01 ', currency: 'EUR', hours: 'Lun-ven 9h-18h', city: 'Lyon' },
  GB: { phone: '+44 7700 9001', currency: 'GBP', hours: 'Mon-Fri 9:00-17:30', city: 'London' },
  SE: { phone: '+46 70 174 06 ', currency: 'SEK', hours: 'Mån-fre 8-17', city: 'Stockholm' },
} as const;

/** The state of the stored access token; `none` means that no token is stored. */
export type DemoToken = 'valid' | 'expired' | 'messaging only' | 'no permission' | 'none';

/** A WhatsApp Business account. Members that are left out are those of a verified, healthy account. */
export interface DemoWaba {
  readonly tenant: DemoTenant;
  /** The last two digits of its id; unique. */
  readonly line: number;
  readonly name: string;
  readonly country: keyof typeof countries;
  /** Meta's name of the messaging limit, which all numbers of the account share. */
  readonly limit: string;
  readonly vertical: string;
  readonly token?: DemoToken;
  /** By Graph's field names. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Applies to the account and all of its numbers. */
  readonly fault?: Fault;
  /** Age of the stored snapshot; null: nothing is stored. */
  readonly ageMinutes?: number | null;
}

interface DemoNumberBase {
  /** The last two digits of the number; unique. */
  readonly line: number;
  readonly name: string;
  /** Blocks to refresh when the demo is seeded, where the result of the refresh is the point; `[]` means all blocks. */
  readonly refresh?: readonly MetaBlock[];
  /** Age of the stored snapshot; null: nothing is stored. By default 5 for a Meta number, and null for any other. */
  readonly ageMinutes?: number | null;
}

/** A Meta number. Members that are left out are those of a healthy number. */
export interface DemoMetaNumber extends DemoNumberBase {
  readonly waba: keyof typeof demoWabas;
  /** What Meta returns now, by Graph's field names. */
  readonly phone?: Readonly<Record<string, unknown>>;
  /** By entity type of Meta's health status: members that differ. */
  readonly health?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** What Meta returned when the snapshot was stored, where that differs from now. */
  readonly was?: Readonly<Record<string, unknown>>;
  /** Null: the business profile is empty. */
  readonly profile?: Readonly<Record<string, unknown>> | null;
  readonly fault?: Fault;
  /** What an operator has stored by mistake. */
  readonly stored?: Partial<Record<'number' | 'phoneNumberId' | 'wabaId', string>>;
}

/** A number connected by QR code. */
export interface DemoSessionNumber extends DemoNumberBase {
  readonly tenant: DemoTenant;
  /** The stored instance name at the session engine, if any. */
  readonly instance: string | null;
  /** The state that the session engine returns; null: it has no such instance. `unloaded`: it gives no state. */
  readonly engine: 'open' | 'connecting' | 'close' | 'unloaded' | null;
  /** The stored state before the engine is read. */
  readonly state: ConnectionState;
  readonly fault?: Fault;
}

export type DemoNumber = DemoMetaNumber | DemoSessionNumber;

const healthErrors = {
  noSip: error(138_024, 'SIP is not enabled for this phone number.', 'Enable SIP for it.'),
  noPayment: error(141_006, 'There is an error with the payment method.', 'Add a payment method.'),
  notVerified: error(141_010, 'The business has not been verified.', 'Verify the business.'),
};

export const demoWabas = {
  retail: waba('acme', 11, 'Acme Varejo', 'BR', 'TIER_100K', 'RETAIL'),
  europe: waba('acme', 12, 'Acme Europe', 'FR', 'TIER_10K', 'APPAREL'),
  pharmacy: waba('acme', 13, 'Farmácia Boa Saúde', 'BR', 'TIER_250', 'OTC_DRUGS', {
    fields: { business_verification_status: 'not_verified' },
  }),
  hotel: waba('acme', 14, 'Hotel Miramar', 'BR', 'TIER_2K', 'HOTEL'),
  kids: waba('acme', 15, 'Acme Kids', 'BR', 'TIER_50', 'EDU', {
    fields: { business_verification_status: 'pending', account_review_status: 'PENDING' },
  }),
  school: waba('acme', 16, 'Sprachschule Ahorn', 'DE', 'TIER_1K', 'EDU', {
    token: 'expired',
    ageMinutes: 26 * 60,
  }),
  restaurant: waba('acme', 17, 'Cantina da Praça', 'BR', 'TIER_2K', 'RESTAURANT', {
    token: 'no permission',
    ageMinutes: null,
  }),
  bank: waba('acme', 18, 'Banco Exemplo', 'BR', 'TIER_UNLIMITED', 'FINANCE', {
    token: 'none',
    ageMinutes: 9 * 24 * 60,
  }),
  bets: waba('acme', 19, 'Aposta Feliz', 'BR', 'TIER_UNLIMITED', 'ONLINE_GAMBLING', {
    fields: { account_review_status: 'RESTRICTED' },
    fault: { kind: 'error', code: 368 },
    ageMinutes: 2 * 60,
  }),
  events: waba('acme', 20, 'Festa Certa', 'BR', 'TIER_10K', 'EVENT_PLAN', {
    fault: { kind: 'throttled', minutes: 25 },
    ageMinutes: 50,
  }),
  gifts: waba('acme', 21, 'Acme Presentes', 'BR', 'TIER_2K', 'RETAIL', { ageMinutes: null }),
  bakery: waba('acme', 22, 'Boulangerie Martin', 'FR', 'TIER_NOT_SET', 'GROCERY', {
    fields: { ownership_type: 'CLIENT_OWNED' },
  }),
  clinic: waba('acme', 23, 'Clínica Vida', 'BR', 'TIER_2K', 'HEALTH', {
    token: 'messaging only',
    ageMinutes: null,
  }),
  beauty: waba('acme', 24, 'Salon Lumière', 'FR', 'TIER_2K', 'BEAUTY', {
    fault: { kind: 'hang' },
    ageMinutes: 3 * 60,
  }),
  lab: waba('acme', 25, 'Acme Lab', 'GB', 'UNTIERED', 'PROF_SERVICES', {
    fields: { business_verification_status: 'pending_need_more_info', currency: null },
  }),
  gym: waba('acme', 26, 'Academia Força', 'BR', 'TIER_NOT_SET', 'HEALTH', {
    fault: { kind: 'error', code: 200, message: 'API access blocked.', status: 400 },
    ageMinutes: 70,
  }),
  studio: waba('acme', 27, 'Acme Estúdio', 'BR', 'TIER_2K', 'ENTERTAIN'),
  travel: waba('borealis', 31, 'Borealis Travel', 'SE', 'TIER_10K', 'TRAVEL'),
} satisfies Readonly<Record<string, DemoWaba>>;

/** The comments say what each number demonstrates, and why. */
export const demoNumbers: Readonly<Record<string, DemoNumber>> = {
  // Healthy, with everything Meta offers: verified badge, high throughput, complete profile.
  wa_acme_sales: meta(11, 'retail', 'Acme Vendas', {
    phone: { is_official_business_account: true, throughput: { level: 'HIGH' } },
  }),
  // Quality has dropped to YELLOW: it can still send, but needs attention.
  wa_acme_support: meta(12, 'retail', 'Acme Atendimento', { phone: { quality_rating: 'YELLOW' } }),
  // FLAGGED: quality is RED; it can still send.
  wa_acme_offers: meta(13, 'retail', 'Acme Ofertas', {
    phone: { quality_rating: 'RED', status: 'FLAGGED' },
  }),
  // RESTRICTED: the messaging limit is used up, so it cannot start conversations; it can reply.
  wa_acme_club: meta(14, 'retail', 'Clube Acme', {
    phone: { quality_rating: 'RED', status: 'RESTRICTED' },
  }),
  // RATE_LIMITED: it sends faster than Meta allows.
  wa_acme_delivery: meta(15, 'retail', 'Acme Entregas', { phone: { status: 'RATE_LIMITED' } }),
  // BANNED by Meta; the connection state is CLOSE.
  wa_acme_outlet: meta(16, 'retail', 'Acme Outlet', {
    phone: { quality_rating: 'RED', status: 'BANNED' },
  }),
  // Meta reports BLOCKED overall, but only SIP calls are blocked (138024): it can send.
  wa_acme_calls: meta(17, 'retail', 'Acme Central', {
    health: { PHONE_NUMBER: { can_receive_call_sip: 'BLOCKED', errors: [healthErrors.noSip] } },
  }),
  // Still registered on the retired On-Premises API, so the Cloud API cannot send.
  wa_acme_warehouse: meta(18, 'retail', 'Acme Depósito', {
    phone: { platform_type: 'ON_PREMISE', throughput: { level: 'NOT_APPLICABLE' } },
  }),
  // The snapshot is three days old and says GREEN; a refresh finds YELLOW.
  wa_acme_garden: meta(19, 'retail', 'Acme Jardim', {
    phone: { quality_rating: 'YELLOW' },
    was: { quality_rating: 'GREEN' },
    ageMinutes: 3 * 24 * 60,
  }),
  // PENDING: registration is incomplete, the profile is empty, the name is in review, and no limit is set.
  wa_acme_lyon: meta(21, 'europe', 'Acme Lyon', {
    phone: {
      quality_rating: 'UNKNOWN',
      status: 'PENDING',
      name_status: 'PENDING_REVIEW',
      code_verification_status: 'NOT_VERIFIED',
      platform_type: 'NOT_APPLICABLE',
      whatsapp_business_manager_messaging_limit: 'TIER_NOT_SET',
      is_pin_enabled: false,
    },
    profile: null,
  }),
  // Added to its account and never registered: Meta gives no status.
  wa_acme_brest: meta(29, 'europe', 'Acme Brest', {
    phone: { status: null, platform_type: 'NOT_APPLICABLE' },
  }),
  // DISCONNECTED from the WhatsApp network; the approval of its name has expired.
  wa_acme_paris: meta(22, 'europe', 'Acme Paris', {
    phone: { status: 'DISCONNECTED', name_status: 'EXPIRED' },
  }),
  // MIGRATED: the number has moved to another account.
  wa_acme_nantes: meta(23, 'europe', 'Acme Nantes', {
    phone: { status: 'MIGRATED', platform_type: 'NOT_APPLICABLE' },
  }),
  // DELETED from its account, together with its name; an hour later its id is gone too (33).
  wa_acme_lille: meta(24, 'europe', 'Acme Lille', {
    phone: { status: 'DELETED', name_status: 'NONE', verified_name: null },
    fault: { kind: 'error', code: 33 },
    ageMinutes: 60,
    refresh: ['phone'],
  }),
  // UNVERIFIED: the verification code has expired.
  wa_acme_nice: meta(25, 'europe', 'Acme Nice', {
    phone: { status: 'UNVERIFIED', code_verification_status: 'EXPIRED' },
  }),
  // Meta returns UNKNOWN and the name was declined: it is unknown whether it can send.
  wa_acme_metz: meta(26, 'europe', 'Acme Metz !!!', {
    phone: { status: 'UNKNOWN', quality_rating: 'UNKNOWN', name_status: 'DECLINED' },
  }),
  // Meta rejects the health_status field of this number, so there is no verdict; the rest is read.
  wa_acme_rennes: meta(27, 'europe', 'Acme Rennes', {
    was: { health_status: null, is_official_business_account: null, is_on_biz_app: null },
    fault: { kind: 'unknown-field', field: 'health_status' },
  }),
  // Meta rejects three fields of this number and its profile; everything else is read.
  wa_acme_tours: meta(28, 'europe', 'Acme Tours', {
    was: { throughput: null, is_on_biz_app: null },
    profile: { about: null },
    fault: { kind: 'unknown-field', field: ['throughput', 'is_on_biz_app', 'about'] },
  }),
  // The business is not verified (141010), which limits sending but does not block it.
  wa_acme_pharmacy: meta(31, 'pharmacy', 'Boa Saúde', {
    health: { BUSINESS: { can_send_message: 'LIMITED', errors: [healthErrors.notVerified] } },
  }),
  // CONNECTED and GREEN but unable to start conversations: the account has no valid payment method (141006).
  wa_acme_hotel: meta(32, 'hotel', 'Hotel Miramar', {
    health: { WABA: { can_send_message: 'BLOCKED', errors: [healthErrors.noPayment] } },
  }),
  // New: no quality rating yet, LIMITED until its name is reviewed. Also used in the app.
  wa_acme_kids: meta(33, 'kids', 'Acme Kids', {
    phone: {
      quality_rating: 'UNKNOWN',
      name_status: 'AVAILABLE_WITHOUT_REVIEW',
      is_on_biz_app: true,
    },
    health: {
      PHONE_NUMBER: {
        can_send_message: 'LIMITED',
        additional_info: ['Your display name has not been approved yet.'],
      },
    },
  }),
  // The access token has expired; the values read 26 hours ago are kept.
  wa_acme_school: meta(34, 'school', 'Sprachschule Ahorn', { ageMinutes: 26 * 60, refresh: [] }),
  // The access token lacks the WhatsApp permissions, so nothing was ever read.
  wa_acme_restaurant: meta(35, 'restaurant', 'Cantina da Praça', { ageMinutes: null, refresh: [] }),
  // The access token was removed nine days ago, so a refresh cannot be attempted.
  wa_acme_bank: meta(36, 'bank', 'Banco Exemplo', { ageMinutes: 9 * 24 * 60 }),
  // Meta has disabled the account for a policy violation (368); that error alone makes the verdict NO.
  wa_acme_bets: meta(37, 'bets', 'Aposta Feliz', { ageMinutes: 2 * 60, refresh: [] }),
  // Meta rate-limits the account; the last values are kept, with the time to retry.
  wa_acme_events: meta(38, 'events', 'Festa Certa', { ageMinutes: 50, refresh: [] }),
  // Never fetched, so `meta` is null; a refresh finds a healthy number.
  wa_acme_gifts: meta(39, 'gifts', 'Acme Presentes', { ageMinutes: null }),
  // Meta returns a transient error for this number; the last good values are kept.
  wa_acme_bakery: meta(41, 'bakery', 'Boulangerie Martin', {
    fault: { kind: 'error', code: 2, transient: true },
    ageMinutes: 40,
    refresh: [],
  }),
  // The access token may message but not manage: the number is readable, its account is not.
  wa_acme_clinic: meta(42, 'clinic', 'Clínica Vida', { refresh: ['waba'] }),
  // Meta does not respond for this number; a refresh times out after three seconds.
  wa_acme_beauty: meta(43, 'beauty', 'Salon Lumière', { ageMinutes: 3 * 60, refresh: [] }),
  // A test number: SANDBOX, quality NA, and no messaging limit assigned.
  wa_acme_lab: meta(44, 'lab', 'Acme Lab', {
    phone: { quality_rating: 'NA', account_mode: 'SANDBOX', is_pin_enabled: false },
  }),
  // Meta returns values the gateway does not know: UNRECOGNIZED, with the raw values beside them.
  wa_acme_future: meta(45, 'lab', 'Acme Next', {
    phone: {
      quality_rating: 'TURQUOISE',
      status: 'HIBERNATING',
      whatsapp_business_manager_messaging_limit: 'TIER_5M',
    },
  }),
  // Meta has blocked the app of the access token (200, "API access blocked."); a new token would not help.
  wa_acme_gym: meta(46, 'gym', 'Academia Força', { ageMinutes: 70, refresh: [] }),
  // The id of the number is stored as the id of its account too, so the account cannot be read.
  wa_acme_mill: meta(47, 'retail', 'Acme Moinho', {
    stored: { wabaId: '100000000047' },
    refresh: ['waba'],
  }),
  // The ids of the number and of its account are stored in each other's place, so nothing can be read.
  wa_acme_farm: meta(48, 'retail', 'Acme Fazenda', {
    stored: { phoneNumberId: '200000000011', wabaId: '100000000048' },
    ageMinutes: null,
    refresh: [],
  }),
  // The id of another account is stored: Meta's health status names the right one.
  wa_acme_port: meta(49, 'retail', 'Acme Porto', {
    stored: { wabaId: '200000000012' },
  }),
  // The stored digits differ from those that Meta shows for the phone number id.
  wa_acme_craft: meta(71, 'retail', 'Acme Artesanato', { stored: { number: '5511900000172' } }),
  // The next four change while the demo runs: demo/script.ts. They begin healthy. The quality of this one falls.
  wa_acme_studio: meta(77, 'studio', 'Acme Estúdio'),
  // It asks for another name.
  wa_acme_ballet: meta(73, 'studio', 'Acme Balé'),
  // Its PIN is removed, and its profile changes.
  wa_acme_choir: meta(74, 'studio', 'Acme Coral'),
  // Its session disconnects.
  wa_acme_van: session('acme', 75, 'Acme Van', 'open', 'OPEN', { refresh: [] }),
  // Connected by QR code; the session engine reports it open.
  wa_acme_shop: session('acme', 51, 'Loja do Centro', 'open', 'OPEN', { refresh: [] }),
  // Connecting: the QR code has to be scanned.
  wa_acme_courier: session('acme', 52, 'Acme Motoboys', 'connecting', 'CONNECTING', {
    refresh: [],
  }),
  // Closed: the phone was logged out.
  wa_acme_night: session('acme', 53, 'Plantão Noturno', 'close', 'CLOSE', { refresh: [] }),
  // Added as OPEN and never refreshed, which is no evidence; its live status is CLOSE.
  wa_acme_kiosk: session('acme', 54, 'Quiosque da Praia', 'close', 'OPEN'),
  // Stored as OPEN, but the session engine has no such instance: CLOSE, and it cannot send.
  wa_acme_lost: session('acme', 55, 'Feira de Domingo', null, 'OPEN', { refresh: [] }),
  // No instance name is stored, so it cannot be refreshed.
  wa_acme_legacy: session('acme', 56, 'Acme Antigo', null, 'CLOSE', { instance: null }),
  // The session engine refuses the gateway's key for this number, so it is unknown whether it can send.
  wa_acme_market: session('acme', 57, 'Mercado Municipal', 'open', 'OPEN', {
    ageMinutes: 20,
    fault: { kind: 'error', code: 401, status: 401 },
    refresh: [],
  }),
  // The session engine has the instance and gives no state, as after a restart that did not load it.
  wa_acme_bazaar: session('acme', 58, 'Bazar da Esquina', 'unloaded', 'OPEN', { refresh: [] }),
  // The session engine fails with 503 for this number; the stored state is kept.
  wa_acme_fair: session('acme', 59, 'Feira do Livro', 'open', 'OPEN', {
    ageMinutes: 20,
    fault: { kind: 'error', code: 503, status: 503 },
    refresh: [],
  }),
  // Belongs to another tenant: with an Acme key it is not found.
  wa_borealis_booking: meta(61, 'travel', 'Borealis Bokning'),
  // Belongs to another tenant, on the same account as the number above.
  wa_borealis_desk: meta(62, 'travel', 'Borealis Kundtjänst', {
    phone: { quality_rating: 'YELLOW' },
  }),
  // Belongs to another tenant, connected by QR code.
  wa_borealis_night: session('borealis', 63, 'Borealis Jour', 'open', 'OPEN', { refresh: [] }),
};

function waba(
  tenant: DemoTenant,
  line: number,
  name: string,
  country: keyof typeof countries,
  limit: string,
  vertical: string,
  more: Partial<DemoWaba> = {},
): DemoWaba {
  return { tenant, line, name, country, limit, vertical, ...more };
}

function meta(
  line: number,
  account: DemoMetaNumber['waba'],
  name: string,
  more: Partial<DemoMetaNumber> = {},
): DemoMetaNumber {
  return { line, waba: account, name, ...more };
}

function session(
  tenant: DemoTenant,
  line: number,
  name: string,
  engine: DemoSessionNumber['engine'],
  state: ConnectionState,
  more: Partial<DemoSessionNumber> = {},
): DemoSessionNumber {
  return { tenant, line, name, instance: `${tenant}-${line}`, engine, state, ...more };
}

function error(error_code: number, error_description: string, possible_solution: string): unknown {
  return { error_code, error_description, possible_solution };
}
