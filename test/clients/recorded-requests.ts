// Records the requests that the clients send with `fetch`, and what the gateway answered.

import { afterEach, beforeEach } from 'vitest';

export interface RecordedRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  /** '' for a request without a body. */
  readonly body: string;
  readonly status: number;
  readonly responseHeaders: Headers;
}

/** Call it once in a test file. The list is emptied before each test. */
export function recordRequests(): readonly RecordedRequest[] {
  const requests: RecordedRequest[] = [];
  const original = globalThis.fetch;
  beforeEach(() => {
    requests.length = 0;
    globalThis.fetch = async (input, init) => {
      const request = new Request(input, init);
      const body = await request.clone().text();
      const response = await original(request);
      requests.push({
        method: request.method,
        url: new URL(request.url),
        headers: request.headers,
        body,
        status: response.status,
        responseHeaders: response.headers,
      });
      return response;
    };
  });
  afterEach(() => {
    globalThis.fetch = original;
  });
  return requests;
}
