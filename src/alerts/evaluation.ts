// Evaluates the rules of alerts over changes in their order: what lasts long enough becomes an incident, and a recovery closes
// it. Pure: the time is that of the changes, so it makes no difference when, or in how many steps, they are evaluated. The
// exception is what has no hold time: it waits for others with the same cause until the evaluation has reached the present time,
// so that time decides when it is opened, and which of them are one incident at first.

import {
  cover,
  findCover,
  findPendingCause,
  isCovered,
  listTogether,
  toSeverity,
  uncover,
} from './coverage.ts';
import {
  type Condition,
  type Effect,
  type EvaluatedChange,
  type Evaluation,
  type EvaluationOptions,
  type EvaluationState,
  type OpenIncident,
  type Time,
  toConditionKey,
  toNotedKey,
} from './evaluation-state.ts';
import { findGroup, findWider, gatheringMs, toOwner } from './groups.ts';
import { alertRules, coveredBy } from './rules.ts';
import { type Signal, toSignals } from './signals.ts';

/**
 * Another read of the same limit within this time reports the same change: accounts of a portfolio, and the accounts and their
 * numbers, are read hours apart.
 */
const sameLimitMs = 86_400_000;

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
  }
  if (until !== null) {
    state.clock = Math.max(state.clock, until);
    const observed = Map.groupBy(options.listObserved?.(state) ?? [], ({ kind }) => kind);
    const cleared = observed.get('CLEAR') ?? [];
    // What is over by now is not opened.
    for (const signal of cleared) state.conditions.delete(toConditionKey(signal));
    for (const signal of observed.get('RAISE') ?? []) apply(evaluation, signal);
    endGathering(state);
    fireDue(evaluation);
    for (const signal of cleared) apply(evaluation, signal);
  }
  return effects;
}

/** What has no hold time is due now. */
function endGathering({ conditions, clock }: EvaluationState): void {
  for (const [key, it] of conditions) {
    if (isCovered(it) || alertRules[it.rule].holdSeconds > 0 || it.dueAt <= clock) continue;
    conditions.set(key, { ...it, dueAt: clock });
  }
}

function apply(evaluation: Evaluation, given: Signal): void {
  const { state } = evaluation;
  const signal = toOwner(evaluation, given);
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
    case 'STAY':
      if (known !== undefined) state.conditions.set(key, { ...known, newValue: signal.newValue });
      return;
    case 'NOTE':
      if (known === undefined) begin(state, signal);
      else if (known.previousValue === signal.newValue) state.conditions.delete(key);
      else state.conditions.set(key, { ...known, newValue: signal.newValue });
      return;
    case 'CLEAR':
      for (const it of listCleared(state, signal)) end(evaluation, it);
  }
}

function end(evaluation: Evaluation, signal: Signal): void {
  const { conditions } = evaluation.state;
  const key = toConditionKey(signal);
  const wasCovered = (conditions.get(key)?.coveredBy ?? null) !== null;
  conditions.delete(key);
  const wasOpen = leave(evaluation, signal);
  // Only of a number whose loss was told, and not of one that was removed.
  if (signal.rule === 'SENDABLE_LOST' && signal.newValue === 'YES' && (wasCovered || wasOpen)) {
    begin(evaluation.state, { ...signal, rule: 'SENDABLE_REGAINED' });
  }
}

function begin({ conditions, clock }: EvaluationState, signal: Signal): void {
  const { kind: _, ...rest } = signal;
  const dueAt = clock + (alertRules[signal.rule].holdSeconds * 1_000 || gatheringMs);
  conditions.set(toConditionKey(signal), { ...rest, since: clock, dueAt, coveredBy: null });
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
  const listed = incidents
    .values()
    .filter(isOfSubject)
    .flatMap(({ members }) => members);
  const { previousValue, newValue } = signal;
  return [...held, ...listed].map((each): Signal => {
    return { kind: 'CLEAR', rule, scope, subject, member: each, previousValue, newValue };
  });
}

function findIncidentOf(
  { incidents }: EvaluationState,
  { rule, member, subject }: Pick<Signal, 'rule' | 'subject' | 'member'>,
): OpenIncident | undefined {
  return incidents.values().find(
    (it) =>
      it.rule === rule &&
      it.members.has(member) &&
      // Restrictions of two accounts may have one name.
      (member === subject || it.subject === subject),
  );
}

/** Whether it was part of an incident. */
function leave(
  evaluation: Evaluation,
  signal: Pick<Signal, 'rule' | 'subject' | 'member'>,
  at = evaluation.state.clock,
): boolean {
  const { state, effects } = evaluation;
  const incident = findIncidentOf(state, signal);
  if (incident === undefined) return false;
  const { id, rule } = incident;
  const { member } = signal;
  incident.members.delete(member);
  incident.memberCount -= 1;
  effects.push({ kind: 'LEFT', id, member, at });
  if (incident.memberCount === 0) {
    state.incidents.delete(id);
    effects.push({ kind: 'CLOSED', id, rule, at });
  }
  uncover(evaluation, incident);
  return true;
}

/** In the order of their times, so that one evaluation of many changes has the result of many evaluations. */
function fireDue(evaluation: Evaluation): void {
  const { conditions, clock } = evaluation.state;
  const isDue = ({ dueAt }: Condition) => dueAt <= clock;
  if (!conditions.values().some(isDue)) return;
  const due = [...conditions.values()].filter(isDue).toSorted(compareDue);
  for (let at = 0; at < due.length; at += 1) {
    const condition = due[at]!;
    // It may have become part of another one.
    if (conditions.get(toConditionKey(condition)) !== condition) continue;
    const later = postpone(evaluation, condition);
    if (later === undefined) fire(evaluation, condition);
    else if (isDue(later)) {
      const place = due.findIndex((it, other) => other > at && compareDue(it, later) > 0);
      due.splice(place === -1 ? due.length : place, 0, later);
    }
  }
}

/** At the same time, what others explain comes after them, and what single numbers have, after what is wider. */
function compareDue(one: Condition, other: Condition): number {
  return (
    one.dueAt - other.dueAt ||
    countCauses(one) - countCauses(other) ||
    Number(one.scope === 'NUMBER') - Number(other.scope === 'NUMBER') ||
    (toConditionKey(one) < toConditionKey(other) ? -1 : 1)
  );
}

function countCauses({ rule }: Condition): number {
  return Object.keys(coveredBy[rule] ?? {}).length;
}

/** Until what may explain the condition is due; undefined if nothing may. */
function postpone(evaluation: Evaluation, condition: Condition): Condition | undefined {
  if (findCover(evaluation, condition) !== undefined) return undefined;
  const cause = findPendingCause(evaluation, condition);
  if (cause === undefined) return undefined;
  const later = { ...condition, dueAt: cause.dueAt };
  evaluation.state.conditions.set(toConditionKey(condition), later);
  return later;
}

function fire(evaluation: Evaluation, condition: Condition): void {
  const { state } = evaluation;
  const { dueAt: at } = condition;
  const explaining = findCover(evaluation, condition);
  if (explaining !== undefined) return cover(evaluation, condition, explaining, at);
  if (!alertRules[condition.rule].lasts) return note(evaluation, condition);
  const joined = findWider(evaluation, condition);
  if (joined === undefined) return open(evaluation, condition);
  const { member } = condition;
  state.conditions.delete(toConditionKey(condition));
  joined.members.add(member);
  joined.memberCount += 1;
  evaluation.effects.push({ kind: 'JOINED', id: joined.id, member, at });
  for (const it of listTogether(evaluation, joined.rule, [condition], joined.severity)) {
    cover(evaluation, it, joined, at);
  }
}

function open(evaluation: Evaluation, condition: Condition): void {
  const { state, effects } = evaluation;
  const { rule, dueAt: at } = condition;
  const { conditions, singles, ...of } = takeGroup(evaluation, condition);
  const joined = singles.map(({ subject }) => subject);
  for (const member of joined) leave(evaluation, { rule, subject: member, member }, at);
  const together = listTogether(evaluation, rule, conditions);
  const severity = toSeverity([rule, ...together.map((it) => it.rule)]);
  const members = [...joined, ...conditions.map(({ member }) => member)];
  const id = evaluation.createId();
  const incident = { id, rule, severity, ...of, members, ...toCommonValues(conditions), at };
  effects.push({ kind: 'OPENED', incident });
  const known: OpenIncident = {
    ...of,
    id,
    rule,
    severity,
    openedAt: at,
    members: new Set(members),
    memberCount: members.length,
  };
  state.incidents.set(id, known);
  for (const it of together) cover(evaluation, it, known, at);
}

function note(evaluation: Evaluation, condition: Condition): void {
  const { state, effects } = evaluation;
  const { rule, newValue: value, dueAt: at } = condition;
  const { conditions, singles: _, ...of } = takeGroup(evaluation, condition);
  if (rule === 'LIMIT_CHANGED') {
    const key = toNotedKey(of);
    const former = state.noted.get(key);
    if (former !== undefined && former.value === value && at - former.at <= sameLimitMs) return;
    state.noted.set(key, { value, at });
  }
  const { severity } = alertRules[rule];
  const members = conditions.map(({ member }) => member);
  const id = evaluation.createId();
  const incident = { id, rule, severity, ...of, members, ...toCommonValues(conditions), at };
  effects.push({ kind: 'NOTED', incident });
}

/** They are conditions no more. */
function takeGroup(evaluation: Evaluation, condition: Condition) {
  const group = findGroup(evaluation, condition);
  for (const it of group.conditions) evaluation.state.conditions.delete(toConditionKey(it));
  return group;
}

/** Null where they differ. */
function toCommonValues(conditions: readonly Condition[]) {
  const [first] = conditions;
  const common = (member: 'previousValue' | 'newValue') =>
    conditions.every((it) => it[member] === first?.[member]) ? (first?.[member] ?? null) : null;
  return { previousValue: common('previousValue'), newValue: common('newValue') };
}
