// Reasons for and against sending, and the verdicts that follow from them.

/** YES: it can send. NO: something blocks it. UNKNOWN: the evidence is missing, stale or not understood. */
export const verdicts = ['YES', 'NO', 'UNKNOWN'] as const;
export type Verdict = (typeof verdicts)[number];

/** BLOCKS makes the verdict NO. INCONCLUSIVE makes it UNKNOWN unless something blocks. INFORMS changes nothing. */
export const effects = ['BLOCKS', 'INCONCLUSIVE', 'INFORMS'] as const;
export type Effect = (typeof effects)[number];

/** Which messages an effect applies to. ALL: both verdicts. BUSINESS_INITIATED: `verdict`. REPLIES: `replyVerdict`. */
export const messagingScopes = ['ALL', 'BUSINESS_INITIATED', 'REPLIES'] as const;
export type MessagingScope = (typeof messagingScopes)[number];

/** One piece of evidence and what it does to the verdicts. */
export interface Reason {
  /** CONNECTION, SNAPSHOT, TOKEN, or Meta's entity type: PHONE_NUMBER, WABA, BUSINESS, APP, … */
  readonly entity: string;
  readonly entityId: string | null;
  /** The field of the evidence, in the spelling of its source. */
  readonly field: string;
  /** The value of the field, in the spelling of its source. */
  readonly value: string | null;
  /** Meta's error code. */
  readonly code: number | null;
  readonly text: string;
  /** What to do about it. */
  readonly solution: string | null;
  readonly effect: Effect;
  readonly scope: MessagingScope;
}

export interface Verdicts {
  /** Whether the number can start conversations. */
  readonly verdict: Verdict;
  /** Whether it can reply within the customer service window. */
  readonly replyVerdict: Verdict;
}

export interface Sendability extends Verdicts {
  /** Most severe first. */
  readonly reasons: readonly Reason[];
}

/** Whether a reason alone makes `verdict` NO. */
export function blocksStarting({ effect, scope }: Reason): boolean {
  return effect === 'BLOCKS' && scope !== 'REPLIES';
}

export function toVerdicts(reasons: readonly Reason[]): Verdicts {
  return {
    verdict: toVerdict(reasons, 'BUSINESS_INITIATED'),
    replyVerdict: toVerdict(reasons, 'REPLIES'),
  };
}

function toVerdict(reasons: readonly Reason[], messages: MessagingScope): Verdict {
  let verdict: Verdict = 'YES';
  for (const { effect, scope } of reasons) {
    if (scope !== 'ALL' && scope !== messages) continue;
    if (effect === 'BLOCKS') return 'NO';
    if (effect === 'INCONCLUSIVE') verdict = 'UNKNOWN';
  }
  return verdict;
}

/** Orders reasons with the most severe first. */
export function compareSeverity(one: Reason, other: Reason): number {
  return (
    effects.indexOf(one.effect) - effects.indexOf(other.effect) ||
    messagingScopes.indexOf(one.scope) - messagingScopes.indexOf(other.scope)
  );
}

export function toReason(
  entity: string,
  field: string,
  value: string | null,
  effect: Effect,
  text: string,
  more: Partial<Pick<Reason, 'entityId' | 'code' | 'solution' | 'scope'>> = {},
): Reason {
  return {
    entity,
    entityId: more.entityId ?? null,
    field,
    value,
    code: more.code ?? null,
    text,
    solution: more.solution ?? null,
    effect,
    scope: more.scope ?? 'ALL',
  };
}
