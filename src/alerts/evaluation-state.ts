// What the evaluation of the rules of alerts knows and changes: conditions, open incidents, and what has happened to them. Pure.

import type { RuleName, Severity } from './rules.ts';
import type { ReadChange, Signal } from './signals.ts';

/** Milliseconds since 1970. */
export type Time = number;

export type Scope = 'NUMBER' | 'ACCOUNT' | 'PORTFOLIO' | 'TOKEN' | 'ENGINE';

/** A cause that has not lasted long enough, one that is covered, or something that happened so recently that it may be taken back. */
export interface Condition extends Omit<Signal, 'kind'> {
  /** Or since when nothing covers it any more. */
  readonly since: Time;
  /** `never` while an incident covers it. */
  readonly dueAt: Time;
  /** The id of the incident that covers it, or the last one that did; null if none has. */
  readonly coveredBy: string | null;
}

/** When a condition is due that is covered. */
export const never = Date.UTC(9999, 0);

export interface OpenIncident {
  readonly id: string;
  readonly rule: RuleName;
  readonly severity: Severity;
  readonly scope: Scope;
  readonly subject: string;
  readonly openedAt: Time;
  /** Those that changes and conditions may refer to. */
  readonly members: Set<string>;
  /** Of all members. */
  memberCount: number;
}

/** The last value that was told of something that happens. */
export interface Noted {
  readonly value: string | null;
  readonly at: Time;
}

export interface EvaluationState {
  /** The time up to which everything was evaluated. */
  clock: Time;
  /** By `toConditionKey`. */
  readonly conditions: Map<string, Condition>;
  /** Those that are open, by id. */
  readonly incidents: Map<string, OpenIncident>;
  /** Of messaging limits, by `toNotedKey`. */
  readonly noted: Map<string, Noted>;
}

export interface EvaluatedChange extends ReadChange {
  readonly recordedAt: Time;
}

/** What numbers, or accounts, may have in common, and thus a cause. */
export interface Belonging {
  readonly wabaId: string | null;
  readonly portfolioId: string | null;
  readonly tokenId: string | null;
  readonly engineId: string | null;
}

export interface NewIncident extends Pick<
  OpenIncident,
  'id' | 'rule' | 'severity' | 'scope' | 'subject'
> {
  readonly members: readonly string[];
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly at: Time;
}

/** NOTED: an incident that is over at once. COVERED: what a member has of this rule belongs to the incident of another rule. */
export type Effect =
  | { readonly kind: 'OPENED' | 'NOTED'; readonly incident: NewIncident }
  | {
      readonly kind: 'JOINED' | 'LEFT';
      readonly id: string;
      readonly member: string;
      readonly at: Time;
    }
  | {
      readonly kind: 'COVERED';
      readonly id: string;
      readonly rule: RuleName;
      readonly member: string;
      readonly at: Time;
    }
  | { readonly kind: 'CLOSED'; readonly id: string; readonly rule: RuleName; readonly at: Time };

export interface EvaluationOptions {
  /** Of a number or an account. */
  readonly belongingOf: (of: Pick<Signal, 'scope' | 'subject'>) => Belonging | undefined;
  readonly createId: () => string;
  /** What is so at the present time, and no change has reported; nothing by default. */
  readonly listObserved?: (state: EvaluationState) => readonly Signal[];
}

export interface Evaluation extends EvaluationOptions {
  readonly state: EvaluationState;
  readonly effects: Effect[];
}

export function toConditionKey({
  rule,
  subject,
  member,
}: Pick<Signal, 'rule' | 'subject' | 'member'>): string {
  return JSON.stringify([rule, subject, member]);
}

export function toNotedKey({ scope, subject }: { scope: string; subject: string }): string {
  return JSON.stringify([scope, subject]);
}
