// Reads in the background: that numbers stay as fresh as the plan says, and what it costs.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestClock } from '../clock.ts';
import { type TestGateway, type TestTenant, toHealthyPhone } from '../harness.ts';
import { openInSimulatedTime, type SimulatedTime } from './simulated-time.ts';

const minute = 60_000;
const hour = 60 * minute;

interface Health {
  readonly health: {
    readonly qualityRating: string | null;
    readonly freshness: {
      readonly ageSeconds: number | null;
      readonly error: { readonly code: string } | null;
    } | null;
  };
}

const query = `query($id: ID!) { number(id: $id) { health { qualityRating freshness { ageSeconds error { code } } } } }`;

describe('an account', () => {
  let opened: SimulatedTime;
  let clock: TestClock;
  let gateway: TestGateway;
  let tenant: TestTenant;

  beforeEach(async () => {
    opened = await openInSimulatedTime();
    ({ clock, gateway } = opened);
    tenant = await gateway.addTenant();
  });
  afterEach(() => opened[Symbol.asyncDispose]());

  const read = async (id: string) => {
    const { body } = await tenant.graphql<{ number: Health }>(query, { variables: { id } });
    return body.data!.number.health;
  };
  const countCalls = () => gateway.simulator.calls.length;

  test('is read without a caller, and its numbers stay fresh for hours', async () => {
    const { id, wabaId } = await tenant.addNumber();
    const { id: other } = await tenant.addNumber({ wabaId });
    gateway.gateway.sync.start();
    await clock.advance(2_000);
    expect(await read(id)).toMatchObject({ qualityRating: 'GREEN' });
    // oxlint-disable no-await-in-loop -- hour after hour
    for (let hours = 0; hours < 3; hours += 1) {
      await clock.advance(hour);
      for (const of of [id, other]) {
        const { freshness } = await read(of);
        expect(freshness?.ageSeconds).toBeLessThanOrEqual(901);
      }
    }
    // oxlint-enable no-await-in-loop
  });

  test('is read again within five minutes of a change', async () => {
    const { id, wabaId, phoneNumberId, number } = await tenant.addNumber();
    gateway.gateway.sync.start();
    await clock.advance(hour);
    const { body: before } = await tenant.rest<{ cursor: string }>('/v1/changes');
    const fields = { display_phone_number: `+${number}`, quality_rating: 'RED' };
    gateway.simulator.setPhone(toHealthyPhone(phoneNumberId, wabaId, fields));
    await clock.advance(5 * minute);
    expect((await read(id)).qualityRating).toBe('RED');
    const { body } = await tenant.rest<{ changes: object[] }>(
      `/v1/changes?field=QUALITY_RATING&after=${before.cursor}`,
    );
    expect(body.changes.at(-1)).toMatchObject({ newValue: 'RED', source: 'SYNC' });
  });

  test('of 100 numbers takes one call for all of them', async () => {
    const { wabaId } = await tenant.addNumber();
    await Promise.all(Array.from({ length: 99 }, () => tenant.addNumber({ wabaId })));
    gateway.gateway.sync.start();
    await clock.advance(10 * minute);
    gateway.simulator.clearCalls();
    await clock.advance(hour);
    const lists = gateway.simulator.calls.filter(({ path }) => path.endsWith('/phone_numbers'));
    expect(lists.map(({ query: sent }) => sent['limit'])).toEqual(Array(12).fill('100'));
  });

  test('with a refused token is tried every six hours, and read as before once it is accepted', async () => {
    const { id, wabaId } = await tenant.addNumber();
    gateway.gateway.sync.start();
    await clock.advance(hour);
    gateway.simulator.setFault(wabaId, { kind: 'error', code: 190, subcode: 463 });
    gateway.simulator.clearCalls();
    await clock.advance(13 * hour);
    // At the next sweep, and six and twelve hours later.
    expect(countCalls()).toBe(3);
    expect((await read(id)).freshness?.error).toMatchObject({ code: 'META_ACCESS_DENIED' });
    gateway.simulator.setFault(wabaId, null);
    await clock.advance(8 * hour);
    expect((await read(id)).freshness).toMatchObject({ error: null });
    gateway.simulator.clearCalls();
    await clock.advance(hour);
    const { calls } = gateway.simulator;
    expect(calls.filter(({ path }) => path.endsWith('/phone_numbers'))).toHaveLength(12);
  });
});
