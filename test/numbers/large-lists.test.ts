// Tests what bounds the work that the lists of one tenant can cause.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import { createListLimiter } from '../../src/numbers/list-limiter.ts';
import { fullProjection } from '../../src/numbers/projection.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await openTestGateway({ database: 'PostgreSQL' });
});

afterAll(() => gateway[Symbol.asyncDispose]());

test('the size of a list is estimated by the last list of the tenant', async () => {
  const tenant = await gateway.addTenant();
  await tenant.addNumber();
  await tenant.addNumber();
  expect(gateway.numbers.estimateListSize(tenant.id)).toBeNull();
  await gateway.numbers.list(toOperatorAccess(tenant.id));
  expect(gateway.numbers.estimateListSize(tenant.id)).toBe(2);
  await tenant.addNumber();
  await gateway.numbers.list(toOperatorAccess(tenant.id));
  expect(gateway.numbers.estimateListSize(tenant.id)).toBe(3);
});

async function addLargeTenant(): Promise<string> {
  const { id } = await gateway.addTenant();
  const phone = {
    verifiedName: 'Lucky Shrub',
    status: 'CONNECTED',
    platformType: 'CLOUD_API',
    healthStatus: { canSendMessage: 'AVAILABLE', entities: [] },
  };
  await gateway.database.query(
    `with added as (
       insert into whatsapp_number (tenant_id, number, name, provider, state, phone_number_id, waba_id)
       select $1, '5511' || i, 'Number', 'META', 'OPEN', (10000000 + i)::text, '70000'
       from generate_series(1, 10000) i returning id
     )
     insert into number_snapshot (tenant_id, number_id, block, data, observed_at, attempted_at)
     select $1, id, 'phone', $2, now(), now() from added`,
    [id, JSON.stringify(phone)],
  );
  await gateway.database.query('analyze whatsapp_number, number_snapshot');
  return id;
}

test('100 concurrent lists of 10,000 numbers are a few reads, and the rest is refused', async () => {
  const tenantId = await addLargeTenant();
  gateway.clearStatements();
  const projection = { ...fullProjection, ages: true };
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, () => gateway.numbers.list(toOperatorAccess(tenantId), projection)),
  );
  const lists = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
  const errors = results.flatMap((it) => (it.status === 'rejected' ? [it.reason as unknown] : []));
  const reads = gateway.statements.filter((it) => it.includes('from whatsapp_number'));
  const distinct = new Set(lists);
  console.log(
    `100 lists: ${lists.length} answered from ${distinct.size} lists in memory, ${reads.length} reads`,
  );
  expect(lists.length).toBeGreaterThan(0);
  expect(distinct.size).toBeLessThanOrEqual(reads.length);
  expect(lists.every((list) => list.length === 10_000)).toBe(true);
  expect(errors.length).toBeGreaterThan(0);
  for (const error of errors) {
    expect(error).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 1 });
  }
});

const releaseWhile = <T>(work: () => Promise<T>) => work();

/** Reads that end when told, and how many are in progress. */
function createReads(limiter = createListLimiter()) {
  const reads: { readonly tenantId: string; readonly end: () => void }[] = [];
  const run = (tenantId: string, size: number) =>
    limiter.run(tenantId, releaseWhile, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const read = { tenantId, end: resolve };
      reads.push(read);
      await promise;
      reads.splice(reads.indexOf(read), 1);
      return { numbers: Array.from({ length: size }) };
    });
  const learn = async (tenantId: string, size: number) => {
    const done = run(tenantId, size);
    reads.at(-1)?.end();
    await done;
  };
  const endAll = () => {
    for (const { end } of reads) end();
  };
  return { limiter, reads, run, learn, endAll };
}

describe('the list limiter', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  test('reads small lists without a limit', async () => {
    const { reads, run, learn, endAll } = createReads();
    await learn('a', 1_000);
    const lists = Array.from({ length: 100 }, () => run('a', 1_000));
    expect(reads).toHaveLength(100);
    endAll();
    await Promise.all(lists);
  });

  test('reads the first list of a tenant alone, and then as many as its size allows', async () => {
    const { reads, run, endAll } = createReads();
    const lists = Array.from({ length: 10 }, () => run('a', 10));
    expect(reads).toHaveLength(1);
    reads[0]?.end();
    await lists[0];
    expect(reads).toHaveLength(9);
    endAll();
    await Promise.all(lists);
  });

  test('reads two large lists of a tenant at a time, and four in the process', async () => {
    const { reads, run, learn } = createReads();
    const tenants = ['a', 'b', 'c'];
    for (const tenant of tenants) await learn(tenant, 1_001); // oxlint-disable-line no-await-in-loop -- in turn
    const lists = tenants.flatMap((tenant) => [0, 1, 2].map(() => run(tenant, 1_001)));
    const read: string[] = [];
    while (reads.length > 0) {
      const ofTenants = Map.groupBy(reads, ({ tenantId }) => tenantId);
      for (const ofTenant of ofTenants.values()) expect(ofTenant.length).toBeLessThanOrEqual(2);
      expect(reads.length).toBeLessThanOrEqual(4);
      const [first] = reads;
      read.push(first?.tenantId ?? '');
      first?.end();
      // oxlint-disable-next-line no-await-in-loop -- until the next one begins
      await new Promise(setImmediate);
    }
    await Promise.all(lists);
    expect(read).toHaveLength(9);
  });

  test('refuses a list that waited for 2 seconds, and one that finds 200 waiting', async () => {
    vi.useFakeTimers();
    const { reads, run, learn, limiter, endAll } = createReads();
    await learn('a', 10_000);
    const lists = [run('a', 10_000), run('a', 10_000)];
    const waiting = Array.from({ length: 200 }, () => run('a', 10_000).catch((it: unknown) => it));
    await expect(run('a', 10_000)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    vi.advanceTimersByTime(2_000);
    for (const error of await Promise.all(waiting)) expect(error).toBeInstanceOf(GatewayError);
    expect(reads).toHaveLength(2);
    endAll();
    await Promise.all(lists);
    await learn('a', 10_000);
    expect(limiter.estimateSize('a')).toBe(10_000);
  });

  test('goes on after a read that failed', async () => {
    const { limiter, learn } = createReads();
    await learn('a', 10_000);
    const fail = () => limiter.run('a', releaseWhile, () => Promise.reject(new Error('down')));
    await expect(Promise.all(Array.from({ length: 5 }, fail))).rejects.toThrow('down');
    await learn('a', 10_000);
  });
});
