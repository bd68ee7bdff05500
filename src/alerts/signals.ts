// What a change says about the rules of alerts. Pure.

import type { NumberChange } from '../history/change.ts';
import { type RuleName, ruleNames } from './rules.ts';

/**
 * RAISE: the cause is there; STAY: if it is there, it stays, with another value; CLEAR: it is there no more; NOTE: something has
 * happened, which is over at once.
 */
export interface Signal {
  readonly kind: 'RAISE' | 'STAY' | 'CLEAR' | 'NOTE';
  readonly rule: RuleName;
  readonly scope: 'NUMBER' | 'ACCOUNT' | 'PORTFOLIO' | 'TOKEN';
  /** The id of the number, the account, the portfolio or the shared token. */
  readonly subject: string;
  /** What has a cause: the subject itself, or of an account, one of several restrictions. */
  readonly member: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
}

/** What is read of a change. */
export interface ReadChange extends Pick<
  NumberChange,
  'numberId' | 'wabaId' | 'kind' | 'field' | 'previousValue' | 'newValue'
> {
  /** Of a verdict that follows UNKNOWN: the one before it, or null. */
  readonly knownVerdict?: string | null;
  /** Whether it comes from the first read of a number of Meta's: the state before it was assumed. */
  readonly isFirstRead?: boolean;
}

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
  VERDICT({ previousValue, newValue, knownVerdict = null }) {
    if (newValue === 'YES') return [['CLEAR', 'SENDABLE_LOST']];
    // UNKNOWN says nothing, and a number that never could send has lost nothing.
    const known = previousValue === 'UNKNOWN' ? knownVerdict : previousValue;
    return newValue === 'NO' && known === 'YES' ? [['RAISE', 'SENDABLE_LOST']] : [];
  },
  STATE({ previousValue, newValue, isFirstRead = false }) {
    if (newValue === 'OPEN') return [['CLEAR', 'DISCONNECTED']];
    // A number that was not connected has lost no connection.
    return previousValue === 'OPEN' && !isFirstRead ? [['RAISE', 'DISCONNECTED']] : [];
  },
  QUALITY_RATING({ previousValue, newValue }) {
    const rank = toQualityRank(newValue);
    if (rank === 0) return [['CLEAR', 'QUALITY_DROPPED']];
    // Null: nothing was known of it.
    const hasDropped = previousValue !== null && toQualityRank(previousValue) < rank;
    return [[hasDropped ? 'RAISE' : 'STAY', 'QUALITY_DROPPED']];
  },
  META_STATUS({ previousValue, newValue }) {
    const isBanned = newValue === 'BANNED';
    // Null: the ids of the number have changed, so nothing is known any more.
    const isOver = isBanned || newValue === 'CONNECTED' || newValue === null;
    // A number that never was CONNECTED has lost nothing. The end of a ban leaves what the ban has hidden.
    const isLost = previousValue === 'CONNECTED' || previousValue === 'BANNED';
    const change = isLost ? 'RAISE' : 'STAY';
    return [
      [isBanned ? 'RAISE' : 'CLEAR', 'ACCOUNT_BANNED'],
      [isOver ? 'CLEAR' : change, 'STATUS_CHANGED'],
    ];
  },
  MESSAGING_LIMIT_TIER: noteLimit,
  ACCOUNT_MESSAGING_LIMIT_TIER: noteLimit,
  NAME_STATUS: ({ newValue }) =>
    newValue === 'APPROVED' || newValue === 'DECLINED' ? [['NOTE', 'NAME_DECIDED']] : [],
  SECURITY: ({ newValue }) =>
    newValue === 'PIN_RESET_REQUEST' ? [['NOTE', 'PIN_RESET_REQUESTED']] : [],
  READ_FAILING(change) {
    if (!isMainRead(change)) return [];
    // A later failure may be another one.
    const isDenied = change.newValue === 'META_ACCESS_DENIED';
    return [
      ['CLEAR', isDenied ? 'READS_FAILING' : 'TOKEN_REJECTED'],
      ['RAISE', isDenied ? 'TOKEN_REJECTED' : 'READS_FAILING'],
    ];
  },
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

/** 0 also for one that Meta has not rated, or rates with another word. */
function toQualityRank(value: string | null): number {
  return ['YELLOW', 'RED'].indexOf(value ?? '') + 1;
}

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
