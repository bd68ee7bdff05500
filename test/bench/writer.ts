// The process that changes the data while contestants are measured, so that no response is valid for two requests. Each tick
// changes one number of every tenant of the next part, with one statement.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';

export interface WriterWork {
  readonly ownerUrl: string;
  /** Ids of numbers, one per tenant, divided into the parts that are changed one after the other. */
  readonly parts: readonly (readonly string[])[];
}

const { ownerUrl, parts } = JSON.parse(process.env['WRITER_WORK'] ?? '{}') as WriterWork;
const client = new Client({ connectionString: ownerUrl });
await client.connect();
let changed = 0;
let ticking: NodeJS.Timeout | undefined;
let changing: Promise<void> = Promise.resolve();

// `GET /?perSecond=N` sets the rate, 0 pauses. Responds with the number of changes so far, once none is in progress.
const server = createServer((incoming, outgoing) => {
  const perSecond = Number(
    new URL(incoming.url ?? '/', 'http://writer').searchParams.get('perSecond'),
  );
  clearInterval(ticking);
  if (perSecond > 0) ticking = setInterval(tick, 1_000 / perSecond / parts.length);
  void changing.then(() => outgoing.end(String(Math.floor(changed / parts.length))));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
// The address of a TCP server is an AddressInfo.
const { port } = server.address() as AddressInfo;
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);

// Changes run one after the other, so the count is exact.
function tick(): void {
  changing = changing.then(change);
}

async function change(): Promise<void> {
  await client.query({
    name: 'change',
    text: `update whatsapp_number set name = 'Change ' || $2::text, updated_at = clock_timestamp()
      where id = any($1::text[])`,
    values: [parts[changed % parts.length], changed],
  });
  changed += 1;
}
