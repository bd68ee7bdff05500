// graphql-request: the client of README.md, and the same with GET.

import { gql, GraphQLClient } from 'graphql-request';
import { expect, inject, test } from 'vitest';
import { client, loadNumbers } from './generated/graphql-request.ts';
import { recordRequests } from './recorded-requests.ts';

const requests = recordRequests();

test('graphql-request reads with POST, and the response is compressed', async () => {
  const { numbers } = await loadNumbers();
  expect(numbers.length).toBeGreaterThan(20);
  expect(requests).toMatchObject([{ method: 'POST', status: 200 }]);
  expect(requests[0]?.responseHeaders.get('content-encoding')).toMatch(/^(br|gzip)$/);
});

test('graphql-request reads with GET', async () => {
  const headers = { 'x-api-key': inject('gatewayKey') };
  const url = `${inject('gatewayUrl')}/graphql`;
  const getting = new GraphQLClient(url, { headers, method: 'GET' });
  const query = gql`
    query One($id: ID!) {
      number(id: $id) {
        name
      }
    }
  `;
  const data = await getting.request(query, { id: 'wa_acme_sales' });
  expect(data).toEqual({ number: { name: 'Acme Vendas' } });
  expect(requests).toMatchObject([{ method: 'GET', status: 200 }]);
});

test('graphql-request gets the code of an error', async () => {
  const query = gql`
    {
      number(id: "wa_borealis_booking") {
        name
      }
    }
  `;
  await expect(client.request(query)).rejects.toMatchObject({
    response: { errors: [{ extensions: { code: 'NUMBER_NOT_FOUND', retryable: false } }] },
  });
});

test('graphql-request reads with a bearer token', async () => {
  const headers = { authorization: `Bearer ${inject('gatewayKey')}` };
  const bearing = new GraphQLClient(`${inject('gatewayUrl')}/graphql`, { headers });
  expect(await bearing.request('{ numbers { id } }')).toHaveProperty('numbers');
});
