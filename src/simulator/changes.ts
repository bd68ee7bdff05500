// What can happen at the simulated Meta and session engine while they run. A change returns what Meta announces of it by
// webhook; much of what changes is never announced.
// https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components

import { toObject } from '../json.ts';
import type { Fault } from './faults.ts';
import type { Fleet, SimulatedInstance, SimulatedPhone, SimulatedWaba } from './fleet.ts';

/** One change in the body of a webhook. */
export interface Announcement {
  /** The id of the account; for an event about partners that of the portfolio. */
  readonly entryId: string;
  readonly field: string;
  readonly value: Readonly<Record<string, unknown>>;
}

export type ChangeableFleet = Fleet & { setFault(id: string, fault: Fault | null): void };

/** Throws when the fleet lacks what is to change. */
export type FleetChange = (fleet: ChangeableFleet, now: Date) => readonly Announcement[];

/** Several changes as one. */
export function combine(...changes: readonly FleetChange[]): FleetChange {
  return (fleet, now) => changes.flatMap((change) => change(fleet, now));
}

type Fields = Readonly<Record<string, unknown>>;

/** Fields of the Graph API, for what is never announced: the quality rating, the health status, most of the status. */
export function changePhone(id: string, fields: Fields): FleetChange {
  return (fleet) => (setPhoneFields(fleet, id, fields), []);
}

export function changeProfile(id: string, profile: Fields): FleetChange {
  return (fleet) => {
    const phone = getPhone(fleet, id);
    fleet.setPhone({ ...phone, profile: { ...phone.profile, ...profile } });
    return [];
  };
}

/** Fields of the Graph API, for what is never announced. */
export function changeWaba(id: string, fields: Fields): FleetChange {
  return (fleet) => (setWabaFields(fleet, id, fields), []);
}

/** The quality of a phone is so low that Meta flags it: it may lose its messaging limit. */
export function flag(phoneId: string): FleetChange {
  return (fleet) => [
    announceQuality(
      setPhoneFields(fleet, phoneId, { quality_rating: 'RED', status: 'FLAGGED' }),
      'FLAGGED',
    ),
  ];
}

/** The quality of a phone is high again. */
export function unflag(phoneId: string): FleetChange {
  return (fleet) => [
    announceQuality(
      setPhoneFields(fleet, phoneId, { quality_rating: 'GREEN', status: 'CONNECTED' }),
      'UNFLAGGED',
    ),
  ];
}

export function changeThroughput(phoneId: string, level: 'STANDARD' | 'HIGH'): FleetChange {
  return (fleet) => {
    const phone = setPhoneFields(fleet, phoneId, { throughput: { level } });
    return [
      announceQuality(phone, level === 'HIGH' ? 'THROUGHPUT_UPGRADE' : 'THROUGHPUT_DOWNGRADE'),
    ];
  };
}

/** Also makes one of another account a phone of this one. */
export function addPhone(phone: SimulatedPhone): FleetChange {
  return (fleet) => {
    fleet.setPhone(phone);
    return [announceQuality(phone, 'ONBOARDING')];
  };
}

export function removePhone(id: string): FleetChange {
  return (fleet) => {
    getPhone(fleet, id);
    fleet.removePhone(id);
    return [];
  };
}

export type NameDecision = 'APPROVED' | 'DEFERRED' | 'PENDING' | 'REJECTED';

/** Meta decides about a display name that was asked for. */
export function decideName(
  phoneId: string,
  { name, decision, reason = null }: NameRequest,
): FleetChange {
  return (fleet) => {
    const isApproved = decision === 'APPROVED';
    const name_status = isApproved
      ? 'APPROVED'
      : decision === 'REJECTED'
        ? 'DECLINED'
        : 'PENDING_REVIEW';
    const fields = { name_status, ...(isApproved && { verified_name: name }) };
    const phone = setPhoneFields(fleet, phoneId, fields);
    const value = { decision, requested_verified_name: name, rejection_reason: reason };
    return [announcePhone(phone, 'phone_number_name_update', value)];
  };
}

export interface NameRequest {
  readonly name: string;
  readonly decision: NameDecision;
  /** For example `NAME_FORMAT_UNACCEPTABLE`. */
  readonly reason?: string | null;
}

/** What somebody does with the PIN of a phone in WhatsApp Manager. */
export function changePin(
  phoneId: string,
  event: 'PIN_CHANGED' | 'PIN_RESET_REQUEST' | 'PIN_REQUEST_SUCCESS',
  requester?: string,
): FleetChange {
  return (fleet) => {
    // A request alone changes nothing; once it succeeds, the phone has no PIN.
    const fields = event === 'PIN_RESET_REQUEST' ? {} : { is_pin_enabled: event === 'PIN_CHANGED' };
    const phone = setPhoneFields(fleet, phoneId, fields);
    return [announcePhone(phone, 'security', { event, ...(requester && { requester }) })];
  };
}

/** The messaging limit of a portfolio, which all accounts and phones in it share. */
export function changeLimit(businessId: string, limit: string): FleetChange {
  return (fleet) => {
    const fields = { whatsapp_business_manager_messaging_limit: limit };
    const wabas = fleet.listWabas().filter((waba) => toBusinessId(waba) === businessId);
    if (wabas.length === 0) throw new Error(`The simulator has no account of ${businessId}.`);
    return wabas.map(({ id }) => {
      setWabaFields(fleet, id, fields);
      for (const phone of fleet.listPhones(id)) setPhoneFields(fleet, phone.id, fields);
      return { entryId: id, field: 'business_capability_update', value: toCapability(limit) };
    });
  };
}

/** As Meta's example has it, a number; -1 for no limit. */
function toCapability(limit: string): Fields {
  const counts: Readonly<Record<string, number>> = {
    TIER_50: 50,
    TIER_250: 250,
    TIER_2K: 2_000,
    TIER_10K: 10_000,
    TIER_100K: 100_000,
    TIER_UNLIMITED: -1,
  };
  return {
    max_daily_conversations_per_business: counts[limit] ?? limit,
    ...(limit === 'TIER_250'
      ? { max_phone_numbers_per_business: 2 }
      : { max_phone_numbers_per_waba: 25 }),
  };
}

export function reviewAccount(
  wabaId: string,
  decision: 'APPROVED' | 'PENDING' | 'REJECTED',
): FleetChange {
  return (fleet) => {
    setWabaFields(fleet, wabaId, { account_review_status: decision });
    return [{ entryId: wabaId, field: 'account_review_update', value: { decision } }];
  };
}

export interface AccountRestriction {
  /** For example `RESTRICTED_BIZ_INITIATED_MESSAGING`. */
  readonly type: string;
  readonly expiresAt: Date;
  readonly remediation?: string;
}

/** Everything that the account is restricted from; the Graph API does not tell. Some relays send the end as text. */
export function restrictAccount(
  wabaId: string,
  restrictions: readonly AccountRestriction[],
  form: 'seconds' | 'text' = 'seconds',
): FleetChange {
  const restriction_info = restrictions.map(({ type, expiresAt, remediation }) => ({
    restriction_type: type,
    expiration:
      form === 'seconds'
        ? Math.floor(expiresAt.getTime() / 1_000)
        : `${expiresAt.toISOString().slice(0, 19)}+0000`,
    ...(remediation !== undefined && { remediation }),
  }));
  return announceAccount(wabaId, { event: 'ACCOUNT_RESTRICTION', restriction_info });
}

/** While an account is disabled, the Graph API refuses to read it and its phones. */
export function banAccount(
  wabaId: string,
  state: 'DISABLE' | 'REINSTATE' | 'SCHEDULE_FOR_DISABLE',
  date: string,
): FleetChange {
  return (fleet, now) => {
    const fault: Fault | null = state === 'DISABLE' ? { kind: 'error', code: 368 } : null;
    if (state !== 'SCHEDULE_FOR_DISABLE') {
      const ids = [wabaId, ...fleet.listPhones(wabaId).map(({ id }) => id)];
      for (const id of ids) fleet.setFault(id, fault);
    }
    const ban_info = { waba_ban_state: state, waba_ban_date: date };
    return announceAccount(wabaId, { event: 'DISABLED_UPDATE', ban_info })(fleet, now);
  };
}

/** An `account_update` that changes nothing that the Graph API tells: violations, partners, offboarding. */
export function announceAccount(wabaId: string, value: Fields): FleetChange {
  return (fleet) => {
    getWaba(fleet, wabaId);
    return [{ entryId: wabaId, field: 'account_update', value }];
  };
}

/** A partner, here the owner of the access token, gets or loses access to an account. */
export function changePartner(
  wabaId: string,
  event: 'PARTNER_ADDED' | 'PARTNER_REMOVED',
): FleetChange {
  return (fleet) => {
    const owner = toBusinessId(getWaba(fleet, wabaId)) ?? wabaId;
    const value = { event, waba_info: { waba_id: wabaId, owner_business_id: owner } };
    return [{ entryId: owner, field: 'account_update', value }];
  };
}

export function alertAccount(wabaId: string, alert: AccountAlert): FleetChange {
  return (fleet) => {
    const waba = getWaba(fleet, wabaId);
    const { type, description, severity = 'WARNING', phoneId } = alert;
    const entity =
      phoneId === undefined
        ? { entity_type: 'BUSINESS', entity_id: toBusinessId(waba) ?? wabaId }
        : { entity_type: 'PHONE_NUMBER', entity_id: getPhone(fleet, phoneId).id };
    const alert_info = {
      alert_severity: severity,
      alert_status: 'ACTIVE',
      alert_type: type,
      alert_description: description,
    };
    return [{ entryId: wabaId, field: 'account_alerts', value: { ...entity, alert_info } }];
  };
}

export interface AccountAlert {
  /** For example `PROFILE_PICTURE_LOST`. */
  readonly type: string;
  readonly description: string;
  readonly severity?: 'CRITICAL' | 'INFORMATIONAL' | 'WARNING';
  /** For an alert about one phone. */
  readonly phoneId?: string;
}

/** Of a fleet in which tokens are registered. Meta does not announce that it refuses a token. */
export function changeToken(token: string, state: 'valid' | 'expired' | 'invalid'): FleetChange {
  return (fleet) => {
    const found = fleet.findToken(token);
    if (found === undefined) throw new Error('The simulator has no such token.');
    fleet.setToken({ ...found, state });
    return [];
  };
}

/** Of the session engine. */
export function changeSession(
  instanceName: string,
  state: SimulatedInstance['state'],
): FleetChange {
  return (fleet) => (fleet.setInstance({ instanceName, state }), []);
}

function getPhone(fleet: Fleet, id: string): SimulatedPhone {
  const phone = fleet.findPhone(id);
  if (phone === undefined) throw new Error(`The simulator has no phone ${id}.`);
  return phone;
}

function getWaba(fleet: Fleet, id: string): SimulatedWaba {
  const waba = fleet.findWaba(id);
  if (waba === undefined) throw new Error(`The simulator has no account ${id}.`);
  return waba;
}

function setPhoneFields(fleet: Fleet, id: string, fields: Fields): SimulatedPhone {
  const phone = getPhone(fleet, id);
  const changed = { ...phone, fields: { ...phone.fields, ...fields } };
  fleet.setPhone(changed);
  return changed;
}

function setWabaFields(fleet: Fleet, id: string, fields: Fields): void {
  const waba = getWaba(fleet, id);
  fleet.setWaba({ ...waba, fields: { ...waba.fields, ...fields } });
}

function toBusinessId({ fields }: SimulatedWaba): string | undefined {
  const id = toObject(fields['owner_business_info'])?.['id'];
  return typeof id === 'string' ? id : undefined;
}

function announcePhone({ wabaId, fields }: SimulatedPhone, field: string, value: Fields) {
  // Webhooks have the digits only, and no phone number id.
  const digits = String(fields['display_phone_number'] ?? '').replaceAll(/\D/g, '');
  return { entryId: wabaId, field, value: { display_phone_number: digits, ...value } };
}

/** Despite its name it does not tell the quality. The limit has two names, of which Meta's example has the old one. */
function announceQuality(phone: SimulatedPhone, event: string): Announcement {
  const limit = phone.fields['whatsapp_business_manager_messaging_limit'];
  return announcePhone(phone, 'phone_number_quality_update', {
    event,
    current_limit: limit,
    max_daily_conversations_per_business: limit,
  });
}
