// What is wrong that no change reports: an access token that ends, an account that Meta has disabled, one that is read too
// rarely. Pure.

import type { EvaluationState } from './evaluation-state.ts';
import { findRule } from './rules.ts';
import type { Signal } from './signals.ts';

/** What is so at the moment of an evaluation; see `alert_causes` in migrations/0042_tell_failing_sync.ts. */
export interface Cause {
  readonly rule: (typeof causeRules)[number];
  readonly scope: 'ACCOUNT' | 'TOKEN';
  readonly subject: string;
  readonly value: string | null;
}

/** Each is open exactly while its cause is there. */
const causeRules = ['TOKEN_EXPIRING', 'ACCOUNT_BANNED', 'SYNC_LATE'] as const;

export interface CauseLimits {
  /** How long before its end a token is expiring. */
  readonly expiringMs: number;
  /**
   * An account is late that was not read for so long, and for twice as long as planned; null while nothing is read in the
   * background.
   */
  readonly lateMs: number | null;
}

const dayMs = 86_400_000;
const expiringDays = 7;
const minLateMs = 600_000;

/** `sweepSeconds`: from one read of an account's list of numbers to the next; null while nothing is read. */
export function toCauseLimits(sweepSeconds: number | null): CauseLimits {
  return {
    expiringMs: expiringDays * dayMs,
    lateMs: sweepSeconds === null ? null : Math.max(minLateMs, 2_000 * sweepSeconds),
  };
}

/** What the causes change of what is known. Their member is the subject itself. */
export function toCauseSignals(
  causes: readonly Cause[],
  { conditions, incidents }: Pick<EvaluationState, 'conditions' | 'incidents'>,
): readonly Signal[] {
  const known = new Map<string, Cause>();
  const note = (it: Pick<Signal, 'rule' | 'scope' | 'subject'>, members: Iterable<string>) => {
    const rule = causeRules.find((name) => name === it.rule);
    const { scope, subject } = it;
    if (rule === undefined || (scope !== 'ACCOUNT' && scope !== 'TOKEN')) return;
    if (![...members].includes(subject)) return;
    known.set(toKey({ rule, subject }), { rule, scope, subject, value: null });
  };
  for (const it of conditions.values()) note(it, [it.member]);
  for (const { scope, members, subject, rule } of incidents.values()) {
    if (findRule(rule).ofAccounts !== undefined) {
      for (const account of members) note({ rule, scope: 'ACCOUNT', subject: account }, [account]);
    } else if (scope === 'ACCOUNT' || scope === 'TOKEN') note({ rule, scope, subject }, members);
  }
  const current = new Set(causes.map(toKey));
  const gone = [...known].filter(([key]) => !current.has(key)).map(([, it]) => it);
  const added = causes.filter((it) => !known.has(toKey(it)));
  return [...gone.map((it) => toSignal('CLEAR', it)), ...added.map((it) => toSignal('RAISE', it))];
}

function toKey({ rule, subject }: Pick<Cause, 'rule' | 'subject'>): string {
  return JSON.stringify([rule, subject]);
}

function toSignal(kind: 'RAISE' | 'CLEAR', { rule, scope, subject, value }: Cause): Signal {
  return { kind, rule, scope, subject, member: subject, previousValue: null, newValue: value };
}
