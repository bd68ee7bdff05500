// The context of an operation that is executed without a gateway.

import type { ExecutionContext } from '../../src/graphql/execution.ts';
import { createMeter, createRequestContext } from '../../src/http/request-context.ts';

/** `listSize` is how many numbers the tenant's list had last; null when unknown. Nothing limits the tenant's points. */
export function createExecutionContext(
  signal: AbortSignal = new AbortController().signal,
  listSize: number | null = null,
): ExecutionContext {
  const access = {
    tenantId: 'a',
    keyId: 'k',
    numberId: null,
    scopes: ['read'] as const,
    receivedAt: 0,
    meter: createMeter(),
  };
  const numbers = {
    list: async () => [],
    getMany: async () => [null],
    estimateListSize: () => listSize,
  };
  const admission = {
    charge: async () => undefined,
    settle: () => undefined,
    spend: () => true,
    leave: () => undefined,
    continueAsStream: () => undefined,
    spent: 0,
    rateLimit: null,
  };
  return {
    access,
    // The rest is not needed for queries.
    numbers: numbers as unknown as ExecutionContext['numbers'],
    fleet: {} as ExecutionContext['fleet'],
    history: {} as ExecutionContext['history'],
    incidents: {} as ExecutionContext['incidents'],
    operations: {} as ExecutionContext['operations'],
    sync: {} as ExecutionContext['sync'],
    webhookRoutes: {} as ExecutionContext['webhookRoutes'],
    tenants: {} as ExecutionContext['tenants'],
    request: { method: 'POST', headers: new Headers(), signal },
    stream: null,
    sharedList: null,
    listFields: 0,
    morePoints: 0,
    chargeMore: async () => undefined,
    admission,
    requestContext: createRequestContext(new Headers()),
  };
}
