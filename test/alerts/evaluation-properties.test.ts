// Random causes that flap, of numbers and accounts that have something in common, compared with what is so.

import {
  array,
  assert,
  boolean,
  constantFrom,
  nat,
  option,
  property,
  record,
  uniqueArray,
} from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Cause, toCauseSignals } from '../../src/alerts/causes.ts';
import { evaluate } from '../../src/alerts/evaluation.ts';
import type {
  Effect,
  EvaluatedChange,
  EvaluationState,
} from '../../src/alerts/evaluation-state.ts';
import { alertRules, ruleNames } from '../../src/alerts/rules.ts';
import {
  belongingOf,
  createIds,
  createState,
  lost,
  regained,
  restriction,
  run,
  toChange,
  toLine,
} from './evaluated.ts';

interface ReplayedIncident {
  readonly id: string;
  readonly key: string;
  readonly rule: string;
  readonly scope: string;
  readonly subject: string;
  readonly members: Set<string>;
}

/** Written out once more, to be compared with the rules: what explains what for as long as it lasts. */
const explanations: Readonly<Record<string, readonly string[]>> = {
  SENDABLE_LOST: ['ACCOUNT_BANNED', 'RESTRICTED', 'DISCONNECTED'],
  DISCONNECTED: ['ACCOUNT_BANNED'],
  STATUS_CHANGED: ['ACCOUNT_BANNED'],
};

/** What explains others that begin in the same second. */
const together: Readonly<Record<string, readonly string[]>> = {
  SENDABLE_LOST: ['DISCONNECTED', 'STATUS_CHANGED'],
  DISCONNECTED: ['STATUS_CHANGED'],
};

/** Whether the number, or its account as a whole, is part of the incident. */
function isOf({ rule, scope, subject, members }: ReplayedIncident, number: string): boolean {
  const isOfItsAccount = scope === 'ACCOUNT' && subject === number.split('/')[1];
  if (rule === 'RESTRICTED') {
    return isOfItsAccount && members.has('RESTRICTED_BIZ_INITIATED_MESSAGING');
  }
  const isWhole = rule === 'ACCOUNT_BANNED' && members.has(subject);
  return members.has(number) || (isOfItsAccount && isWhole);
}

/** What the effects leave open, and what is wrong with them. */
function replay(effects: readonly Effect[]) {
  const complaints: string[] = [];
  const open = new Map<string, ReplayedIncident>();
  const covered = new Set<string>();
  let clock = -Infinity;
  const isMember = (rule: string, member: string) =>
    open.values().some((it) => it.rule === rule && it.members.has(member));
  const joinedAt = new Map<string, number>();
  const join = ({ rule, members }: ReplayedIncident, member: string) => {
    if (rule !== 'RESTRICTED' && isMember(rule, member)) {
      complaints.push(`${member} is in two incidents of ${rule}`);
    }
    const cause = open
      .values()
      .find((it) => explanations[rule]?.includes(it.rule) && isOf(it, member));
    if (cause !== undefined) complaints.push(`${rule} of ${member} is ${cause.rule}`);
    const consequence = open
      .values()
      .find((it) => together[it.rule]?.includes(rule) && it.members.has(member));
    if (clock - (joinedAt.get(`${consequence?.rule} ${member}`) ?? -Infinity) < 1_000) {
      complaints.push(`${consequence!.rule} of ${member} was ${rule}`);
    }
    joinedAt.set(`${rule} ${member}`, clock);
    members.add(member);
  };
  for (const effect of effects) {
    const at = 'incident' in effect ? effect.incident.at : effect.at;
    if (at < clock) complaints.push(`${toLine(effect)} is in the past`);
    clock = at;
    if ('incident' in effect) {
      const { id, rule, scope, subject, members } = effect.incident;
      if (members.length === 0) complaints.push(`${id} is empty`);
      if (effect.kind === 'NOTED') continue;
      const incident = {
        id,
        key: `${rule} ${scope} ${subject}`,
        rule,
        scope,
        subject,
        members: new Set<string>(),
      };
      if (open.values().some(({ key }) => key === incident.key))
        complaints.push(`two ${incident.key}`);
      for (const member of members) join(incident, member);
      open.set(id, incident);
      continue;
    }
    const incident = open.get(effect.id);
    if (incident === undefined) complaints.push(`${toLine(effect)} is not open`);
    else if (effect.kind === 'COVERED') covered.add(`${effect.id} ${effect.rule} ${effect.member}`);
    else if (effect.kind === 'JOINED') join(incident, effect.member);
    else if (effect.kind === 'LEFT' && !incident.members.delete(effect.member)) {
      complaints.push(`${toLine(effect)} was no member`);
    } else if (effect.kind === 'CLOSED') {
      if (incident.members.size > 0) complaints.push(`${effect.id} closed with members`);
      open.delete(effect.id);
    }
  }
  for (const { members, key } of open.values()) {
    if (members.size === 0) complaints.push(`${key} is open without members`);
  }
  return { complaints, open: [...open.values()], covered };
}

/** Long after all changes. */
const theEnd = 1_000_000_000;

function listRestrictions(seconds: number, wabaId: string, former: string, value: string) {
  return [
    ...(former === '' ? [] : [restriction(seconds, former, true, wabaId)]),
    ...(value === '' ? [] : [restriction(seconds, value, false, wabaId)]),
  ];
}

describe('whatever flaps', () => {
  // Of three accounts of one portfolio and of one token, one of another one, and of a session engine.
  const numbers = [
    'a/p-t/p/t/',
    'b/p-t/p/t/',
    'c/p-t/p/t/',
    'd/p-u/p//',
    'e/q-t/q/t/',
    'f////engine',
    'g////engine',
    'h////engine',
    'i////',
  ] as const;
  const accounts = ['p-t', 'p-u', 'p-v', 'q-t', 'r-t'] as const;
  const words = {
    VERDICT: ['YES', 'NO', 'UNKNOWN'],
    STATE: ['OPEN', 'CONNECTING', 'CLOSE'],
    QUALITY_RATING: ['GREEN', 'YELLOW', 'RED'],
    META_STATUS: ['CONNECTED', 'FLAGGED', 'DISCONNECTED', 'BANNED'],
    MESSAGING_LIMIT_TIER: ['TIER_1K', 'TIER_10K', 'TIER_100K'],
    ACCOUNT_WEBHOOK: ['RECEIVING', 'SILENT', 'MISROUTED', 'UNKNOWN'],
    RESTRICTION: ['', 'RESTRICTED_BIZ_INITIATED_MESSAGING', 'RESTRICTED_ADD_PHONE_NUMBER_ACTION'],
    // What no change reports.
    ACCOUNT_BANNED: ['', 'DISABLE'],
    SYNC_LATE: ['', 'LATE'],
  } as const;
  type Field = keyof typeof words;
  interface Step {
    readonly number: (typeof numbers)[number];
    readonly account: (typeof accounts)[number];
    readonly field: Field;
    readonly word: number;
    readonly seconds: number;
    /** For the evaluation of the next step. */
    readonly waits: boolean;
  }
  const step = record<Step>({
    number: constantFrom(...numbers),
    account: constantFrom(...accounts),
    field: constantFrom(
      ...(Object.keys(words) as Field[]),
      // Those that explain each other, more often.
      ...(['VERDICT', 'STATE', 'META_STATUS', 'META_STATUS', 'META_STATUS'] as const),
    ),
    word: nat({ max: 3 }),
    // Often shorter than a hold time, and sometimes back in time.
    seconds: constantFrom(-1, 0, 0, 1, 7, 20, 59, 60, 61, 130),
    waits: boolean(),
  });
  const ofAccounts: ReadonlySet<string> = new Set([
    'ACCOUNT_WEBHOOK',
    'RESTRICTION',
    'ACCOUNT_BANNED',
    'SYNC_LATE',
  ]);

  /** What is so, and the changes that each step reports: of values that differ from the last ones. */
  function createWorld() {
    const values = new Map<string, string>();
    const known = new Map<string, string>();
    const read = (subject: string, field: Field): string =>
      values.get(`${subject} ${field}`) ?? words[field][0];
    let seconds = 1_000;
    const change = (subject: string, field: Field, value: string): readonly EvaluatedChange[] => {
      const key = `${subject} ${field}`;
      const former = read(subject, field);
      if (value === former) return [];
      values.set(key, value);
      const knownVerdict = known.get(key) ?? words[field][0];
      if (value !== 'UNKNOWN') known.set(key, value);
      if (field === 'ACCOUNT_BANNED' || field === 'SYNC_LATE') return [];
      if (field === 'RESTRICTION') return listRestrictions(seconds, subject, former, value);
      const of = ofAccounts.has(field)
        ? { numberId: null, wabaId: subject }
        : { numberId: subject };
      return [toChange(seconds, field, [former, value], { ...of, knownVerdict })];
    };
    /** What a read of Meta or the engine shows in one transaction, in any order and a moment apart. */
    const changeNumber = (number: string, field: Field, value: string, isReversed: boolean) => {
      const status = field === 'META_STATUS' ? value : read(number, 'META_STATUS');
      const isCut = status === 'DISCONNECTED' || status === 'BANNED';
      const ofStatus = field === 'META_STATUS' ? (isCut ? 'CLOSE' : 'OPEN') : read(number, 'STATE');
      const state = field === 'STATE' && !isCut ? value : ofStatus;
      const verdict = field === 'VERDICT' ? value : read(number, 'VERDICT');
      const changes = [
        ...(field === 'STATE' || field === 'VERDICT' ? [] : change(number, field, value)),
        ...change(number, 'STATE', state),
        ...change(number, 'VERDICT', state === 'OPEN' ? verdict : 'NO'),
      ];
      const ordered = isReversed ? changes.toReversed() : changes;
      return Array.from(ordered, (it, at) =>
        Object.assign({}, it, { recordedAt: it.recordedAt + at }),
      );
    };
    return {
      read,
      now: () => seconds * 1_000 + 10,
      /** The changes of this step. */
      take({ number, account, field, word, seconds: passed }: Step): readonly EvaluatedChange[] {
        seconds += passed;
        const value = words[field][word % words[field].length]!;
        const isReversed = passed % 2 === 0;
        return ofAccounts.has(field)
          ? change(account, field, value)
          : changeNumber(number, field, value, isReversed);
      },
      /** Everything is as it was at the beginning. */
      recover(): readonly EvaluatedChange[] {
        seconds += 1_000;
        return [...values.keys()].flatMap((key) => {
          const [subject, field] = key.split(' ') as [string, Field];
          return change(subject, field, words[field][0]);
        });
      },
      causes: (): readonly Cause[] =>
        accounts.flatMap((subject) =>
          (['ACCOUNT_BANNED', 'SYNC_LATE'] as const)
            .filter((rule) => read(subject, rule) !== '')
            .map((rule) => ({ rule, scope: 'ACCOUNT', subject, value: null })),
        ),
    };
  }

  type World = ReturnType<typeof createWorld>;

  /** What is so and in no incident that is open, and the other way round. */
  function listDifferences({ read }: World, { open, covered }: ReturnType<typeof replay>) {
    const isIn = (rule: string, subject: string) =>
      open.some((it) => it.rule === rule && isOf(it, subject));
    const isExplained = (rule: string, subject: string) =>
      open.some((it) => isOf(it, subject) && covered.has(`${it.id} ${rule} ${subject}`));
    const differences: string[] = [];
    const check = (rule: string, subject: string, isSo: boolean) => {
      const isOpen = isIn(rule, subject);
      if (isSo && !isOpen && !isExplained(rule, subject)) differences.push(`no ${rule} ${subject}`);
      if (isOpen && !isSo) differences.push(`${rule} ${subject}`);
    };
    for (const number of numbers) {
      const status = read(number, 'META_STATUS');
      const isBanned = read(number.split('/')[1]!, 'ACCOUNT_BANNED') !== '';
      check('DISCONNECTED', number, read(number, 'STATE') !== 'OPEN');
      check('STATUS_CHANGED', number, status === 'FLAGGED' || status === 'DISCONNECTED');
      check('ACCOUNT_BANNED', number, status === 'BANNED' || isBanned);
      check('QUALITY_DROPPED', number, read(number, 'QUALITY_RATING') !== 'GREEN');
      // UNKNOWN says nothing, so what was so before stays.
      const verdict = read(number, 'VERDICT');
      if (verdict !== 'UNKNOWN') check('SENDABLE_LOST', number, verdict === 'NO');
    }
    for (const account of accounts) {
      const route = read(account, 'ACCOUNT_WEBHOOK');
      const isRouted = route === 'RECEIVING';
      if (route !== 'UNKNOWN') {
        const isOpen = open.some((it) => it.rule === 'WEBHOOK_SILENT' && it.members.has(account));
        if (isOpen === isRouted) differences.push(`WEBHOOK_SILENT ${account}`);
      }
      const isLate = open.some((it) => it.rule === 'SYNC_LATE' && it.members.has(account));
      if (isLate !== (read(account, 'SYNC_LATE') !== '')) differences.push(`SYNC_LATE ${account}`);
      const isRestricted = open.some((it) => it.rule === 'RESTRICTED' && it.subject === account);
      if (isRestricted !== (read(account, 'RESTRICTION') !== '')) {
        differences.push(`RESTRICTED ${account}`);
      }
    }
    return differences;
  }

  test('one cause is one open incident, each problem is part of one, and everything ends after the recovery', () => {
    assert(
      property(array(step, { maxLength: 60 }), (steps) => {
        const world = createWorld();
        const state = createState();
        const effects: Effect[] = [];
        const options = {
          belongingOf,
          createId: createIds(),
          listObserved: (current: EvaluationState) => toCauseSignals(world.causes(), current),
        };
        const evaluateAt = (changes: readonly EvaluatedChange[], at: number) =>
          effects.push(...evaluate(state, changes, at, options));
        let waiting: EvaluatedChange[] = [];
        for (const it of steps) {
          waiting.push(...world.take(it));
          if (it.waits) continue;
          evaluateAt(waiting, world.now());
          waiting = [];
        }
        evaluateAt(waiting, world.now());
        // Long enough for all hold times, one after the other.
        for (const hours of [1, 2, 3]) evaluateAt([], world.now() + hours * 3_600_000);
        const lasting = replay(effects);
        expect(lasting.complaints).toEqual([]);
        expect(listDifferences(world, lasting)).toEqual([]);
        evaluateAt(world.recover(), world.now());
        for (const hours of [5, 6, 7]) evaluateAt([], world.now() + hours * 3_600_000);
        const ended = replay(effects);
        expect(ended.complaints).toEqual([]);
        expect(ended.open).toEqual([]);
        expect(state.incidents.size + state.conditions.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test('it makes no difference in how many steps changes are evaluated that others follow', () => {
    assert(
      property(
        array(step, { maxLength: 60 }),
        array(nat({ max: 6 }), { maxLength: 30 }),
        (steps, sizes) => {
          const world = createWorld();
          const changes = steps.flatMap((it) => world.take(it));
          const atOnce = { belongingOf, createId: createIds() };
          const expected = evaluate(createState(), changes, theEnd, atOnce);
          const inSteps = { belongingOf, createId: createIds() };
          const effects: Effect[] = [];
          let state = createState();
          let done = 0;
          for (const size of [...sizes, changes.length]) {
            const batch = changes.slice(done, done + size);
            done += batch.length;
            effects.push(...evaluate(state, batch, null, inSteps));
            // As a process does that begins with what is stored.
            state = structuredClone(state);
          }
          effects.push(...evaluate(state, [], theEnd, inSteps));
          expect(effects.map(toLine)).toEqual(expected.map(toLine));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('bans of one account within a minute are one incident if there are three, however they are evaluated', () => {
    const five = ['a', 'b', 'c', 'd', 'e'].map((it) => `${it}/waba//`);
    const ban = record({
      number: constantFrom(...five),
      seconds: nat({ max: 59 }),
      waits: boolean(),
    });
    const bans = uniqueArray(ban, { selector: ({ number }) => number, minLength: 1 });
    assert(
      property(bans, option(nat({ max: 4 }), { nil: -1 }), (all, disabledAt) => {
        const state = createState();
        const effects: Effect[] = [];
        const createId = createIds();
        const causes: Cause[] = [];
        const listObserved = (current: EvaluationState) => toCauseSignals(causes, current);
        let waiting: EvaluatedChange[] = [];
        for (const [at, { number: numberId, seconds, waits }] of all
          .toSorted((one, other) => one.seconds - other.seconds)
          .entries()) {
          const banned = ['CONNECTED', 'BANNED'] as const;
          waiting.push(toChange(1_000 + seconds, 'META_STATUS', banned, { numberId }));
          if (at === disabledAt) {
            causes.push({ rule: 'ACCOUNT_BANNED', scope: 'ACCOUNT', subject: 'waba', value: null });
          }
          if (waits && at < all.length - 1) continue;
          const options = { belongingOf, createId, listObserved };
          effects.push(...evaluate(state, waiting, 1_000_000 + seconds * 1_000, options));
          waiting = [];
        }
        const { complaints, open } = replay(effects);
        expect(complaints).toEqual([]);
        const isOne = causes.length > 0 || all.length >= 3;
        expect(open).toHaveLength(isOne ? 1 : all.length);
        const members = open.flatMap((it) => [...it.members].filter((member) => member !== 'waba'));
        expect(members.toSorted()).toEqual(all.map(({ number }) => number).toSorted());
        // Two of single numbers, and the one that has taken them in.
        const opened = effects.filter(({ kind }) => kind === 'OPENED');
        expect(opened.length).toBeLessThanOrEqual(3);
      }),
      { numRuns: 300 },
    );
  });

  test('nothing that lasts for less than the hold time opens an incident of a rule that has one', () => {
    const held = ruleNames.filter((rule) => alertRules[rule].holdSeconds > 0);
    const changes = Array.from({ length: 200 }, (_, at) =>
      at % 2 === 0 ? lost(1_000 + at * 59) : regained(1_000 + at * 59),
    );
    expect(held).toContain('SENDABLE_LOST');
    expect(run(changes, 1_000 + 199 * 59)).toEqual([]);
  });
});
