// The process that changes the data while contestants are measured: at each tick one statement changes a number of
// every tenant of one part, and after as many ticks as there are parts one of every tenant that is asked, so that no
// answer is good for two questions.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';

export interface WriterWork {
  readonly ownerUrl: string;
  /** One of each tenant that is asked, in the parts that are changed one after the other. */
  readonly parts: readonly (readonly string[])[];
}

const { ownerUrl, parts } = JSON.parse(process.env['WRITER_WORK'] ?? '{}') as WriterWork;
const client = new Client({ connectionString: ownerUrl });
await client.connect();
let changed = 0;
let ticking: NodeJS.Timeout | undefined;
let underWay: Promise<void> = Promise.resolve();

// `GET /?perSecond=N` sets the pace, 0 pauses; the answer is the number of changes so far, once none is under way.
const server = createServer((incoming, outgoing) => {
  const perSecond = Number(
    new URL(incoming.url ?? '/', 'http://writer').searchParams.get('perSecond'),
  );
  clearInterval(ticking);
  if (perSecond > 0) ticking = setInterval(tick, 1_000 / perSecond / parts.length);
  void underWay.then(() => outgoing.end(String(Math.floor(changed / parts.length))));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
// It listens on a port.
const { port } = server.address() as AddressInfo;
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);

// A tick that comes before the last change has ended waits for it, so the count stays true.
function tick(): void {
  underWay = underWay.then(change);
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
