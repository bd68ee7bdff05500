// The clients that generate code: their commands in README.md succeed, what they generate compiles, and the code works.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type ConcreteRequest,
  createOperationDescriptor,
  fetchQuery,
  getRequest,
  getSelector,
  type GraphQLTaggedNode,
  type OperationType,
  type SingularReaderSelector,
} from 'relay-runtime';
import { describe, expect, expectTypeOf, inject, test } from 'vitest';
import manifest from './package.json' with { type: 'json' };
import { blocks, testedVersions } from './readme-blocks.ts';
import { recordRequests } from './recorded-requests.ts';

const requests = recordRequests();
const failed = inject('failedCommands');

describe('README.md', () => {
  test.for(blocks.filter(({ language }) => language === 'sh').map(({ name }) => name))(
    'the commands for %s succeed',
    (name) => {
      expect(failed[name]).toBeUndefined();
    },
  );

  test('every block has a name', () => {
    expect(blocks.length).toBeGreaterThan(20);
    expect(blocks.filter(({ name }) => name === '')).toEqual([]);
  });

  test('the versions are those that are installed', () => {
    const ranges: Readonly<Record<string, string>> = manifest.dependencies;
    const installed = testedVersions.map(([name]) => [name, ranges[name]?.replace('^', '')]);
    expect(testedVersions.length).toBeGreaterThan(10);
    expect(testedVersions).toEqual(installed);
  });

  test('all blocks, all generated code and these tests compile with strict', async () => {
    const tsc = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));
    const project = fileURLToPath(new URL('tsconfig.json', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [tsc, '-p', project]).catch(
      (error: { stdout: string }) => error,
    );
    expect(stdout).toBe('');
  }, 120_000);
});

describe('Relay', () => {
  test('refetches a fragment through node', async () => {
    const { environment } = await import('./generated/relay/environment.ts');
    const { numberCard } = await import('./generated/relay/number-card.ts');
    const { default: refetchQuery } =
      await import('./generated/relay/__generated__/numberCardRefetchQuery.graphql.ts');
    const variables = { id: 'wa_acme_sales' };
    const query = refetchQuery as ConcreteRequest;
    const data = await fetchQuery<OperationType>(environment, query, variables).toPromise();
    const { node } = data as { node: unknown };
    const selector = getSelector(numberCard as never, node) as SingularReaderSelector;
    expect(environment.lookup(selector)).toMatchObject({
      isMissingData: false,
      data: { id: 'wa_acme_sales', name: 'Acme Vendas', health: { sendability: {} } },
    });
  });

  test('reads the fragment in a list', async () => {
    const { environment } = await import('./generated/relay/environment.ts');
    const { numbersQuery } = await import('./generated/relay/number-card.ts');
    const query: GraphQLTaggedNode = numbersQuery;
    const data = await fetchQuery<OperationType>(environment, query, {}).toPromise();
    expect((data as { numbers: unknown[] }).numbers.length).toBeGreaterThan(20);
  });

  test('keeps the counts of two filters apart', async () => {
    const { environment } = await import('./generated/relay/environment.ts');
    const { accountCountsQuery } = await import('./generated/relay/account-counts.ts');
    const query: GraphQLTaggedNode = accountCountsQuery;
    const load = (variables: object) =>
      fetchQuery<OperationType>(environment, query, variables).toPromise();
    const ofAll = createOperationDescriptor(getRequest(query), {});
    // Otherwise Relay may remove it from the store.
    environment.retain(ofAll);
    const all = await load({});
    expect(await load({ filter: { verdicts: ['NO'] } })).not.toEqual(all);
    expect(environment.lookup(ofAll.fragment).data).toEqual(all);
  });
});

test('GraphQL Codegen types a query and its result', async () => {
  const { loadNumbers } = await import('./generated/codegen/numbers.ts');
  const { numbers } = await loadNumbers();
  type Listed = (typeof numbers)[number];
  type Reason = Listed['health']['sendability']['reasons'][number];
  expectTypeOf<Listed['updatedAt']>().toEqualTypeOf<string>();
  expectTypeOf<Reason['solution']>().toEqualTypeOf<string | null>();
  expect(numbers.length).toBeGreaterThan(20);
});

test('gql.tada types a query and its result', async () => {
  const { loadNumber } = await import('./generated/tada/number.ts');
  const { data } = await loadNumber('wa_acme_sales');
  type Found = NonNullable<NonNullable<typeof data>['number']>;
  expectTypeOf<Found['createdAt']>().toEqualTypeOf<string>();
  expect(data?.number?.health.qualityRating).toBe('GREEN');
});

describe('openapi-fetch', () => {
  test('types a request and its response', async () => {
    const { loadNumber } = await import('./generated/openapi-fetch/client.ts');
    const { data } = await loadNumber('wa_acme_sales');
    expectTypeOf<NonNullable<typeof data>['name']>().toEqualTypeOf<string>();
    expect(data?.name).toBe('Acme Vendas');
  });

  test('types an error', async () => {
    const { loadNumber } = await import('./generated/openapi-fetch/client.ts');
    const { error, response } = await loadNumber('wa_borealis_booking');
    expect(response.status).toBe(404);
    expect(error?.code).toBe('NUMBER_NOT_FOUND');
  });
});

test('Hey API validates a response with zod', async () => {
  const { loadNumber } = await import('./generated/hey-api/client.ts');
  const number = await loadNumber('wa_acme_sales');
  expectTypeOf<(typeof number)['name']>().toEqualTypeOf<string>();
  expect(number.name).toBe('Acme Vendas');
});

test('TanStack Query keeps its data when the gateway answers 304', async () => {
  const { QueryClient } = await import('@tanstack/react-query');
  const { numbersQuery } = await import('./generated/tanstack-query.ts');
  const client = new QueryClient();
  const first = await client.fetchQuery({ ...numbersQuery, staleTime: 0 });
  const second = await client.fetchQuery({ ...numbersQuery, staleTime: 0 });
  expect(requests.map(({ status }) => status)).toEqual([200, 304]);
  expect(second).toBe(first);
  client.clear();
});
