// Passes webhooks of Meta on to the gateway with the bytes that Meta signed. GATEWAY_URL: the URL of the endpoint.
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';

createServer(async ({ method = 'GET', url = '/', headers }, response) => {
  const body = method === 'POST' ? await buffer(response.req) : null;
  const signature = String(headers['x-hub-signature-256'] ?? '');
  const options = { method, body, headers: { 'x-hub-signature-256': signature } };
  const target = `${process.env['GATEWAY_URL']}${new URL(url, 'http://relay').search}`;
  const sent = await fetch(target, options).catch(() => new Response(null, { status: 502 }));
  response.writeHead(sent.status, { 'content-type': 'text/plain' }).end(await sent.text());
}).listen(Number(process.env['PORT'] ?? 3000));
