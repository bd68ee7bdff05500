// Claims what is due by the plan, and reads it, a few subjects at a time.

import { createLeaseHolder, type LeaseHolder } from '../numbers/lease.ts';
import { readAccount } from './account-run.ts';
import { readEngine } from './engine-run.ts';
import { type Claim, claimSubjectsAcrossTenants } from './claim-store.ts';
import type { RunOptions } from './run-context.ts';
import { abandonRun, beginRun, engineSubject, type Subject } from './store.ts';

export interface RunnerOptions extends RunOptions {
  /** Called when reads begin to fail here, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

export interface Runner {
  /** Whether what is planned is read too, and not only what was asked for. */
  isPolling: boolean;
  /** Reads what is due until nothing is left that may be read now. */
  run(): Promise<void>;
  isStopped(): boolean;
  stop(): Promise<void>;
}

/** Subjects that this process reads at the same time. */
const maxReads = 8;
/** A tenant has four requests to Meta at a time, and one of them is left to its callers. */
const maxOfTenant = 3;
/** Longer than any run: a lease ends earlier when its process dies, or when the run has ended. */
const leaseMs = 300_000;

export function createRunner(options: RunnerOptions): Runner {
  const { database } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const reader = createSubjectReader(options, signal);
  const reading = new Map<Promise<void>, Subject>();
  const claims = createRepeatable(async () => {
    const free = maxReads - reading.size;
    if (free === 0 || signal.aborted) return;
    const claim = {
      holder: reader.holder.id,
      leaseMs,
      maxReads: free,
      maxOfTenant,
      readingTenants: [...reading.values()].map(({ tenantId }) => tenantId),
      onlyRequests: !runner.isPolling,
    };
    const claimed = await reader.holder.hold(() => claimSubjectsAcrossTenants(database, claim));
    for (const subject of claimed) {
      const read = reader.read(subject, claim).finally(() => {
        reading.delete(read);
        // What had to wait for this one.
        void claims.run();
      });
      reading.set(read, subject);
    }
  }, reader.report);
  const runner: Runner = {
    isPolling: false,
    run: async () => {
      await claims.run();
      await untilIdle(reading, claims);
    },
    isStopped: () => signal.aborted,
    async stop() {
      stopping.abort(new Error('The process is ending.'));
      await claims.ended();
      await Promise.all(reading.keys());
    },
  };
  return runner;
}

type RunClaim = Pick<Claim, 'holder' | 'onlyRequests'>;

interface SubjectReader {
  readonly holder: LeaseHolder;
  /** Never rejects. */
  read(subject: Subject, claim: RunClaim): Promise<void>;
  report(error: unknown): void;
}

function createSubjectReader(options: RunnerOptions, signal: AbortSignal): SubjectReader {
  const { database, onFailure } = options;
  const holder = createLeaseHolder(database);
  let isFailing = false;
  const report = (error: unknown): void => {
    if (!isFailing && !signal.aborted) onFailure(error);
    isFailing = true;
  };
  return {
    holder,
    report,
    async read(subject, claim) {
      try {
        await holder.hold(() => readSubject(options, subject, claim, signal));
        isFailing = false;
      } catch (error) {
        report(error);
        // What was due stays due.
        await abandonRun(database, subject, holder.id).catch(() => undefined);
      }
    },
  };
}

async function untilIdle(
  reading: ReadonlyMap<Promise<void>, Subject>,
  claims: Repeatable,
): Promise<void> {
  while (reading.size > 0) {
    // oxlint-disable no-await-in-loop -- the end of one read begins the next
    await Promise.race(reading.keys());
    await claims.ended();
    // oxlint-enable no-await-in-loop
  }
}

interface Repeatable {
  /** Begins the work, or once more when it has ended if it is in progress. Fulfilled when nothing is left to do. */
  run(): Promise<void>;
  ended(): Promise<void>;
}

function createRepeatable(
  work: () => Promise<void>,
  onFailure: (error: unknown) => void,
): Repeatable {
  let running: Promise<void> | null = null;
  let requests = 0;
  const repeat = async (): Promise<void> => {
    for (let served = -1; served !== requests;) {
      served = requests;
      // oxlint-disable-next-line no-await-in-loop -- what was made due meanwhile is claimed next
      await work().catch(onFailure);
    }
  };
  return {
    run() {
      requests += 1;
      running ??= repeat().finally(() => {
        running = null;
      });
      return running;
    },
    async ended() {
      await running;
    },
  };
}

async function readSubject(
  options: RunOptions,
  subject: Subject,
  claim: RunClaim,
  signal: AbortSignal,
): Promise<void> {
  const run = await beginRun(options.database, subject, claim);
  if (run === null) return;
  const read = subject.subjectId === engineSubject ? readEngine : readAccount;
  await read(options, subject, claim.holder, run, signal);
}
