// Which incident explains what a number has of a less specific rule, so that one cause opens one incident; see `coveredBy` in
// rules.ts. Pure.

import { toRestrictionEffect } from '../numbers/restriction.ts';
import {
  type Condition,
  type Evaluation,
  never,
  type OpenIncident,
  toConditionKey,
} from './evaluation-state.ts';
import {
  alertRules,
  coveredBy,
  isOfWhole,
  type RuleName,
  ruleNames,
  severities,
  type Severity,
} from './rules.ts';

export function isCovered({ dueAt }: Condition): boolean {
  return dueAt === never;
}

/** The incident that is open and explains the condition. */
export function findCover(evaluation: Evaluation, condition: Condition): OpenIncident | undefined {
  const causes = coveredBy[condition.rule];
  if (causes === undefined || condition.scope !== 'NUMBER') return undefined;
  return evaluation.state.incidents
    .values()
    .find((it) => causes[it.rule] === 'WHILE_IT_LASTS' && concerns(evaluation, it, condition));
}

/** Of the same number, and it began before the condition was due: it may open an incident that explains the condition. */
export function findPendingCause(
  { state }: Evaluation,
  { rule, scope, subject, member, since }: Condition,
): Condition | undefined {
  if (scope !== 'NUMBER') return undefined;
  const until = since + alertRules[rule].holdSeconds * 1_000;
  return ruleNames
    .filter((name) => coveredBy[rule]?.[name] !== undefined)
    .map((name) => state.conditions.get(toConditionKey({ rule: name, subject, member })))
    .find((it) => it !== undefined && !isCovered(it) && it.since <= until);
}

/** What begins together with the conditions of this rule, and is explained by an incident of this severity. */
export function listTogether(
  { state }: Evaluation,
  rule: RuleName,
  conditions: readonly Condition[],
  severity: Severity = 'CRITICAL',
): readonly Condition[] {
  const names = ruleNames.filter((name) => coveredBy[name]?.[rule] === 'TOGETHER');
  return (
    conditions
      .filter(({ scope }) => scope === 'NUMBER')
      .flatMap(({ subject, member }) => names.map((name) => ({ rule: name, subject, member })))
      .flatMap((it) => state.conditions.get(toConditionKey(it)) ?? [])
      .filter((it) => !isCovered(it))
      // Nobody is told of what joins an incident, so it must not be more severe than what was told.
      .filter((it) => toRank(alertRules[it.rule].severity) >= toRank(severity))
  );
}

/** The most severe one. */
export function toSeverity(rules: readonly RuleName[]): Severity {
  return severities.find((severity) => rules.some((it) => alertRules[it].severity === severity))!;
}

function toRank(severity: Severity): number {
  return severities.indexOf(severity);
}

export function cover(
  { state, effects }: Evaluation,
  condition: Condition,
  { id }: Pick<OpenIncident, 'id'>,
  at: number,
): void {
  const { rule, member } = condition;
  state.conditions.set(toConditionKey(condition), { ...condition, dueAt: never, coveredBy: id });
  effects.push({ kind: 'COVERED', id, rule, member, at });
}

/** What the incident has covered and does not explain any more is due after the hold time, unless another one explains it then. */
export function uncover(evaluation: Evaluation, incident: OpenIncident): void {
  const { conditions, incidents, clock } = evaluation.state;
  const isOpen = incidents.has(incident.id);
  for (const [key, it] of conditions) {
    if (it.coveredBy !== incident.id || !isCovered(it)) continue;
    if (isOpen && concerns(evaluation, incident, it)) continue;
    const dueAt = clock + alertRules[it.rule].holdSeconds * 1_000;
    conditions.set(key, { ...it, since: clock, dueAt });
  }
}

/** Whether the number of the condition is part of the incident, or its account as a whole. */
function concerns(
  { belongingOf }: Evaluation,
  { rule, scope, subject, members }: OpenIncident,
  condition: Condition,
): boolean {
  if (!isOfWhole(rule, scope)) return members.has(condition.member);
  if (rule === 'RESTRICTED') {
    const effect = toRestrictionEffect([...members]);
    if (effect !== 'START' && effect !== 'BOTH') return false;
  } else if (!members.has(subject)) return members.has(condition.member);
  return members.has(condition.member) || belongingOf(condition)?.wabaId === subject;
}
