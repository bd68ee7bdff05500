// What sending costs at least: node:http that writes the same bytes to every open response.

import { createServer, type ServerResponse } from 'node:http';
import { listenAndAnnounce } from './announcement.ts';

const open = new Set<ServerResponse>();

// `GET /v1/changes` opens a stream, `POST /` sends its body to all, and `GET /metrics` has the CPU time like the gateway's.
const server = createServer((incoming, outgoing) => {
  if (incoming.method === 'POST') {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const bytes = Buffer.concat(chunks);
      for (const response of open) response.write(bytes);
      outgoing.end();
    });
    return;
  }
  if (incoming.url === '/metrics') {
    const { user, system } = process.cpuUsage();
    outgoing.end(`process_cpu_seconds_total ${(user + system) / 1e6}\n`);
    return;
  }
  open.add(outgoing);
  outgoing.once('close', () => open.delete(outgoing));
  outgoing.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  outgoing.flushHeaders();
});
await listenAndAnnounce(server);
