// The commands `sync list` and `sync plan`, and what `doctor` says of the reads in the background.

import { expect, test } from 'vitest';
import type { Check } from '../../src/admin/doctor.ts';
import { measureSyncAcrossTenants } from '../../src/sync/claim-store.ts';
import { openTestGateway } from '../harness.ts';
import { openCommandLine } from './command-line.ts';

test('the plan of an account is known before anything is read, and says what is new there and when it is late', async () => {
  await using gateway = await openTestGateway({ database: 'PGlite', environment: { SYNC: 'on' } });
  const tenant = await gateway.addTenant();
  const { wabaId, id } = await tenant.addNumber();
  await tenant.addNumber({ wabaId });
  const { sync } = gateway.gateway;
  const [before] = (await sync.report(tenant.id)).accounts;
  expect(before).toMatchObject({
    wabaId,
    numberCount: 2,
    cadenceSeconds: 300,
    plannedCallsPerHour: 16,
    budgetCallsPerHour: 95,
    attainable: true,
    lastSweepAt: null,
    state: 'ON_TIME',
  });
  await gateway.numbers.remove(id);
  await gateway.database.query(
    `update sync_plan set due_at = 'infinity' where kind in ('PROFILE', 'ACCOUNT')`,
  );
  sync.start();
  await expect
    .poll(async () => (await sync.report(tenant.id)).accounts[0], { timeout: 10_000 })
    .toMatchObject({
      numberCount: 1,
      newNumberCount: 1,
      budgetCallsPerHour: 2_375,
      state: 'ON_TIME',
      lastSweepAt: expect.any(Date),
      nextSweepAt: expect.any(Date),
    });
});

test('list shows an account that is late or refused, and doctor names it and what to do', async () => {
  await using line = await openCommandLine();
  const tenant = await line.addTenant();
  const credentials = { stdin: JSON.stringify({ accessToken: 'EAAof-the-account-0123456789' }) };
  const words = `number add --tenant ${tenant} --number 5511999990001 --provider META --phone-number-id 810000000001`;
  await line.run(
    `${words} --waba-id 710000000001 --name Shop --no-check --credentials -`,
    credentials,
  );
  const environment = { SYNC: 'on' };
  const check = async () => {
    const { json } = await line.run<{ checks: readonly Check[] }>('doctor', { environment });
    return json.checks.filter(({ name }) => /^(sync|account)/.test(name));
  };
  const summary = (detail: string) => ({ name: `sync of ${tenant}`, ok: true, detail });
  expect(await check()).toEqual([summary('accounts: 1 ON_TIME')]);
  await line.query(`update sync_plan set due_at = now() - interval '2 minutes'`);
  const listed = await line.run<object>(`sync list --tenant ${tenant}`, { environment });
  expect(listed.json).toMatchObject({
    accounts: [{ wabaId: '710000000001', numberCount: 1, state: 'LATE', lastSweepAt: null }],
    engine: null,
  });
  const shown = await line.run(`sync list --tenant ${tenant}`, { environment, tty: ['stdout'] });
  expect(shown.stdout).toMatch(/account +numbers +every +last +next +used +last error +state/i);
  expect(await check()).toEqual([
    summary('accounts: 1 LATE'),
    {
      name: 'account 710000000001',
      ok: false,
      isWarning: true,
      detail: expect.stringMatching(/^LATE, never read; see that a process serves/),
    },
  ]);
  await line.query(
    `update sync_subject set pause = 'TOKEN', paused_until = now() + interval '1 hour';
     update sync_plan set last_error = 'META_ACCESS_DENIED' where kind = 'SWEEP'`,
  );
  expect(await check()).toEqual([
    summary('accounts: 1 PAUSED_TOKEN'),
    {
      name: 'account 710000000001',
      ok: false,
      isWarning: true,
      detail: expect.stringMatching(
        /^Meta refuses the access token, never read, last error META_ACCESS_DENIED; store another one with: credential set/,
      ),
    },
  ]);
});

test('list shows the numbers of the session engine too', async () => {
  await using line = await openCommandLine();
  const tenant = await line.addTenant();
  await line.run(
    `number add --tenant ${tenant} --number 5511999990002 --provider PILOT_STATUS --instance shop --name Shop`,
  );
  const listed = await line.run<object>(`sync list --tenant ${tenant}`);
  const engine = { numberCount: 1, cadenceSeconds: 60, lastReadAt: null, state: 'OFF' };
  expect(listed.json).toMatchObject({ accounts: [], engine });
  const shown = await line.run(`sync list --tenant ${tenant}`, { tty: ['stdout'] });
  expect(shown.stdout).toMatch(/^session engine +1 +60 s +- +- +- +- +OFF$/m);
});

test('doctor names the setting that takes most calls of an account for which there are too few', async () => {
  await using line = await openCommandLine();
  const tenant = await line.addTenant();
  const words = `number add --tenant ${tenant} --number 5511999990001 --provider META --phone-number-id 810000000001`;
  await line.run(`${words} --waba-id 710000000001 --name Shop`);
  const advise = async (environment: Readonly<Record<string, string>>) => {
    const { json } = await line.run<{ checks: readonly Check[] }>('doctor', {
      environment: { SYNC: 'on', SYNC_BUDGET_SHARE: '0.05', ...environment },
    });
    return json.checks.find(({ name }) => name === 'account 710000000001')?.detail;
  };
  expect(await advise({})).toBe(
    'LATE, never read; the cadence takes 15 calls an hour, and 9 may be made: raise SYNC_SWEEP_SECONDS, which takes most of them, or SYNC_BUDGET_SHARE',
  );
  await line.query('update sync_subject set reads_health = false');
  expect(await advise({ SYNC_HEALTH_SECONDS: '60' })).toContain('raise SYNC_HEALTH_SECONDS,');
  expect(await advise({ SYNC_PROFILE_SECONDS: '60' })).toContain('raise SYNC_PROFILE_SECONDS,');
});

test('the metrics say how far sync is behind, how old the oldest values are, and how reads ended', async () => {
  await using gateway = await openTestGateway({ environment: { SYNC: 'on', METRICS: 'on' } });
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  await gateway.database.query(`update sync_plan set due_at = now() - interval '5 minutes'`);
  const measured = await measureSyncAcrossTenants(gateway.gateway.database);
  expect(measured.lagSeconds).toBeGreaterThan(299);
  expect(measured.lagSeconds).toBeLessThan(360);
  expect(measured.oldestSeconds).toBeLessThan(60);
  gateway.gateway.startJobs();
  const scrape = async () => (await gateway.gateway.metrics!.render()).text;
  await expect
    .poll(scrape, { timeout: 10_000 })
    .toMatch(/^gateway_sync_calls_total\{outcome="ok"\} [1-9]/m);
  const text = await scrape();
  expect(text).toMatch(/^gateway_sync_lag_seconds \d/m);
  expect(text).toMatch(/^gateway_sync_oldest_reading_seconds \d/m);
});

test('with SYNC=off no process exports how far sync is behind', async () => {
  await using gateway = await openTestGateway({ environment: { METRICS: 'on' } });
  gateway.gateway.startJobs();
  const { text } = await gateway.gateway.metrics!.render();
  expect(text).not.toMatch(/^gateway_sync_lag_seconds \d/m);
});
