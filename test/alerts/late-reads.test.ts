// SYNC_LATE in simulated time: accounts whose reads fail, and those that are planned to be read more slowly than configured.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { toCauseLimits } from '../../src/alerts/causes.ts';
import { evaluateTenants } from '../../src/alerts/evaluator.ts';
import type { TestClock } from '../clock.ts';
import { type TestGateway, type TestTenant, toHealthyPhone } from '../harness.ts';
import { openInSimulatedTime, type SimulatedTime } from '../sync/simulated-time.ts';

const minute = 60_000;
const hour = 60 * minute;

describe('an account', () => {
  let opened: SimulatedTime;
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeEach(async () => {
    opened = await openInSimulatedTime({ ANSWER_CACHE_MB: '0' });
    ({ clock, gateway } = opened);
    tenant = await gateway.addTenant();
  });
  afterEach(() => opened[Symbol.asyncDispose]());

  async function pass(ms: number): Promise<void> {
    const { database } = gateway;
    const limits = toCauseLimits(300);
    // oxlint-disable no-await-in-loop -- one evaluation after the other
    for (let passed = 0; passed < ms; passed += 5 * minute) {
      await clock.advance(5 * minute);
      await evaluateTenants({ database, now: clock.now, limits, onOpened: () => undefined });
    }
    // oxlint-enable no-await-in-loop
  }

  async function listIncidents() {
    const { body } = await tenant.graphql<{ incidents: { nodes: object[] } }>(
      '{ incidents { nodes { rule state scope subject newValue numberCount text } } }',
    );
    return body.data!.incidents.nodes;
  }

  const addNumbers = async (count: number) => {
    const first = await tenant.addNumber();
    const { wabaId } = first;
    const others = Array.from({ length: count - 1 }, () => tenant.addNumber({ wabaId }));
    return [first, ...(await Promise.all(others))];
  };

  test.each([
    [{ kind: 'html', status: 503 } as const, 'META_UNAVAILABLE', 'Meta could not be reached'],
    [{ kind: 'error', code: 4 } as const, 'META_RATE_LIMITED', 'calls that Meta allows'],
  ])('whose reads all fail with %o is late, and says why', async (fault, code, why) => {
    const [{ wabaId } = { wabaId: '' }] = await addNumbers(3);
    gateway.gateway.sync.start();
    await pass(hour / 2);
    expect(await listIncidents()).toEqual([]);
    gateway.simulator.setFault('*', fault);
    await pass(hour);
    const incident = {
      rule: 'SYNC_LATE',
      scope: 'ACCOUNT',
      subject: wabaId,
      newValue: code,
      numberCount: 3,
      text: expect.stringContaining(why),
    };
    expect(await listIncidents()).toEqual([{ ...incident, state: 'OPEN' }]);
    gateway.simulator.setFault('*', null);
    await pass(hour / 2);
    expect(await listIncidents()).toEqual([{ ...incident, state: 'CLOSED' }]);
  });

  test('that could never be read is late', async () => {
    await addNumbers(1);
    gateway.simulator.setFault('*', { kind: 'html', status: 503 });
    gateway.gateway.sync.start();
    await pass(hour / 2);
    expect(await listIncidents()).toMatchObject([{ rule: 'SYNC_LATE', state: 'OPEN' }]);
  });

  test('whose list is refused is read one number at a time, and not late while that succeeds', async () => {
    const [{ wabaId } = { wabaId: '' }] = await addNumbers(3);
    gateway.gateway.sync.start();
    await pass(hour / 2);
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 10 });
    await pass(hour);
    expect(await listIncidents()).toEqual([]);
  });

  test('that the budget allows to be read only every 26 minutes is late when that is not kept', async () => {
    const numbers = await addNumbers(100);
    const [{ wabaId } = { wabaId: '' }] = numbers;
    gateway.simulator.setFault(wabaId, { kind: 'unknown-field', field: 'health_status' });
    for (const { phoneNumberId, number } of numbers) {
      const fields = { display_phone_number: `+${number}`, platform_type: 'NOT_APPLICABLE' };
      gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
    }
    gateway.gateway.sync.start();
    await pass(2 * hour);
    gateway.simulator.clearCalls();
    await pass(2 * hour);
    // Those of the configured cadence are 24.
    const lists = gateway.simulator.calls.filter(({ path }) => path.endsWith('/phone_numbers'));
    expect(lists.length).toBeLessThan(20);
    expect(await listIncidents()).toEqual([]);
    gateway.simulator.setFault(wabaId, { kind: 'html', status: 503 });
    // Twice as long as planned, and five minutes.
    await pass(1.5 * hour);
    expect(await listIncidents()).toMatchObject([
      { rule: 'SYNC_LATE', state: 'OPEN', newValue: 'META_UNAVAILABLE' },
    ]);
  });
});
