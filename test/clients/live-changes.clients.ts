// The clients of the live feed in README.md: each receives a change, and goes on after a cursor.

import { gql } from '@apollo/client';
import { gql as urqlGql } from '@urql/core';
import { expect, inject, test } from 'vitest';
import { client as apolloClient } from './generated/apollo-sse.ts';
import { openChanges } from './generated/eventsource.ts';
import { readChanges } from './generated/fetch-changes.ts';
import { watchWithGraphqlSse } from './generated/graphql-sse.ts';
import { client as urqlClient } from './generated/urql-sse.ts';

/** Before the last of the changes that the demo has recorded. */
const base = await findBase();

async function findBase(): Promise<{ readonly epoch: string; readonly place: number }> {
  const response = await fetch(`${inject('gatewayUrl')}/v1/changes`, {
    headers: { 'x-api-key': inject('gatewayKey') },
  });
  const { cursor: last } = (await response.json()) as { cursor: string };
  const [, epoch = '', place] = /^(.*\.)(\d+)$/.exec(last) ?? [];
  return { epoch, place: Number(place) - 20 };
}

const subscription = `
  subscription Changes($after: String) {
    changes(after: $after) {
      cursor
      changes {
        cursor
        kind
      }
    }
  }
`;

const after = (place: number) => `${base.epoch}${base.place + place}`;

test('graphql-sse goes on after a cursor', async () => {
  const seen: string[] = [];
  for await (const change of watchWithGraphqlSse(after(2))) {
    seen.push(change.cursor);
    if (seen.length === 3) break;
  }
  expect(seen).toEqual([after(3), after(4), after(5)]);
});

test('urql subscribes through graphql-sse', async () => {
  const { promise, resolve } = Promise.withResolvers<{ data?: any; error?: unknown }>();
  const { unsubscribe } = urqlClient
    .subscription(urqlGql(subscription), { after: after(0) })
    .subscribe(resolve);
  const { data, error } = await promise;
  unsubscribe();
  expect(error).toBeUndefined();
  expect(data.changes.changes[0]).toMatchObject({ cursor: after(1), kind: expect.any(String) });
});

test('Apollo Client subscribes through graphql-sse', async () => {
  const { promise, resolve, reject } = Promise.withResolvers<{ data?: any; error?: unknown }>();
  const running = apolloClient
    .subscribe({ query: gql(subscription), variables: { after: after(0) } })
    .subscribe({ next: resolve, error: reject });
  const { data, error } = await promise;
  running.unsubscribe();
  expect(error).toBeUndefined();
  expect(data.changes.changes[0]).toMatchObject({ cursor: after(1), kind: expect.any(String) });
});

test('EventSource sends the key in a header', async () => {
  const source = openChanges(after(2));
  const { promise, resolve } = Promise.withResolvers<{ lastEventId: string; data: string }>();
  source.addEventListener('change', resolve, { once: true });
  const { lastEventId, data } = await promise;
  source.close();
  expect(lastEventId).toBe(after(3));
  expect(JSON.parse(data)).toMatchObject({ cursor: after(3) });
});

test('fetch goes on after an event', async () => {
  const seen: string[] = [];
  for await (const { event, id } of readChanges(after(2))) {
    expect(event).toBe('change');
    seen.push(id);
    if (seen.length === 2) break;
  }
  expect(seen).toEqual([after(3), after(4)]);
});
