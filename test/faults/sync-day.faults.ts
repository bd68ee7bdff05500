// A simulated day of reads in the background: 1,000 numbers in 10 accounts, with what happens to accounts in a day.

import { describe, expect, test } from 'vitest';
import { changePhone } from '../../src/simulator/changes.ts';
import type { Fault } from '../../src/simulator/faults.ts';
import { createTestClock, type TestClock } from '../clock.ts';
import { createDigits, openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { report, toPercentile } from './figures.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = new Date('2026-11-29T00:00:00Z');
const accountCount = 10;
const numbersOfAccount = 100;
const hours = Number(process.env['HOURS'] ?? 24);
/** From one look at the plan to the next: what is due waits so long. */
const pollMs = 10_000;
/** As the gateway has it: a read that is due needs a moment. */
const toleranceMs = 60_000;
const share = 0.5;
/** By default. */
const cadenceMs = { SWEEP: 300_000, HEALTH: 900_000 };

interface Call {
  readonly at: number;
  readonly isCaller: boolean;
  /** `phone_numbers 123`, `phone 123`, `profile 123` or `waba 123`. */
  readonly operation: string;
  readonly status: number;
}

interface Account {
  readonly wabaId: string;
  readonly token: string;
  readonly numbers: readonly { readonly id: string; readonly phoneNumberId: string }[];
  /** Each item of a batch is one. */
  readonly calls: Call[];
}

interface Stage {
  readonly clock: TestClock;
  readonly gateway: TestGateway;
  readonly tenant: TestTenant;
  readonly accounts: readonly Account[];
  /** Adds the calls since the last time to those of their accounts. */
  collect(isCaller?: boolean): void;
}

/** Meta allows 200 calls an hour for an account without a number that is registered on the Cloud API. */
function toPhone(quota: number, place: number) {
  if (quota > 200) return {};
  const isUnregistered = (places.unregistered as readonly number[]).includes(place);
  return isUnregistered
    ? { platform_type: 'NOT_APPLICABLE', status: 'PENDING' }
    : { platform_type: 'ON_PREMISE' };
}

async function addAccounts(
  gateway: TestGateway,
  tenant: TestTenant,
  quota: number,
): Promise<readonly Account[]> {
  const accounts: Account[] = [];
  // oxlint-disable no-await-in-loop -- PGlite has one connection
  for (let place = 0; place < accountCount; place += 1) {
    const wabaId = createDigits();
    const phone = toPhone(quota, place);
    const token = `EAA${createDigits()}${createDigits()}`;
    gateway.simulator.setWaba({ id: wabaId, fields: { name: 'Account' }, hourlyCalls: quota });
    const numbers: Account['numbers'][number][] = [];
    for (let count = 0; count < numbersOfAccount; count += 1) {
      const credentials = { accessToken: token, appSecret: null };
      numbers.push(await tenant.addNumber({ wabaId, phone, credentials }));
    }
    accounts.push({ wabaId, token, numbers, calls: [] });
  }
  // oxlint-enable no-await-in-loop
  return accounts;
}

function createCollector(
  clock: TestClock,
  gateway: TestGateway,
  accounts: readonly Account[],
): Stage['collect'] {
  const accountOf = new Map(
    accounts.flatMap((account) => [
      [account.wabaId, account] as const,
      ...account.numbers.map(({ phoneNumberId }) => [phoneNumberId, account] as const),
    ]),
  );
  return (isCaller = false) => {
    for (const { operations, status } of gateway.simulator.calls) {
      for (const operation of operations) {
        const account = accountOf.get(operation.split(' ')[1] ?? '')!;
        account.calls.push({ at: clock.now().getTime(), isCaller, operation, status });
      }
    }
    gateway.simulator.clearCalls();
  };
}

/** The most background calls in any rolling hour. */
function findMaxInHour(calls: readonly Call[]): number {
  const times = calls.filter(({ isCaller }) => !isCaller).map(({ at }) => at);
  let [from, most] = [0, 0];
  for (const [to, time] of times.entries()) {
    while (times[from]! <= time - hour) from += 1;
    most = Math.max(most, to - from + 1);
  }
  return most;
}

function countLists({ calls }: Account, fromHour: number): number {
  const from = day.getTime() + fromHour * hour;
  return calls.filter(
    ({ operation, at, isCaller }) =>
      !isCaller && operation.startsWith('phone_numbers') && at > from && at <= from + hour,
  ).length;
}

/** What happens at Meta and at the callers, each at its hour of the day. */
type Script = readonly (readonly [atHour: number, happen: (stage: Stage) => unknown])[];

interface Detection {
  readonly numberId: string;
  readonly wabaId: string;
  readonly value: string;
  readonly at: number;
  seenAt: number | null;
}

/** For how many minutes the oldest reading of an account was too old, and for how many of them this was not reported. */
interface Lateness {
  minutes: number;
  unreported: number;
}

async function simulate(stage: Stage, script: Script, detections: Detection[]) {
  const { clock, gateway, accounts, collect } = stage;
  const lateness = new Map(
    accounts.map(({ wabaId }) => [wabaId, { minutes: 0, unreported: 0 } as Lateness]),
  );
  const pending = script.toSorted(([a], [b]) => a - b);
  gateway.gateway.sync.start();
  for (let now = day.getTime(); now < day.getTime() + hours * hour;) {
    // oxlint-disable no-await-in-loop -- step by step
    for (; (pending[0]?.[0] ?? Infinity) * hour <= now - day.getTime(); pending.shift()) {
      await pending[0]![1](stage);
    }
    await clock.advance(pollMs);
    now = clock.now().getTime();
    collect();
    await findSeen(gateway, detections, now);
    if ((now - day.getTime()) % minute === 0) await judge(stage, lateness);
    // oxlint-enable no-await-in-loop
  }
  return lateness;
}

async function findSeen(gateway: TestGateway, detections: Detection[], now: number) {
  const open = detections.filter(({ seenAt }) => seenAt === null);
  if (open.length === 0) return;
  const rows = await gateway.database.query<{ id: string; value: string }>(
    `select number_id as id, quality_rating as value from number_status where number_id = any($1)`,
    [open.map(({ numberId }) => numberId)],
  );
  for (const detection of open) {
    const row = rows.find(({ id }) => id === detection.numberId);
    if (row?.value === detection.value) detection.seenAt = now;
  }
}

/** Once a minute: how old the oldest reading of each account is, and what is reported of it. */
async function judge(
  { gateway, tenant, accounts, clock }: Stage,
  lateness: ReadonlyMap<string, Lateness>,
) {
  const now = clock.now().getTime();
  const reported = new Map(
    (await gateway.gateway.sync.report(tenant.id)).accounts.map((it) => [it.wabaId, it.state]),
  );
  const rows = await gateway.database.query<{ wabaId: string; observedAt: Date | null }>(
    `select n.waba_id as "wabaId", min(coalesce(s.observed_at, n.created_at)) as "observedAt" from whatsapp_number n
     left join number_snapshot s on s.tenant_id = n.tenant_id and s.number_id = n.id and s.block = 'phone' group by 1`,
  );
  const healthAt = new Map(rows.map((row) => [row.wabaId, row.observedAt!.getTime()]));
  for (const { wabaId, calls } of accounts) {
    const lastList = calls.findLast(
      ({ operation, status }) => operation.startsWith('phone_numbers') && status === 200,
    );
    const ages = {
      SWEEP: now - (lastList?.at ?? day.getTime()),
      HEALTH: now - healthAt.get(wabaId)!,
    };
    const late = lateness.get(wabaId)!;
    const isOld =
      ages.SWEEP > cadenceMs.SWEEP + toleranceMs || ages.HEALTH > cadenceMs.HEALTH + toleranceMs;
    if (!isOld) continue;
    late.minutes += 1;
    if (reported.get(wabaId) === 'ON_TIME') late.unreported += 1;
  }
}

const places = {
  /** Always risky at 200 calls an hour, because its numbers are not registered. */
  unregistered: [0, 1],
  /** Has a number whose quality is RED from 6:00 to 8:00. */
  risky: 3,
  /** Its token is refused from 3:00 to 16:00. */
  refused: 4,
  /** Its callers use most of its calls from 12:00 on. */
  busy: 5,
  /** Meta does not give the health of its numbers in a list. */
  withoutHealth: 6,
  /** As the former, from 10:00 to 14:00. */
  withoutHealthForHours: 7,
  /** Where something changes again and again. */
  changing: [0, 8, 9],
} as const;

const refusedHealth = { kind: 'unknown-field', field: 'health_status' } as const;
const expired = { kind: 'error', code: 190, subcode: 463 } as const;
const callerReads = 90;

interface CallerReads {
  fresh: number;
  failed: number;
}

function createScript(stage: Stage, quota: number, detections: Detection[], callers: CallerReads) {
  const { accounts, gateway, clock } = stage;
  const { simulator } = gateway;
  const change = (place: number, index: number, value: string) => () => {
    const { wabaId, numbers } = accounts[place]!;
    const { id, phoneNumberId } = numbers[index]!;
    simulator.change(changePhone(phoneNumberId, { quality_rating: value }));
    detections.push({ numberId: id, wabaId, value, at: clock.now().getTime(), seenAt: null });
  };
  const setFault = (place: number, fault: Fault | null) => () =>
    simulator.setFault(accounts[place]!.wabaId, fault);
  const often = places.changing.flatMap((place, index) =>
    Array.from({ length: hours / 6 }, (_, turn): Script[number][] => [
      // At another minute each time, and in no rhythm with the reads.
      [turn * 6 + 0.6 + index * 1.3 + turn * 0.137, change(place, turn, 'YELLOW')],
      [turn * 6 + 0.9 + index * 1.3 + turn * 0.171, change(place, turn, 'GREEN')],
    ]).flat(),
  );
  const callersRead = Array.from(
    { length: quota === 200 ? callerReads : 0 },
    (_, index) =>
      [
        12 + index / 200,
        async (): Promise<void> => {
          const { id } = accounts[places.busy]!.numbers[index]!;
          const { status, body } = await stage.tenant.rest<{ meta: { freshness: object } }>(
            `/v1/numbers/${id}?refresh=1`,
          );
          stage.collect(true);
          if (status === 200 && !JSON.stringify(body).includes('META_RATE_LIMITED'))
            callers.fresh += 1;
          else callers.failed += 1;
        },
      ] as const,
  );
  const script: Script = [
    ...often,
    ...callersRead,
    [0, setFault(places.withoutHealth, refusedHealth)],
    [3, setFault(places.refused, expired)],
    [16, setFault(places.refused, null)],
    [6, change(places.risky, 7, 'RED')],
    [8, change(places.risky, 7, 'GREEN')],
    [10, setFault(places.withoutHealthForHours, refusedHealth)],
    [14, setFault(places.withoutHealthForHours, null)],
  ];
  return script;
}

/** While Meta said that more than 75 % of the calls are used: those of the background, and for how many minutes. */
function countAbove75({ calls }: Account, quota: number) {
  const counted = calls.filter(({ operation }) => !operation.startsWith('profile'));
  const isAbove = (at: number) =>
    counted.filter((call) => call.at < at && call.at > at - hour).length > 0.75 * quota;
  const end = day.getTime() + hours * hour;
  const times = Array.from({ length: hours * 60 }, (_, index) => end - index * minute);
  return {
    minutes: times.filter(isAbove).length,
    background: calls.filter(({ at, isCaller }) => !isCaller && isAbove(at)).length,
  };
}

function reportBudget({ accounts }: Stage, quota: number): boolean {
  const most = accounts.map(({ calls }) => findMaxInHour(calls));
  return report(
    `reads in the background: at most ${share * quota} calls of an account in any rolling hour`,
    `at most ${most.join(', ')}; in the day ${accounts.map(({ calls }) => calls.length).join(', ')}`,
    Math.max(...most) <= share * quota,
  );
}

function reportLateness(lateness: ReadonlyMap<string, Lateness>): boolean {
  const all = [...lateness.values()];
  const late = all.map(({ minutes }) => minutes);
  const unreported = all.map((it) => it.unreported);
  return report(
    'the oldest list at most 300 s old and the oldest health 900 s (and a minute), or the account is not reported as ON_TIME',
    `too old for ${late.join(', ')} minutes, of which unreported ${unreported.join(', ')}`,
    Math.max(...unreported) === 0 && late.filter((minutes) => minutes === 0).length >= 6,
  );
}

function reportDetections(detections: readonly Detection[]): boolean {
  const delays = detections.map(({ at, seenAt }) => ((seenAt ?? Infinity) - at) / 1_000);
  const longest = Math.max(...delays);
  return report(
    'a change at Meta is seen within one interval of 300 s (and 10 s)',
    `${delays.length} changes: p50 ${toPercentile(delays, 0.5)} s, longest ${longest} s`,
    longest <= (cadenceMs.SWEEP + pollMs) / 1_000 && delays.length > 20,
  );
}

function reportRisk({ accounts }: Stage): boolean {
  // Before, while a number is RED, and once its account has not changed for an hour.
  const lists = [5, 6.3, 10].map((at) => countLists(accounts[places.risky]!, at));
  return report(
    'a risky account is read five times as often, and then as before: 12, 60 and 12 lists an hour, or one more',
    lists.join(', '),
    [12, 60, 12].every((count, index) => lists[index] === count || lists[index] === count + 1),
  );
}

function reportRefusal({ accounts }: Stage): boolean {
  const refused = accounts[places.refused]!.calls.filter(({ status }) => status === 401);
  const tries = refused.map(({ at }) => (at - day.getTime()) / hour);
  const times = tries.map((at) => at.toFixed(2));
  const gaps = tries.slice(1).map((at, index) => at - tries[index]!);
  return report(
    'a token that is refused from 3:00 to 16:00 is tried within 300 s and then every 6 hours, with one call',
    `refused at ${times.join(', ')} hours`,
    tries.length === 3 && gaps.every((gap) => gap >= 6 && gap < 6.01),
  );
}

function reportCallers({ accounts }: Stage, quota: number, { fresh, failed }: CallerReads) {
  const { minutes, background } = countAbove75(accounts[places.busy]!, quota);
  return report(
    'above 75 % used the background makes one call in five minutes, and no caller is refused',
    `${background} calls in ${minutes} minutes; ${fresh} reads of callers answered, ${failed} refused`,
    minutes > 0 && background <= minutes / 5 + 1 && failed === 0 && fresh === callerReads,
  );
}

describe.each([200, 5_000])('a day at %i calls an hour', (quota) => {
  test('of 1,000 numbers in 10 accounts', async () => {
    using clock = createTestClock(day);
    await using gateway = await openTestGateway({
      ...clock,
      database: 'PGlite',
      syncPollMs: pollMs,
      simulator: { now: clock.now },
      environment: { SYNC: 'on', SYNC_BUDGET_SHARE: String(share) },
    });
    const tenant = await gateway.addTenant();
    const accounts = await addAccounts(gateway, tenant, quota);
    const collect = createCollector(clock, gateway, accounts);
    const stage = { clock, gateway, tenant, accounts, collect };
    const detections: Detection[] = [];
    const callers: CallerReads = { fresh: 0, failed: 0 };
    const script = createScript(stage, quota, detections, callers);
    const lateness = await simulate(stage, script, detections);
    expect([
      reportBudget(stage, quota),
      reportLateness(lateness),
      reportDetections(detections),
      reportRisk(stage),
      reportRefusal(stage),
      // More calls than callers make here are left at 5,000 an hour.
      quota > 200 || reportCallers(stage, quota, callers),
    ]).not.toContain(false);
  });
});
