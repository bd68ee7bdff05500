// One run of the numbers of the session engine: reads their states.

import { toOperatorAccess } from '../numbers/numbers.ts';
import { freshnessAlone } from '../numbers/projection.ts';
import type { RunOptions } from './run-context.ts';
import { findNextDue, lateIntervals } from './plan.ts';
import { selectRequested } from './requested-numbers.ts';
import { deleteSubject, endRun, type Subject, type Run } from './store.ts';

/** One refresh has a deadline. */
const maxNumbers = 50;

export async function readEngine(
  options: Pick<RunOptions, 'database' | 'numbers' | 'settings' | 'onRead'>,
  subject: Subject,
  holder: string,
  run: Run,
  signal: AbortSignal,
): Promise<void> {
  const { database, numbers, settings } = options;
  if (run.numbers.length === 0) return await deleteSubject(database, subject, holder);
  const due = listDue(run);
  const outcomes: (string | null)[] = [];
  for (let from = 0; from < due.length; from += maxNumbers) {
    const requests = due
      .slice(from, from + maxNumbers)
      .map(({ id }) => ({ id, refresh: ['phone'] as const, projection: freshnessAlone }));
    // oxlint-disable-next-line no-await-in-loop -- the engine is asked for a few at a time
    const read = await numbers.getMany(toOperatorAccess(subject.tenantId), requests, signal);
    for (const number of read) {
      if ('freshness' in number) outcomes.push(number.freshness.connection?.error?.code ?? null);
    }
  }
  // One that is read shows that the rest fail for reasons of their own.
  const error = outcomes.includes(null) ? null : (outcomes[0] ?? null);
  options.onRead(error ?? 'ok');
  const { tenantId, subjectId } = subject;
  const seconds = settings.seconds;
  await endRun(database, subject, holder, {
    state: run.state,
    unknownNumbers: null,
    hasChanged: false,
    pause: null,
    calls: { calls: 0, since: null },
    toResults: () =>
      run.due.map(({ kind, requestedAt }) => ({
        kind,
        requestedAt,
        error,
        lateAfterSeconds: kind === 'REQUEST' ? null : lateIntervals * seconds.ENGINE,
        dueAt:
          kind === 'REQUEST'
            ? null
            : findNextDue(run.at, `${tenantId} ${subjectId}`, 'ENGINE', seconds),
      })),
  });
}

/** Only the numbers that a request names, if nothing else is due. */
function listDue({ due, numbers }: Run): Run['numbers'] {
  const [read, ...others] = due;
  if (read?.kind !== 'REQUEST' || others.length > 0) return numbers;
  return selectRequested(numbers, read.phones) ?? numbers;
}
