// Runs the audit suite of the specification "GraphQL over HTTP" over a real socket.

import { serverAudits } from 'graphql-http';
import { expect, test } from 'vitest';
import { listen } from '../../src/http/server.ts';
import { openTestGateway } from '../harness.ts';

test('every MUST and SHOULD of GraphQL over HTTP is met, and all but three MAYs', async () => {
  await using gateway = await openTestGateway();
  const { key } = await gateway.addTenant();
  const options = { host: '127.0.0.1', port: 0, noticeMs: 0 };
  const server = await listen(gateway.gateway, options);
  const audits = serverAudits({
    url: `${server.url}/graphql`,
    fetchFn: (url: string, init: RequestInit = {}) =>
      fetch(url, { ...init, headers: { ...init.headers, 'x-api-key': key } }),
  });

  const results = await Promise.all(audits.map((audit) => audit.fn()));
  await server.drain();

  const count = Object.groupBy(results, (result) => result.status);
  const figures = (['ok', 'notice', 'warn', 'error'] as const).map(
    (status) => `${status} ${count[status]?.length ?? 0}`,
  );
  console.log(`GraphQL over HTTP: ${results.length} audits, ${figures.join(', ')}`);
  const missed = results.flatMap((result) =>
    result.status === 'ok'
      ? []
      : [`${result.status} ${result.id}: ${result.name} (${result.reason})`],
  );
  expect(missed.filter((line) => !line.startsWith('notice'))).toEqual([]);
  // Operations sent with GET are not executed.
  expect(missed.map((line) => line.slice(0, 11))).toEqual([
    'notice 5A70',
    'notice D6D5',
    'notice 6A70',
  ]);
  expect(results.length).toBeGreaterThan(60);
});
