// Responses kept in memory. One is served again until the database announces a change of its tenant's data, or until the
// moment at which it would differ by itself. The endpoints decide what may be kept.

import { LRUCache } from 'lru-cache';
import type { ChangeFeed } from '../database/change-feed.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import { EventStream } from './event-stream.ts';
import type { HttpResponse } from './message.ts';
import type { RequestContext } from './request-context.ts';

export interface CacheKey {
  readonly tenantId: string;
  /** The number that the API key is bound to; null for a tenant-scoped key. */
  readonly numberId: string | null;
  /** Everything else that the response depends on. */
  readonly request: string;
}

export interface ComputedResponse {
  readonly response: HttpResponse;
  /** Whether the endpoint allows it to be served again. A live read is never kept, whatever the endpoint says. */
  readonly isCacheable: boolean;
}

/** The request for which a response is looked up. */
export interface Caller {
  readonly admission: {
    /** Takes points that this process holds; false when they have to be charged. */
    spend(points: number): boolean;
    charge(points: number): Promise<void>;
    /** Including the point that every request costs. */
    readonly spent: number;
  };
  readonly context: RequestContext;
}

export interface ResponseCache {
  /**
   * The cached response, charged like a computed one, or else what `compute` returns. When an entry has expired, one request
   * recomputes it; concurrent ones wait for the result, at most one second.
   */
  getOrCompute(
    key: CacheKey,
    caller: Caller,
    compute: () => Promise<ComputedResponse>,
  ): MaybePromise<HttpResponse>;
}

export interface ResponseCacheOptions {
  readonly changes: Pick<ChangeFeed, 'versionOf'>;
  /** Bound in bytes, estimated from above. One tenant takes at most half of it. */
  readonly maxBytes: number;
  readonly now: () => Date;
  /** Called for each response with where it came from; `shared`: from another request's computation. */
  readonly onLookup?: (source: 'memory' | 'shared' | 'read') => void;
}

/** Computes every response. */
export const disabledResponseCache: ResponseCache = {
  getOrCompute: (_key, _caller, compute) => compute().then(({ response }) => response),
};

interface CacheEntry {
  readonly tenantId: string;
  /** See `ChangeFeed.versionOf`. */
  readonly version: number;
  /** See `RequestMeter.validUntil`. */
  readonly validUntil: Date | null;
  readonly headers: HttpResponse['headers'];
  /** Encoded once: writing a string encodes it each time. */
  readonly body: Buffer<ArrayBuffer>;
  /** What computing it cost beside the point of the request. */
  readonly points: number;
  /** Of the request context, for the log line. */
  readonly operation: string | null;
  readonly operationName: string | null;
  readonly size: number;
}

interface Computation {
  readonly version: number;
  /** Null when the result cannot be served again. */
  readonly entry: Promise<CacheEntry | null>;
}

export function createResponseCache(options: ResponseCacheOptions): ResponseCache {
  const { changes, now, onLookup } = options;
  const state: State = {
    options,
    entries: createEntries(options.maxBytes),
    computations: new Map(),
    hasExpired: ({ validUntil }) => validUntil !== null && now() >= validUntil,
  };
  return {
    getOrCompute(key, caller, compute) {
      const version = changes.versionOf(key.tenantId, 'numbers');
      if (version === null) {
        onLookup?.('read');
        return compute().then(({ response }) => response);
      }
      const lookup = { id: toId(key), tenantId: key.tenantId, version };
      const entry = state.entries.get(lookup.id);
      if (entry?.version === version && !state.hasExpired(entry)) {
        onLookup?.('memory');
        return serveCached(entry, caller);
      }
      const running = state.computations.get(lookup.id);
      // Only what has been cached before is worth waiting for: it is known to be cacheable and quick to compute.
      if (entry === undefined || running?.version !== version) {
        return computeAndStore(state, lookup, caller, compute);
      }
      return waitFor(running.entry).then((shared) => {
        if (shared === null) return computeAndStore(state, lookup, caller, compute);
        onLookup?.('shared');
        return serveCached(shared, caller);
      });
    },
  };
}

interface State {
  readonly options: ResponseCacheOptions;
  readonly entries: ReturnType<typeof createEntries>;
  readonly computations: Map<string, Computation>;
  readonly hasExpired: (entry: CacheEntry) => boolean;
}

interface Lookup {
  readonly id: string;
  readonly tenantId: string;
  /** Read before the computation begins. */
  readonly version: number;
}

function toId({ tenantId, numberId, request }: CacheKey): string {
  return `${tenantId}\0${numberId ?? ''}\0${request}`;
}

async function computeAndStore(
  { options: { changes, onLookup }, entries, computations, hasExpired }: State,
  lookup: Lookup,
  caller: Caller,
  compute: () => Promise<ComputedResponse>,
): Promise<HttpResponse> {
  onLookup?.('read');
  const { id, tenantId, version } = lookup;
  const { promise, resolve } = Promise.withResolvers<CacheEntry | null>();
  const computation = { version, entry: promise };
  computations.set(id, computation);
  let shared: CacheEntry | null = null;
  try {
    const { response, isCacheable } = await compute();
    const entry = isCacheable ? createEntry(lookup, response, caller) : null;
    if (entry === null) return response;
    if (!hasExpired(entry)) {
      shared = entry;
      if (changes.versionOf(tenantId, 'numbers') === version) entries.set(id, entry);
    }
    return { ...response, body: entry.body };
  } finally {
    if (computations.get(id) === computation) computations.delete(id);
    resolve(shared);
  }
}

function serveCached(
  { headers, body, points, operation, operationName }: CacheEntry,
  { admission, context }: Caller,
): MaybePromise<HttpResponse> {
  context.operation = operation;
  context.operationName = operationName;
  const response = { status: 200, headers, body };
  return admission.spend(points) ? response : admission.charge(points).then(() => response);
}

/** Null for what is never kept: errors, live reads, streams. */
function createEntry(
  { id, tenantId, version }: Lookup,
  { status, headers, body }: HttpResponse,
  { admission, context }: Caller,
): CacheEntry | null {
  const { operation, operationName, meter } = context;
  if (status !== 200 || meter.isLive || body === null || body instanceof EventStream) return null;
  const bytes = encode(body);
  return {
    tenantId,
    version,
    validUntil: meter.validUntil,
    headers,
    body: bytes,
    points: admission.spent - 1,
    operation,
    operationName,
    size: entryOverheadBytes + 2 * id.length + bytes.length,
  };
}

/** Not from Node's buffer pool, whose blocks would be kept as a whole. */
function encode(body: string | Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(body));
  if (typeof body === 'string') bytes.write(body);
  else body.copy(bytes);
  return bytes;
}

/** After this wait a request computes the response itself, to meet its own deadline. */
const maxWaitMs = 1_000;

async function waitFor(entry: Promise<CacheEntry | null>): Promise<CacheEntry | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(late.resolve, maxWaitMs, null);
  try {
    return await Promise.race([entry, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What an entry takes beside its body and its key. */
const entryOverheadBytes = 1_000;

/** The least recently used entries are evicted first: of all, or of a tenant that would take more than half. */
function createEntries(maxBytes: number) {
  const maxTenantBytes = maxBytes / 2;
  const bytesOf = new Map<string, number>();
  const count = (tenantId: string, bytes: number): void => {
    const total = (bytesOf.get(tenantId) ?? 0) + bytes;
    if (total === 0) bytesOf.delete(tenantId);
    else bytesOf.set(tenantId, total);
  };
  const cache = new LRUCache<string, CacheEntry>({
    maxSize: maxBytes,
    maxEntrySize: maxTenantBytes,
    sizeCalculation: ({ size }) => size,
    dispose: ({ tenantId, size }) => count(tenantId, -size),
  });
  /** Down to half of the tenant's bound, so that the scan is rare. */
  const evictTenant = (tenantId: string): void => {
    const ids = cache.rkeys().filter((id) => cache.peek(id)?.tenantId === tenantId);
    for (const id of ids.toArray()) {
      if ((bytesOf.get(tenantId) ?? 0) <= maxTenantBytes / 2) return;
      cache.delete(id);
    }
  };
  return {
    /** Moving an entry to the front costs more than the rest of a lookup, so it begins when half of the memory is used. */
    get: (id: string) => (cache.calculatedSize > maxBytes / 2 ? cache.get(id) : cache.peek(id)),
    set(id: string, entry: CacheEntry): void {
      const { tenantId, size } = entry;
      if (size > maxTenantBytes) return;
      if ((bytesOf.get(tenantId) ?? 0) + size > maxTenantBytes) evictTenant(tenantId);
      cache.set(id, entry);
      count(tenantId, size);
    },
  };
}
