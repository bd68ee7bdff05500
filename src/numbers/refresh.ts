// Reads numbers live and stores what was read; a read that is in flight, here or in another process, is joined.

import { randomUUID } from 'node:crypto';
import type { Access } from '../access/access.ts';
import { createRequestLinks, type Span } from '../tracing.ts';
import { createLeaseHolder, type LeaseHolder, waitForRelease } from './lease.ts';
import { acquireLease, type RequestedSubject, toSubjectKey } from './lease-store.ts';
import {
  readLeased,
  type RefreshGroup,
  type RefreshOptions,
  type RefreshRequest,
  type SubjectOutcomes,
  subjectIdOf,
  toNumberKey,
} from './live-read.ts';
import type { Outcome, Outcomes } from './number.ts';
import { type Block, toPlainFailure, type UpstreamFailure } from './provider.ts';

export interface Refresher {
  /**
   * Reads and stores the blocks, and returns the outcomes by number id; a failure upstream is an outcome. Rejects with the
   * reason of `signal` once that is aborted; the read itself is aborted when nobody waits for it any more. Rejects with
   * UNAVAILABLE when the database does not answer.
   */
  refresh(
    access: Access,
    requests: readonly RefreshRequest[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Outcomes>>;
}

/** Subjects that are read together. */
interface InFlightRefresh {
  readonly outcomes: Promise<SubjectOutcomes>;
  readonly links: RefreshGroup['links'];
  readonly controller: AbortController;
  waiters: number;
}

const defaultDeadlineMs = 8_000;
/** How long a lease outlives the deadline. It ends sooner when its process dies; see lease.ts. */
const leaseSlackMs = 2_000;

export function createRefresher(options: RefreshOptions): Refresher {
  const context = { options, holder: createLeaseHolder(options.database), inFlight: new Map() };
  return {
    async refresh(access, requests, signal) {
      signal.throwIfAborted();
      const readable = requests.map((request) => withReadableBlocks(request, options.providers));
      const joined = await join(context, access, readable, signal);
      const outcomes = new Map(readable.map((it) => [it.number.id, toOutcomes(it, joined)]));
      // An account that was denied to the credentials of another number is tried with the number's own.
      const denied = readable.flatMap(({ number, blocks }) => {
        const left = blocks.filter((block) => !outcomes.get(number.id)?.has(block));
        return left.length === 0 ? [] : [{ number, blocks: left }];
      });
      const retry = async (it: RefreshRequest): Promise<void> => {
        const own = toOutcomes(it, await join(context, access, [it], signal, ` ${it.number.id}`));
        outcomes.set(it.number.id, new Map([...(outcomes.get(it.number.id) ?? []), ...own]));
      };
      await Promise.all(denied.map(retry));
      return outcomes;
    },
  };
}

interface RefresherContext {
  readonly options: RefreshOptions;
  /** Of the leases of this process. */
  readonly holder: LeaseHolder;
  readonly inFlight: Map<string, InFlightRefresh>;
}

/** Joins the reads in flight and starts one of the rest. `suffix` keeps a read apart from others of the same subject. */
async function join(
  context: RefresherContext,
  access: Access,
  requests: readonly RefreshRequest[],
  signal: AbortSignal,
  suffix = '',
): Promise<SubjectOutcomes> {
  const { options, inFlight } = context;
  const toKey = (subject: RequestedSubject) =>
    `${access.tenantId} ${toSubjectKey(subject)}${suffix}`;
  const joined = new Set<InFlightRefresh>();
  for (const [name, ofProvider] of Map.groupBy(requests, ({ number }) => number.provider)) {
    const subjects = listSubjects(ofProvider).filter((subject) => {
      const refresh = inFlight.get(toKey(subject));
      if (refresh !== undefined) joined.add(refresh);
      return refresh === undefined;
    });
    if (subjects.length === 0) continue;
    const provider = options.providers[name];
    const links = createRequestLinks();
    const group = { ...access, provider, requests: ofProvider, subjects, links };
    joined.add(start(context, group, subjects.map(toKey)));
  }
  const { span } = access.meter;
  const ended = await Promise.all([...joined].map((it) => waitFor(it, inFlight, span, signal)));
  return new Map(ended.flatMap((outcomes) => outcomes.entries().toArray()));
}

function start(
  { options, holder, inFlight }: RefresherContext,
  group: RefreshGroup,
  keys: readonly string[],
): InFlightRefresh {
  const controller = new AbortController();
  const refresh: InFlightRefresh = {
    controller,
    links: group.links,
    waiters: 0,
    outcomes: readGroup(options, holder, group, controller.signal).finally(() => {
      for (const key of keys) if (inFlight.get(key) === refresh) inFlight.delete(key);
    }),
  };
  for (const key of keys) inFlight.set(key, refresh);
  return refresh;
}

/** The last one to leave before the end aborts the refresh. */
async function waitFor(
  refresh: InFlightRefresh,
  inFlight: Map<string, InFlightRefresh>,
  span: Span | null,
  signal: AbortSignal,
): Promise<SubjectOutcomes> {
  const aborted = Promise.withResolvers<never>();
  const leave = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  refresh.waiters += 1;
  refresh.links?.add(span);
  try {
    return await Promise.race([refresh.outcomes, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', leave);
    refresh.waiters -= 1;
    refresh.links?.delete(span);
    if (refresh.waiters === 0 && signal.aborted) {
      // Nobody may join a refresh that is being aborted.
      for (const [key, candidate] of inFlight) if (candidate === refresh) inFlight.delete(key);
      refresh.outcomes.catch(() => undefined);
      refresh.controller.abort(signal.reason);
    }
  }
}

async function readGroup(
  options: RefreshOptions,
  leaseHolder: LeaseHolder,
  group: RefreshGroup,
  signal: AbortSignal,
): Promise<SubjectOutcomes> {
  const { database, deadlineMs = defaultDeadlineMs } = options;
  const { tenantId } = group;
  const deadlineAt = performance.now() + deadlineMs;
  const holder = `${leaseHolder.id}/${randomUUID()}`;
  const outcomes = new Map<string, Outcome>();
  let subjects = group.subjects;
  let deadHolders: readonly string[] | null = [];
  const readFree = async (): Promise<readonly RequestedSubject[]> => {
    const lease = await acquireLease(database, {
      tenantId,
      holder,
      subjects,
      receivedMsAgo: performance.now() - group.receivedAt,
      leaseMs: deadlineMs + leaseSlackMs,
      numberIds: group.requests.map(({ number }) => number.id),
      deadHolders: deadHolders ?? [],
    });
    for (const subject of lease.satisfied) outcomes.set(toSubjectKey(subject), 'ATTEMPTED');
    if (lease.granted.length > 0) {
      const read = await readLeased(options, group, { lease, holder, signal, deadlineAt });
      for (const [key, outcome] of read) outcomes.set(key, outcome);
    }
    return lease.held;
  };
  while (subjects.length > 0 && deadHolders !== null) {
    // oxlint-disable no-await-in-loop -- what other processes were reading is requested again
    subjects = await leaseHolder.hold(readFree);
    if (subjects.length === 0) break;
    deadHolders = await waitForRelease(database, { tenantId, subjects, signal, deadlineAt });
    // oxlint-enable no-await-in-loop
  }
  for (const subject of subjects) {
    outcomes.set(toSubjectKey(subject), toHeldFailure(subject.block, deadlineMs));
  }
  return outcomes;
}

function withReadableBlocks(
  { number, blocks }: RefreshRequest,
  providers: RefreshOptions['providers'],
): RefreshRequest {
  const readable = providers[number.provider].blocks.filter(
    (block) => blocks.includes(block) && (block !== 'waba' || number.wabaId !== null),
  );
  return { number, blocks: readable };
}

function listSubjects(requests: readonly RefreshRequest[]): readonly RequestedSubject[] {
  const bySubject = Map.groupBy(
    requests.flatMap(({ number, blocks }) =>
      blocks.map((block) => ({
        block,
        id: subjectIdOf(block, number.id, number.wabaId),
        numberId: number.id,
      })),
    ),
    toSubjectKey,
  );
  return [...bySubject.values()].flatMap((same) => {
    const [first] = same;
    if (first === undefined) return [];
    const numberIds = same.map(({ numberId }) => numberId);
    return [{ block: first.block, id: first.id, numberIds }];
  });
}

/** Without the blocks that were denied to another number's credentials. */
function toOutcomes({ number, blocks }: RefreshRequest, outcomes: SubjectOutcomes): Outcomes {
  const entries = blocks.flatMap((block): [Block, Outcome][] => {
    const subject = { block, id: subjectIdOf(block, number.id, number.wabaId) };
    const outcome =
      outcomes.get(toNumberKey(subject, number.id)) ?? outcomes.get(toSubjectKey(subject));
    return outcome === undefined ? [] : [[block, outcome]];
  });
  return new Map(entries);
}

function toHeldFailure(block: Block, deadlineMs: number): UpstreamFailure {
  const message = `Another process was reading this and had not finished after ${deadlineMs / 1_000} seconds.`;
  const code = block === 'connection' ? 'UNAVAILABLE' : 'META_TIMEOUT';
  return toPlainFailure(code, true, message, { solution: 'Try again.' });
}
