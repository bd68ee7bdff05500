// What a change says about the rules of alerts. Pure.

import type { NumberChange } from '../history/change.ts';
import { type RuleName, ruleNames } from './rules.ts';

/** RAISE: the cause is there; CLEAR: it is there no more; NOTE: something has happened, which is over at once. */
export interface Signal {
  readonly kind: 'RAISE' | 'CLEAR' | 'NOTE';
  readonly rule: RuleName;
  readonly scope: 'NUMBER' | 'ACCOUNT' | 'TOKEN';
  /** The id of the number, the account or the shared token. */
  readonly subject: string;
  /** What has a cause: the subject itself, or of an account, one of several restrictions. */
  readonly member: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
}

/** What is read of a change. */
export type ReadChange = Pick<
  NumberChange,
  'numberId' | 'wabaId' | 'kind' | 'field' | 'previousValue' | 'newValue'
>;

type Said = readonly [kind: Signal['kind'], rule: RuleName];

/** In the order in which they apply. */
export function toSignals(change: ReadChange): readonly Signal[] {
  const { numberId, wabaId, kind, field, previousValue, newValue } = change;
  const subject = numberId ?? wabaId;
  if (subject === null) return [];
  const scope = numberId === null ? 'ACCOUNT' : 'NUMBER';
  if (kind === 'REMOVED') {
    return ruleNames.map((rule) => ({
      kind: 'CLEAR',
      rule,
      scope,
      subject,
      member: subject,
      previousValue,
      newValue,
    }));
  }
  const member = kind === 'RESTRICTION' ? toRestriction(newValue ?? previousValue) : subject;
  const read = readers[kind === 'FIELD' || kind === 'VERDICT' ? (field ?? '') : kind];
  return (read?.(change) ?? []).map(([signal, rule]) => ({
    kind: signal,
    rule,
    scope,
    subject,
    member,
    previousValue,
    newValue,
  }));
}

/** By the field of a change of kind FIELD or VERDICT, and by the kind of any other one. */
const readers: Readonly<Record<string, (change: ReadChange) => readonly Said[]>> = {
  VERDICT({ previousValue, newValue }) {
    if (newValue === 'YES') return [['CLEAR', 'SENDABLE_LOST']];
    // The first verdict of a number is nothing that was lost, and UNKNOWN says nothing.
    return newValue === 'NO' && previousValue !== null ? [['RAISE', 'SENDABLE_LOST']] : [];
  },
  STATE: ({ newValue }) => [[newValue === 'OPEN' ? 'CLEAR' : 'RAISE', 'DISCONNECTED']],
  QUALITY_RATING({ newValue }) {
    if (newValue === 'GREEN') return [['CLEAR', 'QUALITY_DROPPED']];
    return newValue === 'YELLOW' || newValue === 'RED' ? [['RAISE', 'QUALITY_DROPPED']] : [];
  },
  META_STATUS: ({ newValue }) => [
    [newValue === 'BANNED' ? 'RAISE' : 'CLEAR', 'ACCOUNT_BANNED'],
    // Null: the ids of the number have changed, so nothing is known any more.
    [newValue === 'CONNECTED' || newValue === null ? 'CLEAR' : 'RAISE', 'STATUS_CHANGED'],
  ],
  MESSAGING_LIMIT_TIER: noteLimit,
  ACCOUNT_MESSAGING_LIMIT_TIER: noteLimit,
  NAME_STATUS: ({ newValue }) =>
    newValue === 'APPROVED' || newValue === 'DECLINED' ? [['NOTE', 'NAME_DECIDED']] : [],
  SECURITY: ({ newValue }) =>
    newValue === 'PIN_RESET_REQUEST' ? [['NOTE', 'PIN_RESET_REQUESTED']] : [],
  READ_FAILING: (change) =>
    isMainRead(change)
      ? [['RAISE', change.newValue === 'META_ACCESS_DENIED' ? 'TOKEN_REJECTED' : 'READS_FAILING']]
      : [],
  READ_RECOVERED: (change) =>
    isMainRead(change)
      ? [
          ['CLEAR', 'TOKEN_REJECTED'],
          ['CLEAR', 'READS_FAILING'],
        ]
      : [],
  ACCOUNT_WEBHOOK({ newValue }) {
    // UNKNOWN proves neither; null: the tenant has no endpoint any more.
    if (newValue === 'UNKNOWN') return [];
    const isLost = newValue === 'SILENT' || newValue === 'MISROUTED';
    return [[isLost ? 'RAISE' : 'CLEAR', 'WEBHOOK_SILENT']];
  },
  RESTRICTION: ({ newValue }) =>
    newValue === null
      ? [
          ['CLEAR', 'RESTRICTED'],
          ['NOTE', 'RESTRICTION_LIFTED'],
        ]
      : [['RAISE', 'RESTRICTED']],
};

/** The first value and the last one are no changes of the limit. */
function noteLimit({ previousValue, newValue }: ReadChange): readonly Said[] {
  return previousValue === null || newValue === null ? [] : [['NOTE', 'LIMIT_CHANGED']];
}

/** Of what the verdict is based on. Other parts of a number may fail without harm. */
function isMainRead({ field }: ReadChange): boolean {
  return field === 'PHONE' || field === 'CONNECTION';
}

function toRestriction(value: string | null): string {
  const { type } = JSON.parse(value ?? '{}') as { readonly type?: string };
  return type ?? 'UNRECOGNIZED';
}
