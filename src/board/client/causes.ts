// Finds what most of the numbers that cannot send, or that are unknown, have in common. Pure.

import type { Named, Troubled, Verdict } from './queries.ts';
import { explain, findMainReason, isGeneral } from './words.ts';

export interface Cause {
  readonly verdict: Exclude<Verdict, 'YES'>;
  /** How many numbers share it. */
  readonly count: number;
  /** As a part of a sentence, without a full stop. */
  readonly text: string;
  readonly accounts: readonly Named[];
  /** Whether the cause is that nothing was read for too long. */
  readonly isAge: boolean;
}

/** The causes that two or more numbers share, the largest first. */
export function findCauses(numbers: readonly Troubled[]): readonly Cause[] {
  const groups = Map.groupBy(numbers, (number) => {
    const { verdict } = number.health.sendability;
    // That nothing was read lately is one cause, whether there is an old reading or none.
    return isOfAge(number) ? `${verdict} age` : `${verdict} ${explain(number.health)?.text ?? ''}`;
  });
  return [...groups.values()]
    .filter((group) => group.length > 1)
    .flatMap(toCause)
    .toSorted((a, b) => b.count - a.count);
}

function toCause(group: readonly Troubled[]): readonly Cause[] {
  const [first] = group;
  const verdict = first?.health.sendability.verdict;
  const explanation = first && explain(first.health);
  if (!explanation || verdict === 'YES' || verdict === undefined) return [];
  const accounts = new Map(
    group.flatMap(({ meta }) => (meta?.waba ? [[meta.waba.id, meta.waba] as const] : [])),
  );
  const isAge = first !== undefined && isOfAge(first);
  const hasAccounts = group.every(({ meta }) => meta?.waba);
  return [
    {
      verdict,
      count: group.length,
      text: isAge ? 'nothing was read in the last hour' : toClause(explanation.text),
      accounts: hasAccounts ? [...accounts.values()] : [],
      isAge,
    },
  ];
}

/** Whether the lack of a recent reading is all that is known. */
function isOfAge({ health }: Troubled): boolean {
  const reason = findMainReason(health);
  return reason !== null && isGeneral(reason) && !health.freshness?.error;
}

/** `The access token has expired. Store…` as `the access token has expired`. */
export function toClause(text: string): string {
  const [sentence = text] = text.split(/(?<=[.!?])\s/);
  const clause = sentence.replace(/[.!?]+$/, '');
  return /^(The|There|An?|No|Read)\b/.test(clause)
    ? clause.charAt(0).toLowerCase() + clause.slice(1)
    : clause;
}
