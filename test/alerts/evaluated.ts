// Changes for tests of the rules of alerts, and their evaluation in virtual time, as lines.

import { evaluate } from '../../src/alerts/evaluation.ts';
import type {
  Effect,
  EvaluatedChange,
  EvaluationOptions,
  EvaluationState,
} from '../../src/alerts/evaluation-state.ts';

export const createState = (): EvaluationState => ({
  clock: -Infinity,
  conditions: new Map(),
  incidents: new Map(),
  noted: new Map(),
});

export const toChange = (
  seconds: number,
  field: string,
  values: readonly [previousValue: string | null, newValue: string | null],
  more: Partial<EvaluatedChange> = {},
): EvaluatedChange => ({
  numberId: 'wa_1',
  wabaId: null,
  kind: field === 'VERDICT' ? 'VERDICT' : 'FIELD',
  field,
  previousValue: values[0],
  newValue: values[1],
  recordedAt: seconds * 1_000,
  ...more,
});

export const lost = (seconds: number, numberId = 'wa_1') =>
  toChange(seconds, 'VERDICT', ['YES', 'NO'], { numberId });
export const regained = (seconds: number, numberId = 'wa_1') =>
  toChange(seconds, 'VERDICT', ['NO', 'YES'], { numberId });

/** Each number has what its id says: the account, the portfolio, the token and the engine follow each other. */
export const belongingOf: EvaluationOptions['belongingOf'] = ({ scope, subject }) => {
  const [, wabaId, portfolioId, tokenId, engineId] =
    scope === 'ACCOUNT' ? toAccount(subject) : subject.split('/');
  return {
    wabaId: wabaId || null,
    portfolioId: portfolioId || null,
    tokenId: tokenId || null,
    engineId: engineId || null,
  };
};

/** Accounts that begin with the same letter have the same portfolio, and those that end with the same one, the same token. */
function toAccount(wabaId: string): readonly string[] {
  const [portfolio = '', token = ''] = wabaId.split('-');
  return ['', wabaId, portfolio, token];
}

export function createIds() {
  let count = 0;
  return () => `inc_${(count += 1)}`;
}

/** In one step, until this time, as lines. */
export function run(changes: readonly EvaluatedChange[], untilSeconds: number): readonly string[] {
  const options = { belongingOf, createId: createIds() };
  return evaluate(createState(), changes, untilSeconds * 1_000, options).map(toLine);
}

export function toLine(effect: Effect): string {
  if ('incident' in effect) {
    const { rule, scope, subject, members, at, previousValue, newValue } = effect.incident;
    const values = `${previousValue} -> ${newValue}`;
    const of = scope === 'NUMBER' ? '' : ` (${members.toSorted().join(' ')})`;
    return `${at / 1_000} ${effect.kind} ${rule} ${scope} ${subject}${of} ${values}`;
  }
  if (effect.kind === 'COVERED') {
    return `${effect.at / 1_000} COVERED ${effect.id} ${effect.rule} ${effect.member}`;
  }
  const of = effect.kind === 'CLOSED' ? '' : ` ${effect.member}`;
  return `${effect.at / 1_000} ${effect.kind} ${effect.id}${of}`;
}

export const restriction = (seconds: number, type: string, isOver = false, wabaId = 'waba') => {
  const value = JSON.stringify({ type, expiresAt: null });
  const values = isOver ? ([value, null] as const) : ([null, value] as const);
  const of = { numberId: null, wabaId, kind: 'RESTRICTION', field: null };
  return toChange(seconds, '', values, of);
};
