// Apollo Client: its defaults, GET, persisted queries and cache policies. The clients are those of README.md.

import { ApolloClient, gql } from '@apollo/client';
import { isInterfaceType } from 'graphql';
import { beforeEach, describe, expect, test } from 'vitest';
import { forbidWarnings } from './forbidden-warnings.ts';
import { createCache } from './generated/apollo-cache.ts';
import { client as gettingClient } from './generated/apollo-get.ts';
import { client as persistingClient } from './generated/apollo-persisted.ts';
import { client } from './generated/apollo.ts';
import { recordRequests } from './recorded-requests.ts';
import { listTypesWithoutId, loadSchema } from './schema-types.ts';

const requests = recordRequests();

forbidWarnings();
beforeEach(() => client.clearStore());

const listQuery = gql`
  query List {
    numbers {
      id
      name
      health {
        qualityRating
        sendability {
          verdict
        }
      }
      meta {
        phone {
          verifiedName
        }
        waba {
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

async function label(by: typeof client, labels: readonly string[]) {
  const variables = { input: { id: 'wa_acme_sales', labels } };
  return await by.mutate<any>({ mutation: labelMutation, variables });
}

describe('Apollo Client with its defaults', () => {
  test('reads with POST', async () => {
    const { data } = await client.query<any>({ query: listQuery });
    expect(data.numbers.length).toBeGreaterThan(20);
    expect(requests).toMatchObject([{ method: 'POST', status: 200 }]);
  });

  test('shows the labels of a mutation in a list that was loaded before', async () => {
    await client.query<any>({ query: labelsQuery });
    const labels = ['client=apollo', 'team=sales'];
    const { data } = await label(client, labels);
    expect(data.labelNumber.number).toMatchObject({ id: 'wa_acme_sales', labels });
    const { length } = requests;
    const after = await client.query<any>({ query: labelsQuery });
    const number = after.data.numbers.find((it: { id: string }) => it.id === 'wa_acme_sales');
    expect(number).toMatchObject({ labels });
    expect(requests).toHaveLength(length);
  });

  test('gets the code of an error beside the data', async () => {
    const query = gql`
      query Foreign {
        number(id: "wa_borealis_booking") {
          name
        }
      }
    `;
    const { data, error } = await client.query<any>({ query, errorPolicy: 'all' });
    expect(data).toEqual({ number: null });
    expect(error).toMatchObject({
      errors: [{ extensions: { code: 'NUMBER_NOT_FOUND', retryable: false } }],
    });
  });

  test('gets the code of a request that is refused as a whole', async () => {
    const refused = new ApolloClient({ cache: createCache(), link: client.link });
    const context = { headers: { 'x-api-key': 'ps_wrong' } };
    const { error } = await refused.query({ query: listQuery, context, errorPolicy: 'all' });
    expect(error).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
  });
});

describe('useGETForQueries', () => {
  test('reads with GET, also with variables', async () => {
    const query = gql`
      query One($id: ID!) {
        number(id: $id) {
          id
          name
        }
      }
    `;
    const { data } = await gettingClient.query<any>({ query, variables: { id: 'wa_acme_sales' } });
    expect(data.number.name).toBe('Acme Vendas');
    expect(requests).toMatchObject([{ method: 'GET', status: 200 }]);
  });
});

test.each([
  ['useGETForQueries', gettingClient],
  ['PersistedQueryLink', persistingClient],
])('a mutation is sent with POST with %s', async (_, by) => {
  const { data } = await label(by, ['client=apollo']);
  expect(data.labelNumber.number.labels).toEqual(['client=apollo']);
  expect(new Set(requests.map(({ method }) => method))).toEqual(new Set(['POST']));
});

describe('PersistedQueryLink', () => {
  test('sends a hash with GET, the query once after the gateway did not know it, and then hashes only', async () => {
    const query = gql`
      query PersistedByApollo {
        numbers {
          id
        }
      }
    `;
    const first = await persistingClient.query<any>({ query });
    expect(requests.map(({ status }) => status)).toEqual([200, 200]);
    expect(requests[0]?.method).toBe('GET');
    expect(requests[0]?.url.searchParams.has('query')).toBe(false);
    expect(requests[0]?.responseHeaders.get('cache-control')).toBe('no-store');

    const second = await persistingClient.query<any>({ query, fetchPolicy: 'network-only' });
    expect(second.data).toEqual(first.data);
    expect(requests).toHaveLength(3);
    expect(requests[2]).toMatchObject({ method: 'GET', status: 200 });
    expect(requests[2]?.url.searchParams.has('query')).toBe(false);
  });
});

describe('the cache policies', () => {
  test('cover every type of the schema without an id', async () => {
    const schema = await loadSchema();
    // Apollo has no public way to list its policies.
    const { policies } = createCache() as unknown as { policies: { toBeAdded: object } };
    const named = Object.keys(policies.toBeAdded);
    const expected = listTypesWithoutId(schema);
    expect(named.filter((name) => expected.includes(name)).toSorted()).toEqual(expected);
  });

  test('name the types of every interface', async () => {
    const schema = await loadSchema();
    const interfaces = Object.values(schema.getTypeMap()).filter(isInterfaceType);
    expect(interfaces.map(({ name }) => name)).toEqual(['Node']);
    const types = interfaces.flatMap((type) => schema.getPossibleTypes(type));
    expect(types.map(({ name }) => name)).toEqual(['WhatsAppNumber']);
  });

  test('keep the counts of two filters apart', async () => {
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
    const all = await client.query<any>({ query });
    const some = await client.query<any>({ query, variables: { filter: { verdicts: ['NO'] } } });
    expect(some.data).not.toEqual(all.data);
    expect(client.readQuery({ query })).toEqual(all.data);
  });

  test('merge the fields that two queries select of the same number', async () => {
    const one = gql`
      query One {
        number(id: "wa_acme_sales") {
          id
          health {
            qualityRating
          }
          meta {
            phone {
              verifiedName
            }
          }
        }
      }
    `;
    const two = gql`
      query Two {
        number(id: "wa_acme_sales") {
          id
          apiKeys {
            name
          }
          health {
            sendable
            freshness {
              ageSeconds
            }
            sendability {
              reasons {
                text
              }
            }
          }
          meta {
            phone {
              status
            }
            waba {
              id
            }
          }
        }
      }
    `;
    await client.query({ query: one, fetchPolicy: 'network-only' });
    await client.query({ query: two, fetchPolicy: 'network-only' });
    await client.query({ query: listQuery });
    for (const query of [one, two, listQuery]) {
      expect(client.readQuery({ query })).not.toBeNull();
    }
  });

  test('find a number of a list by its id', async () => {
    await client.query({ query: listQuery });
    const query = gql`
      query Cached {
        number(id: "wa_acme_sales") {
          id
          name
        }
      }
    `;
    const { data } = await client.query<any>({ query });
    expect(data.number.name).toBe('Acme Vendas');
    expect(requests).toHaveLength(1);
  });

  test('show the values of a refresh in a list that was loaded before', async () => {
    await client.query({ query: listQuery });
    const before = findVerdict('wa_acme_future');
    const query = gql`
      query Refresh {
        number(id: "wa_acme_pharmacy", refresh: true) {
          id
          health {
            qualityRating
            sendability {
              verdict
            }
            freshness {
              source
            }
          }
        }
      }
    `;
    const { data } = await client.query<any>({ query, fetchPolicy: 'network-only' });
    expect(data.number.health.freshness.source).toBe('LIVE');
    expect(findVerdict('wa_acme_pharmacy')).toBe(data.number.health.sendability.verdict);
    expect(findVerdict('wa_acme_future')).toBe(before);
  });
});

/** The verdict of the number in the cached list. */
function findVerdict(id: string): unknown {
  const data = client.readQuery<any>({ query: listQuery });
  return data.numbers.find((number: { id: string }) => number.id === id).health.sendability.verdict;
}
