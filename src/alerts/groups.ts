// Which numbers and accounts have one cause: those that have something in common, and the same problem at the same time. Pure.

import { findCover, findPendingCause, isCovered } from './coverage.ts';
import type { Condition, Evaluation, OpenIncident, Scope } from './evaluation-state.ts';
import { findRule } from './rules.ts';
import type { Signal } from './signals.ts';

/** So many with something in common have one cause. */
const minGroupSize = 3;

/** A limit is that of a portfolio, whose numbers and accounts report it one after the other; or of an account without one. */
export function toOwner({ belongingOf }: Evaluation, signal: Signal): Signal {
  if (signal.rule !== 'LIMIT_CHANGED') return signal;
  const { portfolioId = null, wabaId = null } = belongingOf(signal) ?? {};
  if (portfolioId !== null) {
    return { ...signal, scope: 'PORTFOLIO', subject: portfolioId, member: portfolioId };
  }
  if (wabaId !== null) return { ...signal, scope: 'ACCOUNT', subject: wabaId, member: wabaId };
  return signal;
}

/** An incident that is open and that the condition is part of. */
export function findWider(evaluation: Evaluation, condition: Condition): OpenIncident | undefined {
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

type Subject = readonly [scope: Scope, subject: string];

/** What the condition may have in common with others, the more specific first; of what is not grouped, itself. */
function toWiderSubjects({ belongingOf }: Evaluation, condition: Condition): readonly Subject[] {
  const { scope, subject, rule } = condition;
  if (!isGrouped(condition)) return [[scope, subject]];
  const belonging = belongingOf(condition);
  const { wabaId = null, portfolioId = null, tokenId = null, engineId = null } = belonging ?? {};
  const account = ['ACCOUNT', scope === 'ACCOUNT' ? subject : wabaId] as const;
  const portfolio = ['PORTFOLIO', portfolioId] as const;
  const token = ['TOKEN', tokenId] as const;
  const engine = ['ENGINE', engineId] as const;
  const order =
    rule === 'TOKEN_REJECTED'
      ? [token, account, portfolio, engine]
      : [account, portfolio, token, engine];
  return order.flatMap(([kind, id]) => (id === null ? [] : [[kind, id] as const]));
}

function isGrouped({ scope, rule }: Condition): boolean {
  return scope === 'NUMBER' || (scope === 'ACCOUNT' && findRule(rule).ofAccounts !== undefined);
}

export interface Group {
  readonly scope: Scope;
  readonly subject: string;
  readonly conditions: readonly Condition[];
}

/** The largest group of what has begun within the hold time; the condition alone if no group is large enough. */
export function findGroup(evaluation: Evaluation, condition: Condition): Group {
  const { rule, scope, subject } = condition;
  let found: Group = { scope, subject, conditions: [condition] };
  if (!isGrouped(condition)) return found;
  const others = [...evaluation.state.conditions.values()].filter(
    (it) => it.rule === rule && it.scope === scope && it.since <= condition.dueAt,
  );
  for (const [kind, id] of toWiderSubjects(evaluation, condition)) {
    const conditions = others.filter(
      (it) =>
        toWiderSubjects(evaluation, it).some(([of, its]) => of === kind && its === id) &&
        isUnexplained(evaluation, it),
    );
    const isLarger = conditions.length > found.conditions.length;
    if (isLarger && conditions.length >= minGroupSize) {
      found = { scope: kind, subject: id, conditions };
    }
  }
  return found;
}

function isUnexplained(evaluation: Evaluation, condition: Condition): boolean {
  return (
    !isCovered(condition) &&
    findCover(evaluation, condition) === undefined &&
    findPendingCause(evaluation, condition) === undefined
  );
}
