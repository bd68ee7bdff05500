// Puts a server under load with autocannon, for machines without wrk. The argument is a file with a Load; the output is a
// GeneratorReport.

import { readFile } from 'node:fs/promises';
import autocannon from 'autocannon';
import type { GeneratorReport, Load } from '../load.ts';
import { toPercentile } from '../statistics.ts';

const [path = ''] = process.argv.slice(2);
const load = JSON.parse(await readFile(path, 'utf8')) as Load;
process.stdout.write(`${JSON.stringify(await run(load))}\n`);

async function run({ url, requests, connections, seconds }: Load): Promise<GeneratorReport> {
  const durations: number[] = [];
  let joined = 0;
  const { promise, resolve, reject } = Promise.withResolvers<autocannon.Result>();
  const options: autocannon.Options = {
    url,
    connections,
    duration: seconds,
    timeout: 10,
    // Each connection has its share of the requests, so that not all send the same one at once.
    setupClient(client) {
      const share = requests.filter(
        (_, index) => index % connections === joined % Math.min(connections, requests.length),
      );
      joined += 1;
      client.setRequests(
        share.map(({ method, path: target, headers, body }) => ({
          method,
          path: target,
          headers: { ...headers },
          body,
        })),
      );
    },
  };
  const running = autocannon(options, (error: unknown, result: autocannon.Result) =>
    error ? reject(error) : resolve(result),
  );
  // autocannon's own percentiles are whole milliseconds.
  running.on('response', (_client, _status, _bytes, duration) => durations.push(duration));
  const result = await promise;
  return {
    requests: result.requests.total,
    failures: result.non2xx + result.errors + result.timeouts,
    seconds: result.duration,
    p50Ms: toPercentile(durations, 0.5),
    p99Ms: toPercentile(durations, 0.99),
  };
}
