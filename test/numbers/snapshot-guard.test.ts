// Tests that readings can be stored in any order, and that the tests would notice a mistake in the SQL: it is changed at each
// place where it decides something, and each change must store a wrong result.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Block, type ConnectionState, toPlainFailure } from '../../src/numbers/provider.ts';
import type { Verdict, Verdicts } from '../../src/numbers/reason.ts';
import type * as numbersStore from '../../src/numbers/store.ts';
import { recordReadings } from '../../src/numbers/store.ts';
import { openTestGateway, type TestGateway, type TestNumber, type TestTenant } from '../harness.ts';
import { type MutantSource, type Mutation, openMutantSource, root, toMutants } from '../mutants.ts';

const path = 'src/numbers/store.ts';
const source = readFileSync(join(root, path), 'utf8');

const observedAt = String.raw`\$\{observedAt\}::timestamptz\(3\)`;
const cases = /case when ([^;]+?)\s+then ([^;]+?) else ([^;]+?) end/g;
const greatest = new RegExp(String.raw`greatest\(([^,()]+), (${observedAt}|[^,()]+)\)`, 'g');
const coalesce = /coalesce\(([^,()]+), ([^,()]+)\)/g;
const both = /(read\.state is not null) and ([^\n]+)/g;

// Without the order and the strength of locks, which decide nothing here.
const mutations: readonly Mutation[] = [
  [cases, '$2'],
  [cases, '$3'],
  [cases, 'case when not ($1) then $2 else $3 end'],
  [new RegExp(`case when read\\.data is not null then (${observedAt}) end`, 'g'), '$1'],
  [/case when read\.data is not null/g, 'case when read.data is null'],
  [/ >= /g, ' > '],
  [/ >= /g, ' <= '],
  [/ <= /g, ' < '],
  [/ <= /g, ' >= '],
  [both, '$1'],
  [both, '$2'],
  [greatest, 'least($1, $2)'],
  [greatest, '$1'],
  [greatest, '$2'],
  [coalesce, '$1'],
  [coalesce, '$2'],
  [/'-infinity'/g, `'infinity'`],
  [/recorded_at = excluded\.recorded_at/g, 'recorded_at = old.recorded_at'],
  [/clock_timestamp\(\)/g, '${observedAt}::timestamptz(3)'],
  [/ and n\.id = read\.id/g, ''],
  [/ and read\.good/g, ''],
];

interface Step {
  /** The second at which the read was sent; several steps may have the same. */
  readonly second: number;
  /** Null: other software writes the state. */
  readonly block: Exclude<Block, 'connection'> | null;
  readonly isGood: boolean;
  /** Whether nothing was sent. Not good then. */
  readonly isPrevented: boolean;
  readonly state: ConnectionState | null;
  readonly verdicts: Verdicts;
}

const anyResult = fc.constantFrom(
  { isGood: true, isPrevented: false },
  { isGood: false, isPrevented: false },
  { isGood: false, isPrevented: true },
);

const anyOtherMember = fc.record({
  second: fc.nat(2),
  block: fc.constantFrom('phone', 'phone', 'phone', 'profile', 'waba', null),
  state: fc.constantFrom('OPEN', 'CONNECTING', 'CLOSE', null),
  verdicts: fc.record({
    verdict: fc.constantFrom('YES', 'NO', 'UNKNOWN'),
    replyVerdict: fc.constantFrom('YES', 'NO', 'UNKNOWN'),
  }),
});
const anyStep: fc.Arbitrary<Step> = fc
  .tuple(anyOtherMember, anyResult)
  .map(([members, result]) => Object.assign({}, members, result) as Step);

/** Attempts that change nothing but the time at which they are stored. */
const tooLate: readonly Step[] = (['phone', 'profile', 'waba'] as const).map((block) => ({
  second: -1,
  block,
  isGood: false,
  isPrevented: false,
  state: null,
  verdicts: { verdict: 'NO', replyVerdict: 'NO' },
}));

/** Each list has its own number. The lists are the same in each run. */
const lists: readonly (readonly Step[])[] = fc.sample(
  fc.array(anyStep, { minLength: 1, maxLength: 8 }),
  { seed: 2, numRuns: 60 },
);
const turns = [...Array.from({ length: 8 }).keys()];

/** What is stored of a block. Data and failures contain the index of their step. */
interface Stored {
  readonly data: number | null;
  readonly observedAt: number | null;
  /** -Infinity when no attempt was made. */
  readonly attemptedAt: number;
  readonly failure: number | null;
  readonly obstacle: number | null;
  readonly obstacleAt: number | null;
  readonly verdict: 'YES' | 'NO' | null;
  /** Null unless data of a phone are stored. */
  readonly judged: (Verdicts & { readonly version: number; readonly at: number }) | null;
  readonly isJustStored: boolean;
}

interface Outcome {
  readonly blocks: Readonly<Record<string, Stored>>;
  readonly state: ConnectionState;
  readonly stateObservedAt: number;
  readonly updatedAt: number;
}

/** A failure to read an account is stored with the number, and its data with the account. */
const wabaFailure = 'waba failure';

/** The result to expect, computed without SQL. */
function toExpected(list: readonly Step[]): Outcome {
  const blocks: Record<string, Stored> = {};
  let [state, stateObservedAt, updatedAt]: [ConnectionState, number, number] = ['OPEN', -1, -1];
  for (const [index, step] of [...list, ...tooLate].entries()) {
    const { second, block, isGood } = step;
    const place = block === 'waba' && !isGood ? wabaFailure : block;
    if (place !== null) blocks[place] = toStored(blocks[place], step, index);
    if (block === 'waba' || (block !== null && !isGood)) continue;
    updatedAt = Math.max(updatedAt, second);
    if (block === 'profile' || step.state === null) continue;
    if (block === 'phone' && second < stateObservedAt) continue;
    [state, stateObservedAt] = [step.state, second];
  }
  // The last attempts at the account were failures, which are stored with the number.
  if (blocks['waba'] !== undefined) blocks['waba'] = { ...blocks['waba'], isJustStored: false };
  return { blocks, state, stateObservedAt, updatedAt };
}

function toStored(
  known: Stored | undefined,
  { second, block, isGood, isPrevented, verdicts }: Step,
  index: number,
): Stored {
  const attemptedAt = known?.attemptedAt ?? -Infinity;
  const isTaken = isGood && second >= (known?.observedAt ?? -1);
  const isOfPhone = isTaken && block === 'phone';
  const isLast = !isPrevented && second >= attemptedAt;
  const isNewest = second >= Math.max(attemptedAt, known?.obstacleAt ?? -Infinity);
  const obstacle = isPrevented ? { at: second, index } : null;
  return {
    data: isTaken ? index : (known?.data ?? null),
    observedAt: isTaken ? second : (known?.observedAt ?? null),
    attemptedAt: isPrevented ? attemptedAt : Math.max(second, attemptedAt),
    obstacle: (isNewest ? obstacle?.index : known?.obstacle) ?? null,
    obstacleAt: (isNewest ? obstacle?.at : known?.obstacleAt) ?? null,
    failure: isLast ? (isGood ? null : index) : (known?.failure ?? null),
    verdict: (isOfPhone && toSupported(verdicts.verdict)) || (known?.verdict ?? null),
    judged: isOfPhone
      ? { ...verdicts, version: toVersion(index), at: second }
      : (known?.judged ?? null),
    isJustStored: true,
  };
}

const toSupported = (verdict: Verdict) => (verdict === 'UNKNOWN' ? null : verdict);

/** The version of the rules, and one more for each turn that begins later. */
const toVersion = (turn: number) => 2 + turns.length - 1 - turn;

const start = Date.parse('2026-01-01T00:00:00Z');
const toTime = (second: number) => new Date(start + second * 1_000);
const toSecond = (time: Date | number) =>
  typeof time === 'number' ? time : (time.getTime() - start) / 1_000;

function toReading(
  { block, isGood, isPrevented, state, verdicts }: Step,
  { id, phoneNumberId, wabaId }: TestNumber,
  index: number,
): numbersStore.Reading {
  const isOfPhone = isGood && block === 'phone';
  return {
    block: block ?? 'phone',
    id: block === 'waba' && isGood ? wabaId : id,
    ...(isPrevented && { address: block === 'waba' ? wabaId : phoneNumberId }),
    data: isGood ? { step: index } : null,
    failure: isGood ? null : toPlainFailure('META_UNAVAILABLE', true, String(index)),
    attempted: !isPrevented,
    state: isOfPhone ? state : null,
    verdicts: isOfPhone ? verdicts : null,
  };
}

interface NumberRow {
  readonly id: string;
  readonly state: ConnectionState;
  readonly state_observed_at: Date;
  readonly updated_at: Date;
}

interface SnapshotRow {
  readonly subject: string;
  readonly block: string;
  readonly data: { readonly step: number } | null;
  readonly observed_at: Date | null;
  readonly attempted_at: Date | number;
  readonly failure: { readonly message: string } | null;
  readonly obstacle: { readonly message: string } | null;
  readonly obstacle_at: Date | null;
  readonly verdict: Stored['verdict'];
  readonly data_verdict: Verdict | null;
  readonly data_reply_verdict: Verdict | null;
  readonly rules_version: number;
  readonly judged_at: Date;
  readonly is_just_stored: boolean;
}

function toOutcomeOfBlock(row: SnapshotRow): Stored {
  return {
    data: row.data?.step ?? null,
    observedAt: row.observed_at && toSecond(row.observed_at),
    attemptedAt: toSecond(row.attempted_at),
    failure: row.failure === null ? null : Number(row.failure.message),
    obstacle: row.obstacle === null ? null : Number(row.obstacle.message),
    obstacleAt: row.obstacle_at && toSecond(row.obstacle_at),
    verdict: row.verdict,
    judged: toJudged(row),
    isJustStored: row.is_just_stored,
  };
}

function toJudged(row: SnapshotRow): Stored['judged'] {
  const { data_verdict: verdict, data_reply_verdict: replyVerdict, rules_version: version } = row;
  if (verdict === null || replyVerdict === null) return null;
  return { verdict, replyVerdict, version, at: toSecond(row.judged_at) };
}

const clearing = [
  'delete from number_snapshot',
  'delete from waba_snapshot',
  `update whatsapp_number set state = 'OPEN',
     state_observed_at = '2025-12-31T23:59:59Z', updated_at = '2025-12-31T23:59:59Z'`,
];
const ageing = [
  `update number_snapshot set recorded_at = '2020-01-01'`,
  `update waba_snapshot set recorded_at = '2020-01-01'`,
];

describe('readings that are stored in any order, among changes by other software,', () => {
  const made = new AsyncDisposableStack();
  const numbers: TestNumber[] = [];
  let gateway: TestGateway;
  let tenantId: string;
  let mutants: MutantSource;

  beforeAll(async () => {
    gateway = made.use(await openTestGateway());
    mutants = made.use(await openMutantSource());
    // It would set the time of a change by other software to the present; here each change has its own time.
    await gateway.database.query('alter table whatsapp_number disable trigger track_state_change');
    const tenant = await gateway.addTenant();
    tenantId = tenant.id;
    for (const _ of lists) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      numbers.push(await tenant.addNumber({ credentials: null }));
    }
  });
  afterAll(() => made.disposeAsync());

  test('leave the newest values, and no failure instead of a good value', async () => {
    expect(await tryOut(source)).toEqual(lists.map(toExpected));
  });

  const changed = toMutants(source, mutations);

  test('are stored by SQL with many decisions', { tags: ['source'] }, () => {
    expect(changed.length).toBeGreaterThan(40);
  });

  test.each(changed)(
    'would be stored wrongly after $title',
    { tags: ['mutant'] },
    async ({ text }) => {
      expect(await tryOut(text)).not.toEqual(lists.map(toExpected));
    },
  );

  /** The result for each list; null when a statement has failed. */
  async function tryOut(text: string): Promise<readonly Outcome[] | null> {
    const store = await mutants.load<typeof numbersStore>(path, text);
    await run(clearing);
    try {
      for (const turn of turns) {
        // oxlint-disable no-await-in-loop -- one step after the other
        await run(['update number_snapshot set rules_version = rules_version + 1']);
        await carryOut(store, (list) => (list[turn] === undefined ? [] : [[list[turn], turn]]));
        // oxlint-enable no-await-in-loop
      }
      await run(ageing);
      await carryOut(store, (list) => tooLate.map((step, index) => [step, list.length + index]));
    } catch {
      return null;
    }
    return await readOutcomes();
  }

  /** One step of all lists: readings of the same second are stored together. */
  async function carryOut(
    store: typeof numbersStore,
    pick: (list: readonly Step[]) => readonly (readonly [Step, number])[],
  ): Promise<void> {
    const picked = lists.flatMap((list, place) =>
      pick(list).map(([step, index]) => ({ step, index, number: numbers[place]! })),
    );
    for (const [second, ofSecond] of Map.groupBy(picked, ({ step }) => step.second)) {
      const readings = ofSecond.filter(({ step }) => step.block !== null);
      // oxlint-disable-next-line no-await-in-loop -- one second after the other
      await store.recordReadings(gateway.database, {
        tenantId,
        holder: 'test',
        observedAt: toTime(second),
        readings: readings.map(({ step, number, index }) => toReading(step, number, index)),
        leased: [],
      });
    }
    const written = picked
      .filter(({ step }) => step.block === null)
      .map(({ step, number: { id } }) => ({ id, state: step.state, at: toTime(step.second) }));
    await gateway.database.query(
      `update whatsapp_number n set state = coalesce(w.state, n.state),
         state_observed_at = case when w.state is null then n.state_observed_at else w.at end,
         updated_at = greatest(n.updated_at, w.at)
       from jsonb_to_recordset($1) as w(id text, state text, at timestamptz) where n.id = w.id`,
      [JSON.stringify(written)],
    );
  }

  async function run(statements: readonly string[]): Promise<void> {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    for (const statement of statements) await gateway.database.query(statement);
  }

  async function readOutcomes(): Promise<readonly Outcome[]> {
    const rows = await gateway.database.query<NumberRow>('select * from whatsapp_number');
    const isJustStored = `recorded_at > now() - interval '1 hour' as is_just_stored`;
    const blocks = await gateway.database.query<SnapshotRow>(
      `select number_id as subject, case block when 'waba' then '${wabaFailure}' else block end as block, data, observed_at, attempted_at, failure, obstacle,
         obstacle_at, verdict, data_verdict, data_reply_verdict, rules_version, judged_at, ${isJustStored}
       from number_snapshot
       union all
       select waba_id, 'waba', data, observed_at, attempted_at, failure, null, null, null, null, null, null, null, ${isJustStored}
       from waba_snapshot`,
    );
    const bySubject = Map.groupBy(blocks, ({ subject }) => subject);
    return numbers.map(({ id, wabaId }) => {
      const { state, ...row } = rows.find((candidate) => candidate.id === id)!;
      const own = [...(bySubject.get(id) ?? []), ...(bySubject.get(wabaId) ?? [])];
      return {
        blocks: Object.fromEntries(own.map((block) => [block.block, toOutcomeOfBlock(block)])),
        state,
        stateObservedAt: toSecond(row.state_observed_at),
        updatedAt: toSecond(row.updated_at),
      };
    });
  }
});

describe('what is stored', () => {
  const holder = 'holder';
  const minute = 60_000;
  let gateway: TestGateway;
  let tenant: TestTenant;
  let number: TestNumber;

  beforeAll(async () => {
    gateway = await openTestGateway();
    tenant = await gateway.addTenant();
    number = await tenant.addNumber({ state: 'CONNECTING' });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const toGood = (block: Step['block'], state: ConnectionState | null = null) =>
    toReading(
      {
        second: 0,
        block,
        isGood: true,
        isPrevented: false,
        state,
        verdicts: { verdict: 'UNKNOWN', replyVerdict: 'UNKNOWN' },
      },
      number,
      0,
    );
  const record = async (request: Partial<numbersStore.ReadingsToRecord>) =>
    await recordReadings(gateway.database, {
      tenantId: tenant.id,
      holder,
      observedAt: new Date(),
      readings: [],
      leased: [],
      ...request,
    });
  const addLease = async (subject: string, owner: string) =>
    await gateway.database.query(
      `insert into refresh_lease (tenant_id, subject, holder, expires_at)
       values ($1, $2, $3, now() + interval '1 hour')`,
      [tenant.id, subject, owner],
    );
  const listTables = (): readonly string[] =>
    gateway.statements.flatMap((statement) =>
      [...statement.matchAll(/\b(?:insert into|update|delete from) "?(\w{4,})/g)].map(
        ([, table]) => table!,
      ),
    );

  test.each([
    {
      block: 'phone',
      tables: ['whatsapp_number', 'account_notice', 'number_snapshot', 'number_status'],
    },
    { block: 'waba', tables: ['waba_snapshot', 'number_status'] },
    { block: null, tables: [] },
  ] as const)('of $block is written to its own tables only', async (expected) => {
    gateway.clearStatements();
    await record({ readings: expected.block === null ? [] : [toGood(expected.block)] });
    expect(listTables()).toEqual(expected.tables);
  });

  test('releases the leases of the holder, and no others', async () => {
    const phone = { block: 'phone', id: number.id } as const;
    const account = { block: 'waba', id: number.wabaId } as const;
    await addLease(`phone:${number.id}`, holder);
    await addLease(`profile:${number.id}`, holder);
    await addLease(`waba:${number.wabaId}`, 'somebody else');
    await record({ leased: [phone, account] });
    const left = await gateway.database.query('select subject from refresh_lease order by 1');
    expect(left).toEqual([
      { subject: `profile:${number.id}` },
      { subject: `waba:${number.wabaId}` },
    ]);
  });

  test('includes the budgets that are spent, and forgets those that were a day ago', async () => {
    const now = Date.now();
    const past = { spentPercent: 90, until: new Date(now - 25 * 60 * minute) } as const;
    const present = { spentPercent: 90, until: new Date(now + minute) } as const;
    const budget = `${number.wabaId} ${'x'.repeat(43)}`;
    const spent = 'select account, spent_percent from graph_budget';
    await record({ pauses: new Map([['app', past]]) });
    expect(await gateway.database.query(spent)).toEqual([{ account: 'app', spent_percent: 90 }]);
    await record({ pauses: new Map([[budget, present]]) });
    expect(await gateway.database.query(spent)).toEqual([{ account: budget, spent_percent: 90 }]);
  });

  test('is the state that an operator has set, until a read that was sent later gives another one', async () => {
    const other = await tenant.addNumber({ state: 'CONNECTING' });
    const readings = [toGood('phone', 'OPEN')];
    const getState = async (id: string) =>
      (await gateway.database.query('select state from whatsapp_number where id = $1', [id]))[0];
    const { state } = await gateway.numbers.setState(number.id, 'CLOSE');
    expect(state).toBe('CLOSE');
    await record({ readings, observedAt: new Date(Date.now() - minute) });
    expect(await getState(number.id)).toEqual({ state: 'CLOSE' });
    await record({ readings, observedAt: new Date(Date.now() + minute) });
    expect(await getState(number.id)).toEqual({ state: 'OPEN' });
    expect(await getState(other.id)).toEqual({ state: 'CONNECTING' });
  });
});
