// Evaluates the rules of alerts over changes in their order: what lasts long enough becomes an incident, and a recovery closes
// it. Pure: the time is that of the changes, so it makes no difference when, or in how many steps, they are evaluated.

import { alertRules, type RuleName } from './rules.ts';
import { type ReadChange, type Signal, toSignals } from './signals.ts';

/** Milliseconds since 1970. */
type Time = number;

export type Scope = 'NUMBER' | 'ACCOUNT' | 'PORTFOLIO' | 'TOKEN';

/** A cause that has not lasted long enough, or something that happened so recently that it may be taken back. */
export interface Condition extends Omit<Signal, 'kind'> {
  readonly since: Time;
  readonly dueAt: Time;
}

export interface OpenIncident {
  readonly id: string;
  readonly rule: RuleName;
  readonly scope: Scope;
  readonly subject: string;
  /** Those that changes and conditions may refer to. */
  readonly members: Set<string>;
  /** Of all members. */
  memberCount: number;
}

export interface EvaluationState {
  /** The time up to which everything was evaluated. */
  clock: Time;
  /** By `toConditionKey`. */
  readonly conditions: Map<string, Condition>;
  /** Those that are open, by id. */
  readonly incidents: Map<string, OpenIncident>;
}

export interface EvaluatedChange extends ReadChange {
  readonly recordedAt: Time;
}

/** What numbers may have in common, and thus a cause. */
export interface Belonging {
  readonly wabaId: string | null;
  readonly portfolioId: string | null;
  readonly tokenId: string | null;
}

export interface NewIncident extends Pick<OpenIncident, 'id' | 'rule' | 'scope' | 'subject'> {
  readonly members: readonly string[];
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly at: Time;
}

/** NOTED: an incident that is over at once. */
export type Effect =
  | { readonly kind: 'OPENED' | 'NOTED'; readonly incident: NewIncident }
  | {
      readonly kind: 'JOINED' | 'LEFT';
      readonly id: string;
      readonly member: string;
      readonly at: Time;
    }
  | { readonly kind: 'CLOSED'; readonly id: string; readonly rule: RuleName; readonly at: Time };

export interface EvaluationOptions {
  readonly belongingOf: (numberId: string) => Belonging | undefined;
  readonly createId: () => string;
  /** What is so at the present time, and no change has reported; nothing by default. */
  readonly listObserved?: (state: EvaluationState) => readonly Signal[];
}

/** So many numbers with something in common have one cause. */
const minGroupSize = 3;

export function toConditionKey({ rule, subject, member }: Omit<Signal, 'kind'>): string {
  return JSON.stringify([rule, subject, member]);
}

/**
 * Changes the state, and returns what has happened to incidents, in order. `until`: the present time if there are no further
 * changes, otherwise null.
 */
export function evaluate(
  state: EvaluationState,
  changes: readonly EvaluatedChange[],
  until: Time | null,
  options: EvaluationOptions,
): readonly Effect[] {
  const effects: Effect[] = [];
  const evaluation = { state, effects, ...options };
  for (const change of changes) {
    // The times are not quite in the order of the changes.
    state.clock = Math.max(state.clock, change.recordedAt);
    fireDue(evaluation);
    for (const signal of toSignals(change)) apply(evaluation, signal);
    // Some rules have no hold time.
    fireDue(evaluation);
  }
  if (until !== null) {
    state.clock = Math.max(state.clock, until);
    const observed = Map.groupBy(options.listObserved?.(state) ?? [], ({ kind }) => kind);
    // What is over by now is not opened.
    for (const signal of observed.get('CLEAR') ?? []) apply(evaluation, signal);
    fireDue(evaluation);
    for (const signal of observed.get('RAISE') ?? []) apply(evaluation, signal);
    fireDue(evaluation);
  }
  return effects;
}

interface Evaluation extends EvaluationOptions {
  readonly state: EvaluationState;
  readonly effects: Effect[];
}

function apply(evaluation: Evaluation, signal: Signal): void {
  const { state } = evaluation;
  const key = toConditionKey(signal);
  const known = state.conditions.get(key);
  switch (signal.kind) {
    case 'RAISE':
      if (signal.rule === 'SENDABLE_LOST') {
        state.conditions.delete(toConditionKey({ ...signal, rule: 'SENDABLE_REGAINED' }));
      }
      if (known !== undefined) state.conditions.set(key, { ...known, newValue: signal.newValue });
      else if (findIncidentOf(state, signal) === undefined) begin(state, signal);
      return;
    case 'NOTE':
      if (known === undefined) begin(state, signal);
      else if (known.previousValue === signal.newValue) state.conditions.delete(key);
      else state.conditions.set(key, { ...known, newValue: signal.newValue });
      return;
    case 'CLEAR':
      for (const it of listCleared(state, signal)) {
        state.conditions.delete(toConditionKey(it));
        leave(evaluation, it);
      }
  }
}

function begin({ conditions, clock }: EvaluationState, signal: Signal): void {
  const { kind: _, ...rest } = signal;
  const dueAt = clock + alertRules[signal.rule].holdSeconds * 1_000;
  conditions.set(toConditionKey(signal), { ...rest, since: clock, dueAt });
}

/** An account that is removed has no restrictions any more. */
function listCleared(
  { conditions, incidents }: EvaluationState,
  signal: Signal,
): readonly Signal[] {
  const { rule, scope, subject, member } = signal;
  if (rule !== 'RESTRICTED' || scope !== 'ACCOUNT' || member !== subject) return [signal];
  const isOfSubject = (it: Condition | OpenIncident) => it.rule === rule && it.subject === subject;
  const held = conditions
    .values()
    .filter(isOfSubject)
    .map((it) => it.member);
  const open = incidents
    .values()
    .filter(isOfSubject)
    .flatMap(({ members }) => members);
  const { previousValue, newValue } = signal;
  return [...held, ...open].map((each): Signal => {
    return { kind: 'CLEAR', rule, scope, subject, member: each, previousValue, newValue };
  });
}

function findIncidentOf(
  { incidents }: EvaluationState,
  { rule, member, subject, scope }: Omit<Signal, 'kind'>,
): OpenIncident | undefined {
  return incidents
    .values()
    .find(
      (it) =>
        it.rule === rule &&
        it.members.has(member) &&
        (scope === 'NUMBER' || it.subject === subject),
    );
}

function leave({ state, effects }: Evaluation, signal: Signal): void {
  const incident = findIncidentOf(state, signal);
  if (incident === undefined) return;
  const { id, rule } = incident;
  const { member } = signal;
  const at = state.clock;
  incident.members.delete(member);
  incident.memberCount -= 1;
  effects.push({ kind: 'LEFT', id, member, at });
  if (incident.memberCount === 0) {
    state.incidents.delete(id);
    effects.push({ kind: 'CLOSED', id, rule, at });
  }
  // Only of a number whose loss was an incident, and not of one that was removed.
  if (rule === 'SENDABLE_LOST' && signal.newValue === 'YES') {
    begin(state, { ...signal, rule: 'SENDABLE_REGAINED' });
  }
}

/** In the order of their times, so that one evaluation of many changes has the result of many evaluations. */
function fireDue(evaluation: Evaluation): void {
  const { conditions, clock } = evaluation.state;
  const isDue = ({ dueAt }: Condition) => dueAt <= clock;
  if (!conditions.values().some(isDue)) return;
  const due = [...conditions].filter(([, condition]) => isDue(condition));
  for (const [key] of due.toSorted(compareDue)) {
    // It may have become part of another one.
    const condition = conditions.get(key);
    if (condition !== undefined) fire(evaluation, condition);
  }
}

function compareDue([oneKey, one]: [string, Condition], [otherKey, other]: [string, Condition]) {
  return one.dueAt - other.dueAt || (oneKey < otherKey ? -1 : 1);
}

function fire(evaluation: Evaluation, condition: Condition): void {
  const { state, effects } = evaluation;
  const { rule, dueAt: at } = condition;
  const lasts = alertRules[rule].lasts;
  const joined = lasts ? findWider(evaluation, condition) : undefined;
  if (joined !== undefined) {
    const { member } = condition;
    state.conditions.delete(toConditionKey(condition));
    joined.members.add(member);
    joined.memberCount += 1;
    effects.push({ kind: 'JOINED', id: joined.id, member, at });
    return;
  }
  const { scope, subject, conditions } = findGroup(evaluation, condition);
  for (const it of conditions) state.conditions.delete(toConditionKey(it));
  const members = conditions.map(({ member }) => member);
  const id = evaluation.createId();
  const { previousValue, newValue } = toCommonValues(conditions);
  const incident = { id, rule, scope, subject, members, previousValue, newValue, at };
  effects.push({ kind: lasts ? 'OPENED' : 'NOTED', incident });
  if (!lasts) return;
  const open = { id, rule, scope, subject, members: new Set(members), memberCount: members.length };
  state.incidents.set(id, open);
}

/** An incident that is open and that the condition is part of. */
function findWider(evaluation: Evaluation, condition: Condition): OpenIncident | undefined {
  const { rule } = condition;
  const wider = toWiderSubjects(evaluation, condition);
  return evaluation.state.incidents
    .values()
    .find(
      (it) =>
        it.rule === rule &&
        wider.some(([scope, subject]) => it.scope === scope && it.subject === subject),
    );
}

/** What the condition may have in common with others, the more specific first; of an account or a token, itself. */
function toWiderSubjects(
  { belongingOf }: EvaluationOptions,
  { scope, subject, rule }: Condition,
): readonly (readonly [Scope, string])[] {
  if (scope !== 'NUMBER') return [[scope, subject]];
  const { wabaId = null, portfolioId = null, tokenId = null } = belongingOf(subject) ?? {};
  const account = ['ACCOUNT', wabaId] as const;
  const token = ['TOKEN', tokenId] as const;
  const order =
    rule === 'TOKEN_REJECTED'
      ? [token, account, ['PORTFOLIO', portfolioId] as const]
      : [account, ['PORTFOLIO', portfolioId] as const, token];
  return order.flatMap(([kind, id]) => (id === null ? [] : [[kind, id] as const]));
}

interface Group {
  readonly scope: Scope;
  readonly subject: string;
  readonly conditions: readonly Condition[];
}

/** The largest group of what has begun within the hold time; the condition alone if no group is large enough. */
function findGroup(evaluation: Evaluation, condition: Condition): Group {
  const { rule, scope, subject } = condition;
  const wider = toWiderSubjects(evaluation, condition);
  if (scope !== 'NUMBER') return { scope, subject, conditions: [condition] };
  const others = [...evaluation.state.conditions.values()].filter(
    (it) => it.rule === rule && it.scope === 'NUMBER' && it.since <= condition.dueAt,
  );
  let found: Group = { scope, subject, conditions: [condition] };
  for (const [kind, id] of wider) {
    const conditions = others.filter((it) =>
      toWiderSubjects(evaluation, it).some(([of, its]) => of === kind && its === id),
    );
    const isLarger = conditions.length > found.conditions.length;
    if (isLarger && conditions.length >= minGroupSize) {
      found = { scope: kind, subject: id, conditions };
    }
  }
  return found;
}

/** Null where they differ. */
function toCommonValues(conditions: readonly Condition[]) {
  const [first] = conditions;
  const common = (member: 'previousValue' | 'newValue') =>
    conditions.every((it) => it[member] === first?.[member]) ? (first?.[member] ?? null) : null;
  return { previousValue: common('previousValue'), newValue: common('newValue') };
}
