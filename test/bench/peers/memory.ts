// The ceiling: node:http answering from memory. It looks at the key, the path and the body of a request, as any cache
// must, and sends the bytes that the gateway sent.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { listenAndAnnounce } from './announcement.ts';

/** By `toMemoryKey`; the file that is named by the argument holds these as JSON. */
export type MemoryAnswers = Readonly<
  Record<string, { readonly headers: Readonly<Record<string, string>>; readonly text: string }>
>;

const [path = ''] = process.argv.slice(2);
const stored = JSON.parse(await readFile(path, 'utf8')) as MemoryAnswers;
const answers = new Map(
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
    const answer = answers.get(`${method} ${url} ${String(headers['x-api-key'])} ${body}`);
    if (answer === undefined) outgoing.writeHead(404).end();
    else outgoing.writeHead(200, answer.headers).end(answer.bytes);
  });
});
await listenAndAnnounce(server);
