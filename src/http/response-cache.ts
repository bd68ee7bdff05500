// Owns the answers that are kept in memory: an answer is given again until the database tells that something of its tenant
// has changed, or the moment comes at which it would say something else by itself. What may be kept is the doors' to say.

import type { ChangeFeed } from '../database/change-feed.ts';
import type { HttpResponse } from './message.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { RequestContext } from './request-context.ts';

export interface CacheKey {
  readonly tenantId: string;
  /** The number that the key is bound to; null for a tenant-scoped key. */
  readonly numberId: string | null;
  /** Everything else that the answer depends on; the same text for what is asked in the same way. */
  readonly request: string;
  /** Whether an answer to it can nearly always be kept, so that who asks the same meanwhile may as well wait for it. */
  readonly isShared?: () => boolean;
}

/** A 200, without what the gateway adds to each answer. */
export interface CachedResponse extends Pick<HttpResponse, 'headers'> {
  /** Its bytes, made once: to write a text means to encode it each time. */
  readonly body: Buffer<ArrayBuffer>;
  /** What it has cost beside the request's own point, to be charged each time. */
  readonly points: number;
  /** The name of what was asked, for metrics. */
  readonly operation: string | null;
}

export interface CacheEntry {
  readonly answer: CachedResponse;
  /** The first moment at which it would be another one although nothing was written; null for none. */
  readonly until: Date | null;
}

export interface Recollection {
  /** Null: it is to be read. */
  readonly answer: CachedResponse | null;
  /**
   * Waits for what somebody else is reading for the same question, nothing having changed since. Resolves to null when that
   * cannot be kept, is good no longer by the time it is there, or takes too long. Null: nobody is.
   */
  readonly join: (() => Promise<CachedResponse | null>) | null;
  /** Lets others wait for what is read from now on; to be called with what was kept of it, also when it failed. */
  begin(): (kept: CacheEntry | null) => void;
  /** Keeps what was read since, unless something has changed meanwhile. */
  keep(kept: CacheEntry): void;
}

export interface ResponseCache extends Disposable {
  /** To be asked before anything is read. */
  recall(question: CacheKey): Recollection;
}

/** What was read, and whether it may be given again as far as its door knows. */
export interface ComputedResponse {
  readonly response: HttpResponse;
  readonly isCacheable: boolean;
}

/** Whoever asks, and what is known of the request. */
export interface Caller {
  readonly admission: {
    spend(points: number): boolean;
    charge(points: number): Promise<void>;
    /** With the request's own point. */
    readonly spent: number;
  };
  readonly context: RequestContext;
}

export interface ResponseCacheOptions {
  readonly changes: ChangeFeed;
  /** Most bytes in memory, estimated from above; half of them for one tenant. */
  readonly maxBytes: number;
  readonly now: () => Date;
  /** Where the answer to a question comes from; `shared`: from somebody else's reading. */
  readonly onRecall?: (source: 'memory' | 'shared' | 'read') => void;
}

/** For a gateway that keeps nothing. */
export const disabledResponseCache: ResponseCache = {
  recall: () => unknown,
  [Symbol.dispose]: () => undefined,
};

const doNothing = (): void => undefined;

const unknown: Recollection = {
  answer: null,
  join: null,
  begin: () => doNothing,
  keep: doNothing,
};

export function createResponseCache({
  changes,
  maxBytes,
  now,
  onRecall,
}: ResponseCacheOptions): ResponseCache {
  const memory = createMemory(maxBytes);
  const leave = changes.subscribe(({ tenantId }) => {
    if (tenantId === null) memory.dropAll();
    else memory.drop(tenantId);
  });
  const isGood = ({ until }: CacheEntry): boolean => until === null || now() < until;
  // What is read while changes may go unheard is counted all the same.
  const unkept: Recollection = {
    ...unknown,
    begin() {
      onRecall?.('read');
      return doNothing;
    },
  };
  return {
    recall({ tenantId, numberId, request }) {
      if (!changes.isCurrent()) return unkept;
      const shelf = memory.get(tenantId);
      const name = `${numberId ?? ''}\0${request}`;
      const kept = shelf.kept.get(name);
      if (kept !== undefined && isGood(kept)) {
        memory.touch(shelf, name, kept);
        onRecall?.('memory');
        return { ...unknown, answer: kept.answer };
      }
      const underWay = shelf.underWay.get(name);
      return {
        answer: null,
        join: underWay === undefined ? null : () => waitFor(underWay, onRecall),
        begin() {
          onRecall?.('read');
          const { promise, resolve } = Promise.withResolvers<CachedResponse | null>();
          shelf.underWay.set(name, promise);
          return (read) => {
            if (shelf.underWay.get(name) === promise) shelf.underWay.delete(name);
            resolve(read !== null && isGood(read) ? read.answer : null);
          };
        },
        keep: (read) => memory.put(shelf, name, read),
      };
    },
    [Symbol.dispose]() {
      leave();
      memory.dropAll();
    },
  };
}

/**
 * Milliseconds. A reading takes a few. One that takes longer may take until its deadline, and who had waited for all of it
 * in vain would only then begin to read, with a deadline of his own, whether his caller is still there or not.
 */
const patienceMs = 1_000;

/** Null as well when it takes too long. */
async function waitFor(
  underWay: Promise<CachedResponse | null>,
  onRecall: ResponseCacheOptions['onRecall'],
): Promise<CachedResponse | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(late.resolve, patienceMs, null);
  try {
    const answer = await Promise.race([underWay, late.promise]);
    if (answer !== null) onRecall?.('shared');
    return answer;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The answer that was kept, charged as if it were read, or else the one that is read now, which is kept if it can be:
 * never an error, nor what was read live. `question`: null for what is not to be kept at all. When an answer is good no
 * longer, one of all who ask for it reads it for them: a process with much to do would else read it for hundreds.
 */
export function getOrCompute(
  answers: ResponseCache,
  question: CacheKey | null,
  asker: Caller,
  read: () => Promise<ComputedResponse>,
): MaybePromise<HttpResponse> {
  if (question === null) return read().then(({ response }) => response);
  const recollection = answers.recall(question);
  const { answer: kept, join } = recollection;
  if (kept !== null) return serveCached(kept, asker);
  if (join === null || question.isShared?.() !== true)
    return readAndKeep(recollection, asker, read);
  return join().then((answer) =>
    answer === null ? readAndKeep(recollection, asker, read) : serveCached(answer, asker),
  );
}

function serveCached(
  kept: CachedResponse,
  { admission, context }: Caller,
): MaybePromise<HttpResponse> {
  context.operation = kept.operation;
  const response = { status: 200, headers: kept.headers, body: kept.body };
  return admission.spend(kept.points)
    ? response
    : admission.charge(kept.points).then(() => response);
}

async function readAndKeep(
  recollection: Recollection,
  { admission, context }: Caller,
  read: () => Promise<ComputedResponse>,
): Promise<HttpResponse> {
  const end = recollection.begin();
  let kept: CacheEntry | null = null;
  try {
    const { response, isCacheable } = await read();
    const { status, headers, body } = response;
    const {
      operation,
      meter: { validUntil, isLive },
    } = context;
    const isKept = recollection.keep !== doNothing && isCacheable && !isLive && status === 200;
    if (!isKept || typeof body !== 'string') return response;
    const answer = { headers, body: toOwnBytes(body), points: admission.spent - 1, operation };
    kept = { answer, until: validUntil };
    recollection.keep(kept);
    return { status, headers, body: answer.body };
  } finally {
    end(kept);
  }
}

/** In memory of their own: small buffers share a block, and one that is kept would keep all of it. */
function toOwnBytes(text: string): Buffer<ArrayBuffer> {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}

/** All that is kept for a tenant. A change puts another one in its place, so that it is known by itself. */
interface Shelf {
  readonly tenantId: string;
  /** The one that was used last stands last. */
  readonly kept: Map<string, CacheEntry>;
  /** What is read for it right now. */
  readonly underWay: Map<string, Promise<CachedResponse | null>>;
  bytes: number;
}

/** An empty shelf, and an answer beside its texts, take about so many bytes. */
const shelfBytes = 400;
const answerBytes = 1_000;

interface Memory {
  get(tenantId: string): Shelf;
  touch(shelf: Shelf, name: string, kept: CacheEntry): void;
  /** Nothing happens when the shelf is there no more. */
  put(shelf: Shelf, name: string, kept: CacheEntry): void;
  drop(tenantId: string): void;
  dropAll(): void;
}

/**
 * Forgets what was not used for the longest time: first of the tenants, then of a tenant's answers. What is used is moved
 * to the end of its line only once half of the memory is taken, since moving costs more than all else about an answer.
 */
function createMemory(maxBytes: number): Memory {
  // The one that was asked last stands last.
  const shelves = new Map<string, Shelf>();
  let bytes = 0;
  const isRoomy = () => bytes <= maxBytes / 2;
  const drop = (tenantId: string): void => {
    bytes -= shelves.get(tenantId)?.bytes ?? 0;
    shelves.delete(tenantId);
  };
  const makeRoom = (): void => {
    for (const shelf of shelves.values()) {
      if (bytes <= maxBytes) return;
      bytes -= trim(shelf, shelf.bytes - (bytes - maxBytes));
      if (bytes > maxBytes) drop(shelf.tenantId);
    }
  };
  return {
    get(tenantId) {
      const found = shelves.get(tenantId);
      if (found !== undefined && isRoomy()) return found;
      const shelf = found ?? { tenantId, kept: new Map(), underWay: new Map(), bytes: shelfBytes };
      if (!shelves.delete(tenantId)) bytes += shelfBytes;
      shelves.set(tenantId, shelf);
      makeRoom();
      return shelf;
    },
    touch(shelf, name, kept) {
      if (isRoomy()) return;
      shelf.kept.delete(name);
      shelf.kept.set(name, kept);
    },
    put(shelf, name, kept) {
      const size = toBytes(name, kept);
      const maxEntryBytes = maxBytes / 2;
      if (shelves.get(shelf.tenantId) !== shelf || size + shelfBytes > maxEntryBytes) return;
      bytes -= remove(shelf, name) + trim(shelf, maxEntryBytes - size);
      shelf.kept.set(name, kept);
      shelf.bytes += size;
      bytes += size;
      makeRoom();
    },
    drop,
    dropAll() {
      shelves.clear();
      bytes = 0;
    },
  };
}

/** Answers how many bytes that frees. */
function remove(shelf: Shelf, name: string): number {
  const kept = shelf.kept.get(name);
  if (kept === undefined) return 0;
  const size = toBytes(name, kept);
  shelf.kept.delete(name);
  shelf.bytes -= size;
  return size;
}

/** Takes the oldest away until no more than so many bytes are left, or none. Answers how many bytes that frees. */
function trim(shelf: Shelf, bytes: number): number {
  let freed = 0;
  for (const oldest of shelf.kept.keys()) {
    if (shelf.bytes <= bytes) break;
    freed += remove(shelf, oldest);
  }
  return freed;
}

// A character of the name takes two bytes at most.
function toBytes(name: string, { answer }: CacheEntry): number {
  return answerBytes + 2 * name.length + answer.body.length;
}
