// The changes of a tenant's numbers and accounts: what each holds. Triggers write them, see
// migrations/0023_record_changes.ts.

import type { KeyHint } from '../access/key.ts';
import type { Timestamp } from '../numbers/number.ts';

/** The kinds of changes, and what each means to somebody who reads the history. A later release may add kinds. */
export const changeKinds = {
  ADDED:
    'A number was added, or a block of it or an account was read for the first time. `newValue` has the fields that were read, as a JSON object from `field` to value; it is null for a number that has not been read.',
  REMOVED: 'A number was removed from the gateway, or an account has no number in it any more.',
  FIELD: '`field` changed from `previousValue` to `newValue`.',
  VERDICT:
    'The answer to whether the number may send changed: `field` is VERDICT or REPLY_VERDICT, the values are YES, NO and UNKNOWN; null before the first one.',
  READ_FAILING:
    'Reads began to fail, or began or ceased to fail because Meta refuses them. `field` says of what, `newValue` is the code of the error. What was read before stays.',
  READ_RECOVERED:
    'Reads fail no more: one has succeeded, or the cause was removed, for example by a new access token. `field` says of what, `previousValue` is the code of the last error.',
  GAP: 'Nothing was known of the number from `previousValue` to `newValue`, both times: the last read had become too old, and this is the next one.',
  LABELS: 'The labels of the number changed. The values are JSON lists of labels; null for none.',
  MUTE: 'Alerts of the number were silenced, or are silent no longer. The values are JSON objects with `until` and `note`; null when they were not silenced. The end of the time is no change.',
  REFRESH:
    'Somebody has asked for reads of numbers in the background, with `refreshNumbers`. It is one change for the whole request: `newValue` is a JSON object with `blocks`, `acceptedCount` and `plannedCalls`. It is a change of the number if only one is read, otherwise of neither a number nor an account. What the reads change comes after it.',
  RESTRICTION:
    'Meta has restricted an account, or a restriction has another end, or it has ended. The values are JSON objects with `type` and `expiresAt`; `previousValue` is null for a new restriction, `newValue` for one that has ended.',
  SECURITY:
    "Somebody changed, or asked to reset, the PIN of the number's two-step verification in WhatsApp Manager: `newValue` is Meta's word, such as PIN_CHANGED, PIN_RESET_REQUEST or PIN_REQUEST_SUCCESS. It is a change of the account if the account has no such number here.",
  INCIDENT:
    'An incident was opened, closed or acknowledged. The values are JSON objects with its `id`, `rule`, `severity`, `state`, `scope` and more; `previousValue` is null for a new one. It is a change of a number or of an account if the incident is about one, otherwise of neither.',
  ENDPOINT:
    'An endpoint for alerts was added or removed, or switched on or off. The values are JSON objects with its `id`, `host`, `format` and `state`, and `reason` if it is off: GONE or FAILING. It is a change of neither a number nor an account.',
} as const satisfies Record<string, string>;

export type ChangeKind = keyof typeof changeKinds;

/** What caused a change. */
export const changeSources = {
  READ: 'A read from Meta or from the session engine, for which a caller or an operator asked.',
  SYNC: 'A read from Meta or from the session engine in the background, for which nobody or a webhook asked.',
  COMMAND_LINE: "A command of the gateway's operator.",
  API: 'A mutation, or the same request over REST; `actor` says with which API key.',
  EXTERNAL: 'Other software that writes to the database, such as the session engine.',
  CLOCK: 'Time: the last read became too old, or a restriction of the account has ended.',
  UPKEEP:
    'The gateway, which applied new rules about sending, or followed what other software has written.',
  WEBHOOK: 'An event that Meta sent to a webhook of the tenant.',
  ALERTS: 'The gateway, which evaluated the rules of alerts, or delivered them.',
} as const satisfies Record<string, string>;

export type ChangeSource = keyof typeof changeSources;

/** Who made a change. */
export const changeActors = {
  KEY: 'Somebody with an API key; see `key`.',
  COMMAND_LINE: "The gateway's operator, with a command.",
  SYSTEM: 'The gateway itself.',
} as const satisfies Record<string, string>;

export type ChangeActor = keyof typeof changeActors;

export interface NumberChange {
  /** The place in the order of the tenant, from 1 without gaps. */
  readonly sequence: number;
  /** Of this change: the next page begins after it. */
  readonly cursor: string;
  /** Null for a change that is not of a number. The number may have been removed since. */
  readonly numberId: string | null;
  /** Meta's id of the account; null for a change that is not of an account. */
  readonly wabaId: string | null;
  readonly kind: string;
  /** Null for a change of no single field. */
  readonly field: string | null;
  /** As REST shows values; null when there was none. */
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
  /** The id of the API key that caused it; null for anybody else. */
  readonly actorKeyId: string | null;
  /** What may be shown of that key; null also for one that does not exist any more. */
  readonly actorKey: KeyHint | null;
  /** Changes that one read of one number found have the same one. */
  readonly observation: string | null;
  /** When it was observed. */
  readonly occurredAt: Timestamp;
  /** When it was stored. */
  readonly recordedAt: Timestamp;
}

/** Null when it is not known: what Meta or other software changes has no actor here. */
export function toActorType({ actorKeyId, source }: NumberChange): ChangeActor | null {
  if (actorKeyId !== null) return 'KEY';
  if (source === 'COMMAND_LINE') return 'COMMAND_LINE';
  return source === 'CLOCK' || source === 'UPKEEP' || source === 'ALERTS' ? 'SYSTEM' : null;
}

/** A change must match every member that is given, and any of the values of a member. */
export interface ChangeFilter {
  readonly numberIds?: readonly string[] | null | undefined;
  readonly wabaIds?: readonly string[] | null | undefined;
  readonly kinds?: readonly string[] | null | undefined;
  readonly fields?: readonly string[] | null | undefined;
}

export interface ChangePage {
  /** In the order of their commits, oldest first. */
  readonly changes: readonly NumberChange[];
  /** Of the last change that this page covers, also of one that the filter leaves out. */
  readonly cursor: string;
  /** When the page was read. */
  readonly time: Timestamp;
  /** Whether there were no later changes at that time. */
  readonly caughtUp: boolean;
}
