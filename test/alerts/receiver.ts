// A receiver of alerts on this machine, which answers as its script says and keeps every request.

import {
  createServer as createHttpServer,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Of the connection. */
  readonly localPort: number;
}

/** What the receiver does with a request; a number is the status of its response. */
export type Behaviour = number | 'hang' | 'reset' | ((response: ServerResponse) => void);

export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly requests: readonly ReceivedRequest[];
  /** The highest number of requests that were open at the same time. */
  readonly maxOpen: number;
  /** For the next requests, one each; afterwards 204. */
  script(...behaviours: readonly Behaviour[]): void;
  /** For all requests without a script. */
  behave(behaviour: Behaviour): void;
  /** Resolves when there are so many requests. */
  received(count: number): Promise<readonly ReceivedRequest[]>;
}

export async function openReceiver({ tls = false } = {}): Promise<Receiver> {
  const requests: ReceivedRequest[] = [];
  const waiting = new Set<() => void>();
  let scripted: Behaviour[] = [];
  let usual: Behaviour = 204;
  let [open, maxOpen] = [0, 0];
  const listener: RequestListener = (request, response) => {
    open += 1;
    maxOpen = Math.max(maxOpen, open);
    response.on('close', () => void (open -= 1));
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      requests.push({
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers as Record<string, string>,
        body: Buffer.concat(chunks).toString(),
        localPort: request.socket.localPort ?? 0,
      });
      respond(response, scripted.shift() ?? usual);
      for (const wake of waiting) wake();
    });
  };
  const server = tls
    ? createHttpsServer({ key: testKey, cert: testCertificate }, listener)
    : createHttpServer(listener);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: tls ? `https://hooks.test:${port}/hook` : `http://127.0.0.1:${port}/hook`,
    port,
    requests,
    get maxOpen() {
      return maxOpen;
    },
    script: (...behaviours) => void (scripted = [...scripted, ...behaviours]),
    behave: (behaviour) => void (usual = behaviour),
    async received(count) {
      while (requests.length < count) {
        // oxlint-disable-next-line no-await-in-loop, no-loop-func -- until there are enough
        await new Promise<void>((resolve) => {
          const wake = () => (waiting.delete(wake), resolve());
          waiting.add(wake);
        });
      }
      return requests;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

/** Like an endpoint that takes the request for the beginning of another protocol. */
export function switchProtocols(response: ServerResponse): void {
  response.socket?.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
  );
}

function respond(response: ServerResponse, behaviour: Behaviour): void {
  if (behaviour === 'hang') return;
  if (behaviour === 'reset') response.socket?.resetAndDestroy();
  else if (typeof behaviour === 'function') behaviour(response);
  else response.writeHead(behaviour).end();
}

// For hooks.test, localhost and 127.0.0.1, until 2126. Nothing trusts it but the tests.
const testKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg8JVCzu1W3LOqEZw5
ZmprkEX6UfL0GyuiRNk3D5jCJDqhRANCAARpa26fvw7PtazBULRaU19+/ym9WvmA
FZFl7Fx7RrDU7I7a1SP+Fuc9KxKHWnYlDwXBpcOeHyW01/4AnMlpoYNH
-----END PRIVATE KEY-----`;
export const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBqDCCAU+gAwIBAgIUTB5XyEJDeRTeC9l3VYghv4psnPIwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKaG9va3MudGVzdDAgFw0yNjExMjkxNDA4NTJaGA8yMTI2MTEw
NTE0MDg1MlowFTETMBEGA1UEAwwKaG9va3MudGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABGlrbp+/Ds+1rMFQtFpTX37/Kb1a+YAVkWXsXHtGsNTsjtrVI/4W
5z0rEodadiUPBcGlw54fJbTX/gCcyWmhg0ejezB5MB0GA1UdDgQWBBSR0E8EQpse
/NClNwhCzB1KsXDzHzAfBgNVHSMEGDAWgBSR0E8EQpse/NClNwhCzB1KsXDzHzAP
BgNVHRMBAf8EBTADAQH/MCYGA1UdEQQfMB2CCmhvb2tzLnRlc3SCCWxvY2FsaG9z
dIcEfwAAATAKBggqhkjOPQQDAgNHADBEAiB2+CLqfu2htuVIsH8JqUYIWSQz7tkx
B/XlaC79nhoclgIgQj11QrzSw8ix8C2McIoyiIMZjxikxT0Vfa3b1c8NIYA=
-----END CERTIFICATE-----`;
