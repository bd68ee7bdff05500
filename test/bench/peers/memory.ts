// The ceiling: node:http with the gateway's bytes in memory. It looks up the key, the path and the body of a request, as any
// cache must.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { listenAndAnnounce } from './announcement.ts';

/** By `toMemoryKey`. The argument is a file with these as JSON. */
export type MemoryResponses = Readonly<
  Record<string, { readonly headers: Readonly<Record<string, string>>; readonly text: string }>
>;

const [path = ''] = process.argv.slice(2);
const stored = JSON.parse(await readFile(path, 'utf8')) as MemoryResponses;
const responses = new Map(
  Object.entries(stored).map(([key, { headers, text }]) => {
    const bytes = Buffer.from(text);
    return [key, { headers: { ...headers, 'content-length': bytes.length }, bytes }];
  }),
);

const server = createServer((incoming, outgoing) => {
  const chunks: Buffer[] = [];
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
  incoming.on('end', () => {
    const { method, url, headers } = incoming;
    const body = Buffer.concat(chunks).toString();
    const response = responses.get(`${method} ${url} ${String(headers['x-api-key'])} ${body}`);
    if (response === undefined) outgoing.writeHead(404).end();
    else outgoing.writeHead(200, response.headers).end(response.bytes);
  });
});
await listenAndAnnounce(server);
