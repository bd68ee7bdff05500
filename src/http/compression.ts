// Compresses response bodies with the coding that the client prefers.
// https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding

import { promisify } from 'node:util';
import {
  brotliCompress,
  brotliCompressSync,
  type BrotliOptions,
  constants,
  gzip,
  gzipSync,
} from 'node:zlib';
import { LRUCache } from 'lru-cache';
import { EventStream } from './event-stream.ts';
import type { HttpResponse } from './message.ts';
import { findAccepted } from './negotiation.ts';

export type ContentCoding = 'br' | 'gzip' | 'identity';

/** Below this size, compression saves no packet. */
const minBytes = 1_000;

/** Larger bodies are compressed in Node's thread pool, so that the event loop is not blocked. */
const maxSyncBytes = 64_000;

// See "Compression" in test/bench/README.md: higher levels take nearly twice as long or more, for a few percent.
const brotliQuality = 4;
const gzipLevel = 6;

// Headers are text of the caller's choice, so the cache is bounded, also by their length.
const codings = new LRUCache<string, ContentCoding>({ max: 100 });
const maxHeaderLength = 1_000;

/** In the order of preference, among those that the client prefers equally. */
const offers: readonly ContentCoding[] = ['br', 'gzip', 'identity'];

/** The coding for a request with this header; `identity` when the client accepts none of ours. */
export function negotiateCoding(acceptEncoding: string | null): ContentCoding {
  if (acceptEncoding === null || acceptEncoding.length > maxHeaderLength) return 'identity';
  const known = codings.get(acceptEncoding);
  if (known !== undefined) return known;
  const accepted = findAccepted(acceptEncoding, offers, getPrecision);
  const coding = accepted.toSorted((a, b) => b.quality - a.quality)[0]?.offer ?? 'identity';
  codings.set(acceptEncoding, coding);
  return coding;
}

function getPrecision(range: string, offer: ContentCoding): number | null {
  if (range === '*') return 0;
  // https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
  const name = range === 'x-gzip' ? 'gzip' : range;
  return name === offer ? 1 : null;
}

/** The response as it is when its body is small, a stream, or already encoded. */
export async function compress(
  response: HttpResponse,
  coding: ContentCoding,
): Promise<HttpResponse> {
  const { status, headers, body } = response;
  if (coding === 'identity' || body === null || body instanceof EventStream) return response;
  if (headers['content-encoding'] !== undefined) return response;
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  if (bytes.length < minBytes) return response;
  const { etag } = headers;
  return {
    status,
    headers: {
      ...headers,
      'content-encoding': coding,
      // Weak, because the bytes differ from those of the other codings.
      ...(etag !== undefined && { etag: `W/${etag}` }),
    },
    body: await encode(bytes, coding),
  };
}

const encoded = new WeakMap<HttpResponse, Map<ContentCoding, Promise<HttpResponse>>>();

/** As `compress`, once for each coding of a response that is sent again and again. */
export function compressOnce(response: HttpResponse, coding: ContentCoding): Promise<HttpResponse> {
  const byCoding = encoded.get(response) ?? new Map<ContentCoding, Promise<HttpResponse>>();
  encoded.set(response, byCoding);
  const found = byCoding.get(coding) ?? compress(response, coding);
  byCoding.set(coding, found);
  return found;
}

async function encode(
  bytes: Buffer,
  coding: Exclude<ContentCoding, 'identity'>,
): Promise<Buffer<ArrayBuffer>> {
  const isSync = bytes.length <= maxSyncBytes;
  if (coding === 'gzip') {
    const options = { level: gzipLevel };
    return isSync ? gzipSync(bytes, options) : await gzipAsync(bytes, options);
  }
  const options: BrotliOptions = {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: brotliQuality,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  };
  return isSync ? brotliCompressSync(bytes, options) : await brotliAsync(bytes, options);
}

const gzipAsync = promisify(gzip);
const brotliAsync = promisify(brotliCompress);
