// Reads in the background by two processes, one of which is killed in the middle of them again and again.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findNextDue, planAccount, quotas } from '../../src/sync/plan.ts';
import { report, toPercentile } from './figures.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const kills = Number(process.env['KILLS'] ?? 12);
const accounts = 16;
const numbersOfAccount = 10;
const sweepSeconds = 10;
/** What Meta takes to answer, so that a kill hits reads. */
const readMs = 1_000;
const environment = {
  SYNC: 'on',
  SYNC_SWEEP_SECONDS: String(sweepSeconds),
  SYNC_HEALTH_SECONDS: '30',
};

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({ numbers: Array.from({ length: accounts }, () => numbersOfAccount) });
  stage.simulator.setFault('*', { kind: 'latency', ms: readMs });
  // Triggers record each sweep that succeeds, and each lease that another process takes over.
  for (const statement of [
    'create table sweep (tenant_id text, subject_id text, started_at timestamptz)',
    `create table takeover (tenant_id text, subject_id text, from_holder text, at timestamptz, lease_ended_at timestamptz)`,
    `create function record_sweep() returns trigger language plpgsql security definer set search_path = public as $$
     begin
       insert into sweep values (new.tenant_id, new.subject_id, new.last_ok_at);
       return null;
     end $$`,
    `create function record_takeover() returns trigger language plpgsql security definer set search_path = public as $$
     begin
       insert into takeover values (new.tenant_id, new.subject_id, old.lease_holder, clock_timestamp(),
         (select least(old.lease_until, h.alive_until) from lease_holder h where h.holder = old.lease_holder));
       return null;
     end $$`,
    `create trigger record_sweep after update on sync_plan for each row
     when (new.kind = 'SWEEP' and new.last_ok_at is distinct from old.last_ok_at) execute function record_sweep()`,
    `create trigger record_takeover after update on sync_subject for each row
     when (new.lease_holder <> old.lease_holder) execute function record_takeover()`,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await stage.query(statement);
  }
}, 120_000);

afterAll(() => stage?.[Symbol.asyncDispose]());

async function listHolders(): Promise<readonly string[]> {
  const rows = await stage.query<{ holder: string }>(
    'select distinct lease_holder as holder from sync_subject where lease_holder is not null',
  );
  return rows.map(({ holder }) => holder);
}

/** Waits until a process that is none of these reads something. */
async function untilReading(others: ReadonlySet<string>): Promise<string> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    // oxlint-disable no-await-in-loop -- again and again
    const holder = (await listHolders()).find((it) => !others.has(it));
    if (holder !== undefined) return holder;
    await delay(50);
    // oxlint-enable no-await-in-loop
  }
  throw new Error('A gateway reads nothing.');
}

/** The first time all accounts are due at once, more than one process reads. */
async function untilAllAreRead(): Promise<void> {
  const isNeverRead = "kind = 'SWEEP' and last_ok_at is null";
  // oxlint-disable no-await-in-loop -- again and again
  while ((await stage.query(`select from sync_plan where ${isNeverRead}`)).length > 0)
    await delay(100);
  // oxlint-enable no-await-in-loop
}

/** Kills a process in the middle of its reads, again and again, beside one that lives on. Returns the reads that it hit. */
async function killAgainAndAgain(): Promise<number> {
  let survivor = await stage.startGateway(environment);
  const known = new Set([await untilReading(new Set())]);
  await untilAllAreRead();
  let hit = 0;
  for (let round = 0; round < kills; round += 1) {
    // oxlint-disable no-await-in-loop -- one kill after the other
    if (round === Math.floor(kills / 2)) survivor = await replace(survivor, known);
    const victim = await stage.startGateway(environment);
    const holder = await untilReading(known);
    await delay((readMs * (round % 8)) / 10);
    await victim.end('SIGKILL');
    known.add(holder);
    const [row] = await stage.query<{ count: number }>(
      'select count(*)::int as count from sync_subject where lease_holder = $1',
      [holder],
    );
    hit += row!.count;
    // oxlint-enable no-await-in-loop
  }
  await delay(3 * sweepSeconds * 1_000);
  expect(survivor.isAlive()).toBe(true);
  return hit;
}

/** A process that ends by itself gives its reads back. */
async function replace(old: StagedGateway, known: Set<string>): Promise<StagedGateway> {
  await old.end('SIGTERM');
  const next = await stage.startGateway(environment);
  known.add(await untilReading(known));
  return next;
}

interface Sweep {
  readonly subject: string;
  readonly at: Date;
}

/** Sweeps of an account in one of its intervals, beyond the first; and the longest time without one, in milliseconds. */
function judge(sweeps: readonly Sweep[], from: Date, to: Date) {
  const { seconds } = planAccount(
    {
      isOn: true,
      seconds: { SWEEP: sweepSeconds, HEALTH: 30, PROFILE: 86_400, ACCOUNT: 21_600, ENGINE: 60 },
      budgetShare: 0.5,
    },
    {
      numbers: numbersOfAccount,
      pages: 1,
      quota: quotas.registered,
      readsHealth: true,
      isRisky: false,
    },
  );
  let [repeated, maxGapMs] = [0, 0];
  for (const [subject, ofSubject] of Map.groupBy(sweeps, (it) => it.subject)) {
    const intervals = ofSubject.map(({ at }) =>
      findNextDue(at, subject, 'SWEEP', seconds).getTime(),
    );
    repeated += intervals.length - new Set(intervals).size;
    const times = [from, ...ofSubject.map(({ at }) => at), to].map(Number);
    for (let index = 1; index < times.length; index += 1) {
      maxGapMs = Math.max(maxGapMs, times[index]! - times[index - 1]!);
    }
  }
  return { repeated, maxGapMs };
}

test(`${kills} times kill -9 of one of two gateways in the middle of sweeps`, async () => {
  const hit = await killAgainAndAgain();
  const sweeps = await stage.query<Sweep>(
    `select tenant_id || ' ' || subject_id as subject, started_at as at from sweep order by 2`,
  );
  const [from, to] = [sweeps[0]!.at, sweeps.at(-1)!.at];
  const { repeated, maxGapMs } = judge(sweeps, from, to);
  const subjects = new Set(sweeps.map(({ subject }) => subject)).size;
  const takeovers = await stage.query<{ ms: number }>(
    `select extract(epoch from at - lease_ended_at)::float8 * 1000 as ms from takeover`,
  );
  const waits = takeovers.map(({ ms }) => ms);
  const minutes = (to.getTime() - from.getTime()) / 60_000;
  const results = [
    report(
      'two processes, kill -9 in the middle of sweeps: no account is swept successfully twice in an interval',
      `${repeated} of ${sweeps.length} sweeps of ${subjects} accounts in ${minutes.toFixed(1)} minutes; ${kills} kills hit ${hit} sweeps`,
      repeated === 0 && hit >= kills,
    ),
    report(
      `no account is left out: at most two intervals of ${sweepSeconds} s between two sweeps`,
      `longest ${(maxGapMs / 1_000).toFixed(1)} s`,
      maxGapMs <= 2_000 * sweepSeconds && subjects === accounts,
    ),
    report(
      "an interrupted sweep is repeated within 2 s of its lease's end",
      `${waits.length} repeated: p50 ${Math.round(toPercentile(waits, 0.5))} ms, longest ${Math.round(toPercentile(waits, 1))} ms`,
      waits.length === hit && toPercentile(waits, 1) <= 2_000,
    ),
  ];
  expect(results).not.toContain(false);
});
