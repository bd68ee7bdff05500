// What happens while the demo runs: the script by itself, and played to the demo's gateway.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { type Demo, openDemo } from '../../src/demo/demo.ts';
import { demoNumbers, demoTenants, demoWabas } from '../../src/demo/fleet.ts';
import { createLargeFleet, largeTenant, toPlacePhoneId } from '../../src/demo/large-fleet.ts';
import { demoScript } from '../../src/demo/script.ts';
import { createDemoSimulator, toToken, toWabaId } from '../../src/demo/upstreams.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import type { Simulator } from '../../src/simulator/simulator.ts';
import { openTestDatabase } from '../harness.ts';

/** All that the simulated systems have, and whether they answer. */
async function readFleet(simulator: Simulator) {
  const fleet: unknown[] = [];
  simulator.change(({ listWabas, listPhones, findToken, findInstance }) => {
    for (const waba of listWabas()) fleet.push(waba, ...listPhones(waba.id));
    for (const name of Object.keys(demoWabas)) fleet.push(findToken(toToken(name)));
    for (const number of Object.values(demoNumbers)) {
      if ('instance' in number && number.instance !== null)
        fleet.push(findInstance(number.instance));
    }
    return [];
  });
  // One of each account: reads count against its limit.
  const phones = new Map(createLargeFleet().phones.map(({ id, wabaId }) => [wabaId, id])).values();
  const statuses = await Promise.all(
    [...phones].map(async (id) => {
      const headers = { authorization: 'Bearer demo-token-atlas' };
      return (await simulator.fetch(`http://x.invalid/v26.0/${id}?fields=status`, { headers }))
        .status;
    }),
  );
  return { fleet, statuses };
}

describe('the script', () => {
  test('ends where it began, and each of its events changes something or is announced', async () => {
    const simulator = createDemoSimulator('v26.0');
    const before = await readFleet(simulator);
    const without: string[] = [];
    let last = before;
    for (const { what, change } of demoScript) {
      const announced = simulator.change(change);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const now = await readFleet(simulator);
      if (announced.length === 0 && isDeepStrictEqual(now, last)) without.push(what);
      last = now;
    }
    expect(without).toEqual([]);
    expect(last).toEqual(before);
  });

  test('is announced to the tenant whose account it is about', () => {
    const simulator = createDemoSimulator('v26.0');
    const owners = new Map<string, string>([
      ...Object.values(demoWabas).map((it) => [toWabaId(it), demoTenants[it.tenant].id] as const),
      ...createLargeFleet().wabas.map(({ id }) => [id, largeTenant.id] as const),
    ]);
    const kinds = new Set<string>();
    const misdirected: string[] = [];
    for (const { tenantId, what, change } of demoScript) {
      for (const { entryId, field, value } of simulator.change(change)) {
        const { waba_id: wabaId = entryId } = (value['waba_info'] ?? {}) as { waba_id?: string };
        if (owners.get(wabaId) !== tenantId) misdirected.push(what);
        kinds.add(field);
      }
    }
    expect(misdirected).toEqual([]);
    expect(kinds.size).toBeGreaterThanOrEqual(6);
  });
});

describe('a demo that is played', () => {
  let directory: string;
  let demo: Demo;
  let gateway: Gateway;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-play-'));
    demo = await openDemo(
      parseConfig(readEnvironment({ LOG_LEVEL: 'silent', DATA_DIR: directory, SYNC: 'off' })),
    );
    const database = await openTestDatabase('PostgreSQL', { migrated: false });
    gateway = await createGateway(demo.config, { ...demo.overrides, database });
    await demo.seed(gateway);
    // A second event of an account within two seconds is read later, by the job.
    gateway.startJobs();
  }, 120_000);

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** Plays with a timer that the test lets end. */
  function open() {
    const timers: (() => Promise<void>)[] = [];
    const play = demo.play(gateway, {
      now: () => new Date(),
      startTimer(_ms, run) {
        timers.push(run);
        return { [Symbol.dispose]: () => void timers.splice(0) };
      },
    });
    return { timers, play, happen: async () => await timers.shift()!() };
  }

  test('has one endpoint for each tenant, also after another start', async () => {
    await demo.seed(gateway);
    for (const { id } of [...Object.values(demoTenants), largeTenant]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await gateway.webhooks.list(id)).toHaveLength(1);
    }
  });

  const studios = toWabaId(demoWabas.studio);

  test('has what it had after one cycle, and what Meta announces of it is read on the way', async () => {
    const { play, happen } = open();
    const tenantIds = [...Object.values(demoTenants), largeTenant].map(({ id }) => id);
    const ofAtlas = await gateway.numbers.listPhoneNumberIds(largeTenant.id);
    const atlasIds = [10, 20, 120, 700, 431].map((place) => ofAtlas.get(toPlacePhoneId(place))!);
    const readAll = async () => {
      const fleets = Object.values(demoTenants).map(({ id }) =>
        gateway.numbers.list(toOperatorAccess(id)),
      );
      const requests = atlasIds.map((id) => ({ id, refresh: null }));
      const access = toOperatorAccess(largeTenant.id);
      const atlas = await gateway.numbers.getMany(access, requests, new AbortController().signal);
      return [...(await Promise.all(fleets)).flat(), ...atlas].map((number) => {
        if (number instanceof Error) throw number;
        const { id, state, health, meta } = number;
        const { metaStatus, qualityRating, messagingLimitTier, sendability, freshness } = health;
        const stored = { phone: meta?.phone?.value, waba: meta?.waba?.value };
        // The restriction of this account ends some minutes after the test.
        const verdict = stored.waba?.id === studios ? null : sendability.verdict;
        const words = [state, metaStatus, qualityRating, messagingLimitTier, verdict];
        return [id, ...words, freshness?.error?.code, JSON.stringify(stored)].join(' ');
      });
    };
    const watching = new AbortController();
    const pages = await Promise.all(
      tenantIds.map((id) =>
        gateway.history.watchChanges(toOperatorAccess(id), {
          after: null,
          filter: {},
          signal: watching.signal,
        }),
      ),
    );
    const values = new Set<string | null>();
    const watches = pages.map(async (page) => {
      for await (const { changes } of page)
        for (const { newValue } of changes) values.add(newValue);
    });
    const before = await readAll();
    const isSeen = (value: string) =>
      vi.waitFor(() => expect(values).toContain(value), { timeout: 30_000 });
    // oxlint-disable no-await-in-loop -- one after the other
    for (const { what } of demoScript) {
      await happen();
      const seen = announcedValues[what];
      if (seen !== undefined) await isSeen(seen);
    }
    // oxlint-enable no-await-in-loop
    await vi.waitFor(async () => expect(await readAll()).toEqual(before), {
      timeout: 30_000,
      interval: 500,
    });
    watching.abort();
    await Promise.all(watches);
    await play?.[Symbol.asyncDispose]();
  }, 120_000);

  test('is quiet when the play is over', async () => {
    const { play, timers, happen } = open();
    const happening = happen();
    await play?.[Symbol.asyncDispose]();
    await happening;
    expect(timers).toEqual([]);
  });
});

/** What is stored after some events. */
const announcedValues: Readonly<Record<string, string>> = {
  'a number of Atlas Coffee is flagged': 'FLAGGED',
  'the account of Borealis is in review': 'PENDING',
  'the new name of Acme Balé is rejected': 'DECLINED',
  'the limit of Acme Estúdio is raised': 'TIER_10K',
  'a number of Atlas Gym may send faster': 'HIGH',
  'the removal of a PIN is asked for': 'PIN_RESET_REQUEST',
  'another name of Acme Balé is approved': 'Acme Balé Clássico',
  'the account Atlas Spa is disabled': 'META_ACCESS_DENIED',
};
