// A gateway with PERSISTED_QUERIES=off: the clients of README.md fall back to whole queries.

import { gql as apolloGql } from '@apollo/client';
import { gql as urqlGql } from '@urql/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DemoProcess, startDemo } from './demo-process.ts';
import { recordRequests } from './recorded-requests.ts';

const requests = recordRequests();
let gateway: DemoProcess;
beforeAll(async () => {
  gateway = await startDemo({ PERSISTED_QUERIES: 'off' });
  process.env['GATEWAY_URL'] = gateway.url;
  process.env['GATEWAY_KEY'] = gateway.key;
});
afterAll(() => gateway[Symbol.asyncDispose]());

test('Apollo sends the whole query, and no hash from then on', async () => {
  const { client } = await import('./generated/apollo-persisted.ts');
  const one = apolloGql`query One { numbers { id } }`;
  const two = apolloGql`query Two { numbers { name } }`;
  expect((await client.query<any>({ query: one })).data.numbers.length).toBeGreaterThan(20);
  expect(requests).toHaveLength(2);
  expect((await client.query<any>({ query: two })).data.numbers.length).toBeGreaterThan(20);
  expect(requests).toHaveLength(3);
});

test('urql sends the whole query, and no hash from then on', async () => {
  const { client } = await import('./generated/urql-persisted.ts');
  const one = await client.query(urqlGql`query One { numbers { id } }`, {}).toPromise();
  expect(one.data.numbers.length).toBeGreaterThan(20);
  expect(requests).toHaveLength(2);
  const two = await client.query(urqlGql`query Two { numbers { name } }`, {}).toPromise();
  expect(two.data.numbers.length).toBeGreaterThan(20);
  expect(requests).toHaveLength(3);
});
