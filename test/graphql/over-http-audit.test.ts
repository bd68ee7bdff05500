// Runs the audit suite of the specification "GraphQL over HTTP" over a real socket.

import { serverAudits } from 'graphql-http';
import { expect, test } from 'vitest';
import { listen } from '../../src/http/server.ts';
import { openTestGateway } from '../harness.ts';

test('every MUST, SHOULD and MAY of GraphQL over HTTP is met', async () => {
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
  expect(missed).toEqual([]);
  expect(results).toHaveLength(61);
});
