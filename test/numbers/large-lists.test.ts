// Tests what bounds the work that the lists of one tenant can cause.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await openTestGateway();
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
