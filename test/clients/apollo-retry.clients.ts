// The retry link of README.md, against a gateway whose tenants may spend little.

import { gql } from '@apollo/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DemoProcess, startDemo } from './demo-process.ts';
import { recordRequests } from './recorded-requests.ts';

const requests = recordRequests();
let gateway: DemoProcess;
beforeAll(async () => {
  gateway = await startDemo({ RATE_LIMIT: '50/3' });
  process.env['GATEWAY_URL'] = gateway.url;
  process.env['GATEWAY_KEY'] = gateway.key;
});
afterAll(() => gateway[Symbol.asyncDispose]());

test('the retry link waits as long as the gateway says, and succeeds then', async () => {
  const { client } = await import('./generated/apollo-retry.ts');
  const query = gql`
    query List {
      numbers {
        id
      }
    }
  `;
  while (!requests.some(({ status }) => status === 429)) {
    // oxlint-disable-next-line no-await-in-loop -- spends the points
    const { data } = await client.query<any>({ query, fetchPolicy: 'network-only' });
    expect(data.numbers.length).toBeGreaterThan(20);
    expect(requests.length).toBeLessThan(50);
  }
  expect(requests.at(-1)).toMatchObject({ status: 200 });
  expect(requests.filter(({ status }) => status === 429)).toHaveLength(1);
});

test('the retry link does not repeat what cannot succeed', async () => {
  const { client } = await import('./generated/apollo-retry.ts');
  const query = gql`
    query Invalid {
      numbers {
        noSuchField
      }
    }
  `;
  await expect(client.query({ query })).rejects.toMatchObject({
    errors: [{ extensions: { retryable: false } }],
  });
  expect(requests).toHaveLength(1);
});
