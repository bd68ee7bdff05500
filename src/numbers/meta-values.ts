// The kinds of values that Meta's fields have, and how each is decoded.

import { type JsonObject, toInt, toObject } from '../json.ts';
import { toStoredUrl } from './webhook-route.ts';

/** Whether Meta lets messages through one of the entities that send them: number, account, business or app. */
export interface HealthEntity {
  /** PHONE_NUMBER, WABA, BUSINESS, APP or a later word. */
  readonly entityType: string;
  readonly id: string | null;
  /** AVAILABLE, LIMITED, BLOCKED or a later word. */
  readonly canSendMessage: string | null;
  readonly additionalInfo: readonly string[];
  readonly errors: readonly HealthError[];
}

export interface HealthError {
  readonly code: number | null;
  readonly description: string | null;
  readonly possibleSolution: string | null;
}

/** https://developers.facebook.com/docs/whatsapp/cloud-api/health-status */
export interface HealthStatus {
  readonly canSendMessage: string | null;
  readonly entities: readonly HealthEntity[];
}

/** The types of values, by the kind of a field. */
export interface Kinds {
  readonly text: string;
  readonly texts: readonly string[];
  readonly boolean: boolean;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly word: string;
  readonly health: HealthStatus;
  /** As `toStoredUrl` returns it. */
  readonly webhookUrl: string;
  /** The ids of apps. */
  readonly apps: readonly string[];
}

type Decoder = (value: unknown) => Kinds[keyof Kinds] | null;

/** Null for a value that is missing or of another type. */
export const decoders: Readonly<Record<keyof Kinds, Decoder>> = {
  text: toText,
  texts: (value) => (Array.isArray(value) ? toTexts(value) : null),
  boolean: (value) => (typeof value === 'boolean' ? value : null),
  time: toTime,
  // Some businesses have an empty vertical.
  word: (value) => toText(value) || null,
  health: toHealthStatus,
  webhookUrl: toStoredUrl,
  apps: toApps,
};

// PostgreSQL stores neither NUL nor half of a surrogate pair, and one string must not fail the whole block.
function toText(value: unknown): string | null {
  if (typeof value === 'string') return value.toWellFormed().replaceAll('\0', '\uFFFD');
  return typeof value === 'number' ? String(value) : null;
}

/** Meta keeps a place for a second web address, which then is empty. */
function toTexts(values: readonly unknown[]): readonly string[] {
  return values
    .map(toText)
    .filter((text) => text !== null)
    .filter((text) => text.trim() !== '');
}

// Graph writes 2026-07-01T08:30:00+0000, without the colon that ISO 8601 and Date.parse need.
function toTime(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const time = Date.parse(value.replace(/([+-]\d{2})(\d{2})$/, '$1:$2'));
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

function toHealthStatus(value: unknown): HealthStatus | null {
  const health = toObject(value);
  if (health === null) return null;
  return {
    canSendMessage: toText(health['can_send_message']),
    entities: toObjects(health['entities']).map((entity) => ({
      entityType: toText(entity['entity_type']) ?? 'UNKNOWN',
      id: toText(entity['id']),
      canSendMessage: toText(entity['can_send_message']),
      additionalInfo: Array.isArray(entity['additional_info'])
        ? toTexts(entity['additional_info'])
        : [],
      errors: toObjects(entity['errors']).map((error) => ({
        code: toErrorCode(error['error_code']),
        description: toText(error['error_description']),
        possibleSolution: toText(error['possible_solution']),
      })),
    })),
  };
}

/** Of the edge `subscribed_apps`, which Graph expands in the fields of the account. */
function toApps(value: unknown): readonly string[] | null {
  const data = toObject(value)?.['data'];
  if (!Array.isArray(data)) return null;
  const apps = data.map((app) => toObject(toObject(app)?.['whatsapp_business_api_data']));
  return apps.map((app) => toText(app?.['id']) ?? '');
}

/** Meta sends codes as numbers or as text. */
function toErrorCode(value: unknown): number | null {
  return toInt(typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value);
}

function toObjects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.map(toObject).filter((item) => item !== null) : [];
}
