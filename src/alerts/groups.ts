// Which numbers and accounts have one cause: those that have something in common, and the same problem at the same time. Pure.

import { findCover, findPendingCause, isCovered } from './coverage.ts';
import type { Condition, Evaluation, OpenIncident, Scope, Time } from './evaluation-state.ts';
import { alertRules, findRule, type RuleName } from './rules.ts';
import type { Signal } from './signals.ts';

/** So many with something in common have one cause. */
const minGroupSize = 3;

/**
 * What has no hold time and is this close together may have one cause. It waits for others at most so long, and only until the
 * evaluation has reached the present time; incidents of single numbers that were opened then become part of a later group.
 */
export const gatheringMs = 60_000;

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

type Grouped = Pick<Signal, 'rule' | 'scope' | 'subject'>;

/** What the condition may have in common with others, the more specific first; of what is not grouped, itself. */
function toWiderSubjects({ belongingOf }: Evaluation, condition: Grouped): readonly Subject[] {
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

function isGrouped({ scope, rule }: Grouped): boolean {
  return scope === 'NUMBER' || (scope === 'ACCOUNT' && findRule(rule).ofAccounts !== undefined);
}

export interface Group {
  readonly scope: Scope;
  readonly subject: string;
  readonly conditions: readonly Condition[];
  /** Incidents of single numbers that become part of it. */
  readonly singles: readonly OpenIncident[];
}

/** The largest group of what has begun until the condition is due; the condition alone if no group is large enough. */
export function findGroup(evaluation: Evaluation, condition: Condition): Group {
  const { rule, scope, subject } = condition;
  const alone = [condition];
  if (!isGrouped(condition)) {
    const singles = listSingles(evaluation, rule, [scope, subject], -Infinity);
    return { scope, subject, conditions: alone, singles };
  }
  let found: Group = { scope, subject, conditions: alone, singles: [] };
  const others = [...evaluation.state.conditions.values()].filter(
    (it) => it.rule === rule && it.scope === scope && it.since <= condition.dueAt,
  );
  for (const wider of toWiderSubjects(evaluation, condition)) {
    const conditions = others.filter(
      (it) => isPartOf(evaluation, it, wider) && isUnexplained(evaluation, it),
    );
    const singles = listSingles(evaluation, rule, wider, condition.dueAt - gatheringMs);
    const [kind, id] = wider;
    const size = conditions.length + singles.length;
    const isLarger = size > found.conditions.length + found.singles.length;
    if (isLarger && size >= minGroupSize) found = { scope: kind, subject: id, conditions, singles };
  }
  return found;
}

function isPartOf(evaluation: Evaluation, it: Grouped, [scope, subject]: Subject): boolean {
  return toWiderSubjects(evaluation, it).some(([kind, id]) => kind === scope && id === subject);
}

/** Those that belong to this subject and were opened since then. */
function listSingles(
  evaluation: Evaluation,
  rule: RuleName,
  wider: Subject,
  since: Time,
): readonly OpenIncident[] {
  const { incidents } = evaluation.state;
  return [...incidents.values()].filter((it) => {
    if (it.rule !== rule || !isSingle(it) || it.openedAt < since) return false;
    return isPartOf(evaluation, { rule, scope: 'NUMBER', subject: it.subject }, wider);
  });
}

/** Whether it is of a single number, and may become part of another one. */
export function isSingle({ rule, scope }: Pick<OpenIncident, 'rule' | 'scope'>): boolean {
  return scope === 'NUMBER' && alertRules[rule].holdSeconds === 0;
}

function isUnexplained(evaluation: Evaluation, condition: Condition): boolean {
  return (
    !isCovered(condition) &&
    findCover(evaluation, condition) === undefined &&
    findPendingCause(evaluation, condition) === undefined
  );
}
