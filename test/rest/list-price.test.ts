// What a list is charged in advance.

import { expect, test } from 'vitest';
import { openTestGateway } from '../harness.ts';

test('a list is charged in advance for the size that it had last, not for the estimate', async () => {
  // The estimate for a list of unknown size is 40 points; a list of two numbers costs 2, and its request 1.
  await using gateway = await openTestGateway({
    environment: { RATE_LIMIT: '45/3600', ANSWER_CACHE_MB: '0' },
  });
  const tenant = await gateway.addTenant();
  await tenant.addNumber();
  await tenant.addNumber();
  const statuses: number[] = [];
  for (let count = 0; count < 5; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other, because points are counted
    statuses.push((await tenant.rest('/v1/numbers')).status);
  }
  expect(statuses).toEqual([200, 200, 200, 200, 200]);
  const another = await gateway.addTenant();
  expect((await another.rest('/v1/numbers')).status).toBe(200);
});
