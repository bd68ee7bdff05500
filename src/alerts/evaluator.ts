// Evaluates the rules of alerts for all tenants, in one process at a time: each change once, also when a process dies.

import { randomUUID } from 'node:crypto';
import type { StartTimer } from '../clock.ts';
import type { Database, TenantTransaction } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import { type CauseLimits, toCauseSignals } from './causes.ts';
import { insertDeliveries } from './delivery-store.ts';
import { listTargets } from './endpoint-store.ts';
import * as effectStore from './effect-store.ts';
import { evaluate } from './evaluation.ts';
import type { Condition, Effect, EvaluationState } from './evaluation-state.ts';
import * as store from './evaluation-store.ts';
import type { LoadedState } from './evaluation-store.ts';
import { type IncidentNews, toChangeDeliveries, toIncidentDeliveries } from './outbox.ts';
import type { RuleName } from './rules.ts';

export interface EvaluatorOptions {
  readonly database: Database;
  readonly now: () => Date;
  readonly startTimer: StartTimer;
  readonly limits: CauseLimits;
  /** Called once for each incident that was opened, or that was over at once. */
  readonly onOpened: (rule: RuleName) => void;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
  readonly intervalMs?: number;
}

const defaultIntervalMs = 5_000;
/** An attempt ends, and the next one begins, long before the lease ends. */
const maxAttemptMs = 5_000;
const leaseMs = 15_000;
/** Of one transaction. */
const maxChanges = 200;

/** Begins at once. Disposal never rejects. */
export function startEvaluator(options: EvaluatorOptions): AsyncDisposable {
  const { database, startTimer, onFailure, intervalMs = defaultIntervalMs } = options;
  return startProcessJob({
    database,
    name: 'evaluate the rules of alerts',
    intervalMs,
    leaseMs,
    startTimer,
    onFailure,
    run: async () => !(await evaluateTenants(options, maxAttemptMs)),
  });
}

type Evaluating = Pick<EvaluatorOptions, 'database' | 'now' | 'onOpened' | 'limits'>;

/** False when there is more to do after this time. */
export async function evaluateTenants(options: Evaluating, maxMs = Infinity): Promise<boolean> {
  const { database, now, limits } = options;
  const tenantIds = await store.findTenantsToEvaluateAcrossTenants(database, now(), limits);
  return await workInBatches(tenantIds, maxMs, (tenantId) => evaluateBatch(options, tenantId));
}

/** Whether there is more to do. */
async function evaluateBatch(
  { database, now, onOpened, limits }: Evaluating,
  tenantId: string,
): Promise<boolean> {
  const { effects, hasMore } = await database.withTenant(
    tenantId,
    async (transaction) => {
      const position = await store.lockPosition(transaction, tenantId);
      const { sequence, clock, epoch } = position;
      const changes = await store.readChangesAfter(transaction, tenantId, sequence, maxChanges);
      const isLast = changes.length < maxChanges;
      const subjects = changes.flatMap(({ numberId, wabaId }) => numberId ?? wabaId ?? []);
      const loaded = await store.loadState(transaction, tenantId, clock, subjects);
      const { state, belongings, accounts } = loaded;
      const causes = isLast ? await store.listCauses(transaction, tenantId, now(), limits) : [];
      const before = new Map(state.conditions);
      const happened = evaluate(
        state,
        changes.map((it) => ({ ...it, recordedAt: it.recordedAt.getTime() })),
        isLast ? now().getTime() : null,
        {
          belongingOf: ({ scope, subject }) =>
            (scope === 'NUMBER' ? belongings : accounts).get(subject),
          createId,
          listObserved: (current) => toCauseSignals(causes, current),
        },
      );
      await store.writeConditions(transaction, tenantId, compare(before, state.conditions));
      const news = await writeEffects(transaction, tenantId, happened, loaded);
      const unmuted = isLast ? await effectStore.tellUnmuted(transaction, tenantId, now()) : [];
      const opened = unmuted.map((it) => toNews(it, 'OPENED'));
      const targets = await listTargets(transaction, tenantId);
      const deliveries = [
        ...toIncidentDeliveries(targets, [...news, ...opened]),
        ...toChangeDeliveries(targets, changes, epoch),
      ];
      await insertDeliveries(transaction, tenantId, deliveries, now());
      const reached = changes.at(-1)?.sequence ?? sequence;
      await store.movePosition(transaction, tenantId, { sequence: reached, clock: state.clock });
      return { effects: happened, hasMore: !isLast };
    },
    // Triggers announce what was written.
    'nothing',
    'ALERTS',
  );
  for (const effect of effects) if ('incident' in effect) onOpened(effect.incident.rule);
  return hasMore;
}

function createId(): string {
  return `inc_${randomUUID().replaceAll('-', '')}`;
}

/** What has become of the conditions. One that has changed is deleted and stored. */
function compare(
  before: EvaluationState['conditions'],
  after: EvaluationState['conditions'],
): store.ConditionChanges {
  return { deleted: listOthers(before, after), stored: listOthers(after, before) };
}

function listOthers(
  conditions: EvaluationState['conditions'],
  others: EvaluationState['conditions'],
): readonly Condition[] {
  return [...conditions].filter(([key, it]) => others.get(key) !== it).map(([, it]) => it);
}

/** Returns what endpoints are told of. */
async function writeEffects(
  transaction: TenantTransaction,
  tenantId: string,
  effects: readonly Effect[],
  { belongings }: LoadedState,
): Promise<readonly IncidentNews[]> {
  const news: IncidentNews[] = [];
  const isMuted = (id: string, at: number) => {
    const mutedUntil = belongings.get(id)?.mutedUntil ?? null;
    return mutedUntil !== null && mutedUntil.getTime() > at;
  };
  for (const effect of effects) {
    const { members, at } = toAdded(effect);
    const areMuted = members.every((member) => isMuted(member, at));
    // oxlint-disable-next-line no-await-in-loop -- in their order
    const told = await effectStore.writeEffect(transaction, tenantId, effect, areMuted);
    if (told !== null) news.push(toNews(told, toTransition(effect)));
  }
  return news;
}

function toNews(
  told: effectStore.ToldIncident,
  transition: IncidentNews['transition'],
): IncidentNews {
  return { ...told, transition };
}

/** An incident may be told as opened when it gets a member, or covers another rule. */
function toTransition({ kind }: Effect): IncidentNews['transition'] {
  return kind === 'CLOSED' || kind === 'NOTED' ? kind : 'OPENED';
}

function toAdded(effect: Effect): { readonly members: readonly string[]; readonly at: number } {
  if ('incident' in effect) return effect.incident;
  const isAdded = effect.kind === 'JOINED' || effect.kind === 'COVERED';
  return { members: isAdded ? [effect.member] : [], at: effect.at };
}
