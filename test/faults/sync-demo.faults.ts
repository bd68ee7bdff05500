// Half a day of the demo in simulated time: no verdict decays while its number can be read.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { openDemo } from '../../src/demo/demo.ts';
import { createGateway } from '../../src/gateway.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { createTestClock } from '../clock.ts';
import { openTestDatabase } from '../harness.ts';
import { report } from './figures.ts';

const hour = 3_600_000;
const hours = 12;

interface Counts {
  readonly numbers: number;
  readonly decayed: number;
  readonly unreadable: number;
}

test(`no verdict of the demo decays in ${hours} hours`, { timeout: hours * 600_000 }, async () => {
  using clock = createTestClock(new Date());
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-demo-'));
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const demo = await openDemo(parseConfig(readEnvironment({ DATA_DIR: directory })));
  const database = await openTestDatabase('PGlite', { migrated: false });
  // Of the account that never answers. Its reads fail at once instead, because they end by the clock of the machine.
  let silent: readonly string[] = [];
  const gateway = made.use(
    await createGateway(demo.config, {
      ...demo.overrides,
      ...clock,
      database,
      syncPollMs: 10_000,
      telemetry: createTelemetry({ level: 'silent', write: () => undefined }),
      fetch: async (input, init) => {
        const asked = `${input instanceof Request ? input.url : String(input)} ${String(init?.body)}`;
        if (silent.some((id) => asked.includes(id))) throw new TypeError('fetch failed');
        return await demo.overrides.fetch!(input, init);
      },
    }),
  );
  await demo.seed(gateway);
  const found = await database.query<{ ids: readonly string[] }>(
    `select array[n.waba_id, n.phone_number_id] as ids from whatsapp_number n
     join number_snapshot s on s.tenant_id = n.tenant_id and s.number_id = n.id and s.block = 'phone'
     where s.failure ->> 'code' = 'META_TIMEOUT'`,
  );
  silent = found.flatMap(({ ids }) => ids);
  expect(silent.length).toBeGreaterThan(0);
  /** Numbers whose evidence is too old for a verdict: although they can be read, and because they cannot. */
  const count = async () => {
    const [row] = await database.query<Counts>(
      `select count(*)::int as numbers, count(*) filter (where is_old and is_readable)::int as decayed,
         count(*) filter (where is_old and not is_readable)::int as unreadable
       from (
         select s.observed_at < $1::timestamptz - interval '1 hour' as is_old,
           not s.failing and (n.credential_id is not null or c.sealed is not null) as is_readable
         from number_status s
         join whatsapp_number n on n.tenant_id = s.tenant_id and n.id = s.number_id
         left join number_credential c on c.tenant_id = s.tenant_id and c.number_id = s.number_id
         where s.provider = 'META'
       ) it`,
      [clock.now()],
    );
    return row!;
  };
  gateway.sync.start();
  made.use(demo.play(gateway, clock)!);
  const counts: Counts[] = [];
  for (let passed = 0; passed < hours; passed += 1) {
    // oxlint-disable no-await-in-loop -- hour after hour
    await clock.advance(hour);
    counts.push(await count());
    // oxlint-enable no-await-in-loop
  }
  const worst = Math.max(...counts.map(({ decayed }) => decayed));
  const { numbers, unreadable } = counts.at(-1)!;
  const figure = `${worst} of ${numbers} numbers, beside ${unreadable} that cannot be read`;
  expect(report(`verdicts that decayed in ${hours} hours`, figure, worst === 0)).toBe(true);
});
