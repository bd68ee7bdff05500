// urql: its defaults, graphcache and persisted queries. The clients are those of README.md.

import { gql } from '@urql/core';
import { describe, expect, test } from 'vitest';
import { forbidWarnings } from './forbidden-warnings.ts';
import { client as cachingClient, keys } from './generated/graphcache.ts';
import { client as persistingClient } from './generated/urql-persisted.ts';
import { client, loadNumbers } from './generated/urql.ts';
import { recordRequests } from './recorded-requests.ts';
import { listTypesWithoutId, loadSchema } from './schema-types.ts';

const requests = recordRequests();

const verdictsQuery = gql`
  query Verdicts {
    numbers {
      id
      apiKeys {
        name
      }
      health {
        sendable
        sendability {
          verdict
          reasons {
            text
          }
        }
        freshness {
          observedAt
          error {
            code
          }
        }
      }
      meta {
        phone {
          verifiedName
        }
        profile {
          about
        }
        waba {
          id
          name
        }
      }
    }
  }
`;

const labelMutation = gql`
  mutation Label($input: LabelNumberInput!) {
    labelNumber(input: $input) {
      number {
        id
        labels
      }
    }
  }
`;
const labelsQuery = gql`
  query Labels {
    numbers {
      id
      labels
    }
  }
`;

describe('urql with its defaults', () => {
  test('reads with GET', async () => {
    const { data, error } = await loadNumbers();
    expect(error).toBeUndefined();
    expect(data.numbers.length).toBeGreaterThan(20);
    expect(requests).toMatchObject([{ method: 'GET', status: 200 }]);
  });

  test('sends variables with GET', async () => {
    const query = gql`
      query One($id: ID!) {
        number(id: $id) {
          name
        }
      }
    `;
    const { data } = await client.query(query, { id: 'wa_acme_sales' }).toPromise();
    expect(data).toMatchObject({ number: { name: 'Acme Vendas' } });
    expect(requests).toMatchObject([{ method: 'GET', status: 200 }]);
  });

  test('sends a query with POST that is too long for a URL', async () => {
    const fields = Array.from(
      { length: 25 },
      (_, index) => `${'a'.repeat(100)}${index}: number(id: "wa_acme_sales") { name }`,
    );
    const { error } = await client.query(`{ ${fields.join(' ')} }`, {}).toPromise();
    expect(error).toBeUndefined();
    expect(requests).toMatchObject([{ method: 'POST', status: 200 }]);
  });

  test('gets the code of an error', async () => {
    const query = gql`
      query Foreign {
        number(id: "wa_borealis_booking") {
          name
        }
      }
    `;
    const { data, error } = await client.query(query, {}).toPromise();
    expect(data).toMatchObject({ number: null });
    expect(error?.graphQLErrors[0]?.extensions).toMatchObject({
      code: 'NUMBER_NOT_FOUND',
      retryable: false,
    });
  });

  test('gets the code of a request that is refused as a whole', async () => {
    const { error } = await client.query('{ numbers { noSuchField } }', {}).toPromise();
    expect(error?.graphQLErrors[0]?.extensions).toMatchObject({ requestId: expect.any(String) });
    expect(requests).toMatchObject([{ method: 'GET', status: 400 }]);
  });
});

describe('graphcache', () => {
  forbidWarnings();

  test('has a key for every type of the schema without an id', async () => {
    expect(Object.keys(keys).toSorted()).toEqual(listTypesWithoutId(await loadSchema()));
  });

  test('shows the values of a refresh in a list that was loaded before', async () => {
    const before = await cachingClient.query(verdictsQuery, {}).toPromise();
    const refresh = gql`
      query Refresh {
        number(id: "wa_acme_garden", refresh: true) {
          id
          health {
            sendable
            sendability {
              verdict
              reasons {
                text
              }
            }
          }
        }
      }
    `;
    const { data } = await cachingClient.query(refresh, {}).toPromise();
    const policy = { requestPolicy: 'cache-only' } as const;
    const after = await cachingClient.query(verdictsQuery, {}, policy).toPromise();
    expect(findVerdict(after.data)).toBe(data.number.health.sendability.verdict);
    expect(findVerdict(after.data)).not.toBe(findVerdict(before.data));
  });

  test('shows the labels of a mutation, which is sent with POST, in a list that was loaded before', async () => {
    const id = 'wa_acme_sales';
    const labels = ['client=urql', 'team=sales'];
    await cachingClient.query(labelsQuery, {}).toPromise();
    const { data, error } = await cachingClient
      .mutation(labelMutation, { input: { id, labels } })
      .toPromise();
    expect(error).toBeUndefined();
    expect(data).toMatchObject({ labelNumber: { number: { id, labels } } });
    expect(requests.at(-1)).toMatchObject({ method: 'POST', status: 200 });
    const { length } = requests;
    const after = await cachingClient.query(labelsQuery, {}).toPromise();
    expect(after.data.numbers.find((it: { id: string }) => it.id === id)).toMatchObject({ labels });
    expect(requests).toHaveLength(length);
  });

  test('keeps the counts of two filters apart', async () => {
    const query = gql`
      query Counts($filter: FleetFilter) {
        fleet(filter: $filter) {
          facets {
            waba {
              id
              count
            }
            portfolio {
              id
              count
            }
          }
        }
      }
    `;
    const all = await cachingClient.query(query, {}).toPromise();
    const some = await cachingClient.query(query, { filter: { verdicts: ['NO'] } }).toPromise();
    expect(some.data).not.toEqual(all.data);
    const policy = { requestPolicy: 'cache-only' } as const;
    expect((await cachingClient.query(query, {}, policy).toPromise()).data).toEqual(all.data);
  });
});

describe('persistedExchange', () => {
  test('sends a mutation with POST', async () => {
    const input = { id: 'wa_acme_sales', labels: ['client=persisted'] };
    const { data, error } = await persistingClient.mutation(labelMutation, { input }).toPromise();
    expect(error).toBeUndefined();
    expect(data).toMatchObject({ labelNumber: { number: { labels: input.labels } } });
    expect(new Set(requests.map(({ method }) => method))).toEqual(new Set(['POST']));
  });

  test('sends a hash with GET, the query once after the gateway did not know it, and then hashes only', async () => {
    const query = gql`
      query PersistedByUrql {
        numbers {
          id
        }
      }
    `;
    const first = await persistingClient.query(query, {}).toPromise();
    expect(first.error).toBeUndefined();
    expect(requests.map(({ status }) => status)).toEqual([200, 200]);
    expect(requests[0]?.method).toBe('GET');
    expect(requests[0]?.url.searchParams.has('query')).toBe(false);
    expect(requests[0]?.responseHeaders.get('cache-control')).toBe('no-store');

    const policy = { requestPolicy: 'network-only' } as const;
    const second = await persistingClient.query(query, {}, policy).toPromise();
    expect(second.data).toEqual(first.data);
    expect(requests).toHaveLength(3);
    expect(requests[2]).toMatchObject({ method: 'GET', status: 200 });
    expect(requests[2]?.url.searchParams.has('query')).toBe(false);
  });
});

/** The verdict of the number that a refresh corrects. */
function findVerdict(data: any): unknown {
  return data.numbers.find(({ id }: { id: string }) => id === 'wa_acme_garden').health.sendability
    .verdict;
}
