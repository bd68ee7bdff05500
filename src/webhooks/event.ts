// Reads the body of a webhook of Meta: which events it holds, and what of each may be stored.

import { hash } from 'node:crypto';
import { GatewayError } from '../errors.ts';

/** An event about an account, its numbers or its templates. */
export interface MetaEvent {
  /** SHA-256 in hex. Meta gives events no id; a repetition has the same digest. */
  readonly digest: string;
  /** The id of the WhatsApp Business account. */
  readonly wabaId: string;
  /** Meta's name for the kind of events, for example `account_update`. */
  readonly field: string;
  /** What happened, in Meta's word; null for a field without one. */
  readonly event: string | null;
  /** The digits of the number that it names, if it does. */
  readonly phone: string | null;
  /** JSON; null when it is not stored. */
  readonly payload: string | null;
  /** Null when Meta gave no time. */
  readonly happenedAt: Date | null;
  /** Why the payload is not stored. */
  readonly outcome: 'RECEIVED' | 'UNKNOWN_FIELD' | 'TOO_LARGE';
}

/** What a body held, by kinds of a fixed set. */
export type EventKind = (typeof knownFields)[number] | 'messages' | 'statuses' | 'other';

export interface Delivery {
  readonly events: readonly MetaEvent[];
  /** Contents that are not stored: messages and their statuses, and changes that cannot be read. */
  readonly dropped: readonly EventKind[];
}

/** The fields whose payload is stored. They hold nothing of a conversation. */
export const knownFields = [
  'account_alerts',
  'account_review_update',
  'account_settings_update',
  'account_update',
  'business_capability_update',
  'business_status_update',
  'message_template_components_update',
  'message_template_quality_update',
  'message_template_status_update',
  'partner_solutions',
  'payment_configuration_update',
  'phone_number_name_update',
  'phone_number_quality_update',
  'security',
  'template_category_update',
] as const;

/** The fields that carry conversations, contacts and calls. */
const conversationFields =
  /^(messages|.*message_echoes|message_(deliveries|reads|reactions|context)|messaging_\w+|standby|calls|consumer_profile|user_\w+|history|smb_\w+|group_\w+|flows)$/;

/** In characters. */
const maxPayloadLength = 65_536;

type Json = Readonly<Record<string, unknown>>;

/** Throws INVALID_REQUEST for a body that is no webhook. */
export function readDelivery(text: string): Delivery {
  const { object, entry } = toObject(parse(text)) ?? {};
  if (!Array.isArray(entry)) {
    throw new GatewayError('INVALID_REQUEST', 'The body must be a webhook of Meta, with entries.');
  }
  const events: MetaEvent[] = [];
  const dropped: EventKind[] = [];
  for (const item of entry.map(toObject)) {
    const changes = Array.isArray(item?.['changes']) ? item['changes'].map(toObject) : [];
    for (const change of changes) {
      const read = object === 'whatsapp_business_account' ? readChange(item!, change) : ['other'];
      if ('digest' in read) events.push(read);
      else dropped.push(...(read as readonly EventKind[]));
    }
  }
  return { events, dropped };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The message of the parser quotes the body.
    throw new GatewayError('INVALID_REQUEST', 'The body must be JSON.');
  }
}

function toObject(value: unknown): Json | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Json)
    : null;
}

/** The event, or what was dropped instead. */
function readChange(entry: Json, change: Json | null): MetaEvent | readonly EventKind[] {
  const field = toWord(change?.['field'], /^[a-z]\w{0,63}$/);
  const value = toObject(change?.['value']);
  if (field === null || value === null) return ['other'];
  if (conversationFields.test(field)) return countConversation(field, value);
  // For some events the entry is the business, and the value names the account.
  const wabaId = toId(toObject(value['waba_info'])?.['waba_id']) ?? toId(entry['id']);
  if (wabaId === null) return ['other'];
  const payload = toCanonicalJson(value);
  const outcome = toOutcome(field, payload);
  return {
    digest: hash('sha256', JSON.stringify([entry['id'], entry['time'], field, payload]), 'hex'),
    wabaId,
    field,
    event: toWord(value['event'] ?? value['decision'], /^\w{1,64}$/),
    phone: toDigits(value['display_phone_number']),
    payload: outcome === 'RECEIVED' ? payload : null,
    happenedAt: toTime(entry['time']),
    outcome,
  };
}

function toOutcome(field: string, payload: string): MetaEvent['outcome'] {
  // A field of a later version may carry messages, so its payload is not stored.
  if (!isKnown(field)) return 'UNKNOWN_FIELD';
  return payload.length > maxPayloadLength ? 'TOO_LARGE' : 'RECEIVED';
}

function isKnown(field: string): field is (typeof knownFields)[number] {
  return knownFields.some((known) => known === field);
}

/** The kind under which an event is counted. */
export function toKind({ field }: Pick<MetaEvent, 'field'>): EventKind {
  return isKnown(field) ? field : 'other';
}

function countConversation(field: string, value: Json): readonly EventKind[] {
  if (field !== 'messages') return ['other'];
  return (['messages', 'statuses'] as const).flatMap((kind) => {
    const listed = value[kind];
    return Array.isArray(listed) ? listed.map(() => kind) : [];
  });
}

/** With the members of objects in the order of their names, so that a relay that reorders them changes nothing. */
function toCanonicalJson(value: Json): string {
  try {
    return JSON.stringify(value, (_, member: unknown) => {
      const object = toObject(member);
      return object === null
        ? member
        : Object.fromEntries(Object.entries(object).toSorted(([a], [b]) => (a < b ? -1 : 1)));
    });
  } catch {
    throw new GatewayError('INVALID_REQUEST', 'The body is nested too deeply.');
  }
}

function toWord(value: unknown, format: RegExp): string | null {
  return typeof value === 'string' && format.test(value) ? value : null;
}

function toDigits(value: unknown): string | null {
  const digits = String(value ?? '').replaceAll(/\D/g, '');
  return /^\d{5,20}$/.test(digits) ? digits : null;
}

function toId(value: unknown): string | null {
  const text = typeof value === 'number' ? String(value) : value;
  return toWord(text, /^\d{1,32}$/);
}

/** Meta's times are seconds since 1970, as a number or as text. */
function toTime(value: unknown): Date | null {
  const seconds = toId(value);
  if (seconds === null) return null;
  const time = new Date(Number(seconds) * 1_000);
  // Milliseconds, by mistake of a relay, are in the far future.
  return time.getTime() > 0 && time.getTime() < 8_000_000_000_000 ? time : null;
}
