// Owns the news of what has changed in the database, whoever has changed it: who is told, and how sure it is that nothing
// was missed. How messages travel is change-channel.ts's, when the feed is alive is pulse.ts's.

import { createHeartbeat, type Heartbeat } from './heartbeat.ts';

export interface Change {
  /** Null: everybody's, or nobody knows whose. */
  readonly tenantId: string | null;
  /** Whether API keys may be among what has changed. */
  readonly keys: boolean;
}

export interface ChangeFeed {
  /**
   * Whether all that was committed up to three quarters of a second ago has been told. While it is not, what was read
   * before must not be taken for what the database says now.
   */
  isCurrent(): boolean;
  /**
   * The version of a tenant's numbers, or of its API keys. It increases with every change that is announced, and two
   * different states never have the same version: a cached value is valid as long as its version is the current one. Read it
   * before reading what is to be cached. Null while the feed is not current; then nothing may be served from a cache.
   */
  versionOf(tenantId: string, subject: 'numbers' | 'keys'): number | null;
  /** Starts listening. The first subscription does so too. The feed stays open until it is disposed of. */
  open(): void;
  /** Calls `listener`, which must not throw, with each change. Returns a function that unsubscribes. */
  subscribe(listener: (change: Change) => void): () => void;
  /**
   * Resolves at the next change of this tenant, or of all tenants, that is announced after the call, or after `timeoutMs`.
   * Rejects with the signal's reason. Call it before reading what is waited for, so that no change is missed in between; it
   * need not be awaited.
   */
  waitForChange(tenantId: string, options: WaitOptions): Promise<void>;
  /**
   * Resolves once all has been told that was committed before this call; at once while the feed was never opened. Waits
   * for a database that does not answer, without asking it more often.
   */
  catchUp(): Promise<void>;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A feed that also hears of changes from those who make them, before the database tells. */
export interface OwnedChangeFeed extends ChangeFeed, AsyncDisposable {
  tell(change: Change): void;
}

/** The triggers of the migrations send to this channel. */
export const changesChannel = 'gateway_changes';

/** A way for messages through the database, which come in the order of the commits that sent them. */
export interface Channel extends AsyncDisposable {
  /** Sends a message, to this very listener too. Rejects when the channel does not work any more. */
  send(message: string): Promise<void>;
}

export interface ChannelListener {
  readonly heard: (message: string) => void;
  /** Nothing more will be heard. */
  readonly lost: (cause: Error) => void;
}

/** Resolves once everything that is committed from then on will be heard. */
export type OpenChannel = (listener: ChannelListener) => Promise<Channel>;

export interface ChangeFeedOptions {
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
  /** Told once when the feed is lost or cannot be had. It goes on trying. */
  readonly onLost?: (cause: Error) => void;
}

const everything: Change = { tenantId: null, keys: true };

export function createChangeFeed(
  openChannel: OpenChannel,
  { clock = () => performance.now(), onLost }: ChangeFeedOptions = {},
): OwnedChangeFeed {
  const listeners = new Set<(change: Change) => void>();
  const heartbeat = createHeartbeat(clock);
  let listening: Promise<void> | null = null;
  const versions = createVersions();
  const waiters = createChangeWaiters();
  const tell = (change: Change): void => {
    versions.bump(change);
    waiters.wake(change.tenantId);
    for (const listener of listeners) listener(change);
  };
  const open = (): void => {
    listening ??= listen({ openChannel, heartbeat, tell, onLost });
  };
  return {
    tell,
    open,
    isCurrent: heartbeat.isCurrent,
    versionOf: (tenantId, subject) =>
      heartbeat.isCurrent() ? versions.of(tenantId, subject) : null,
    subscribe(listener) {
      listeners.add(listener);
      open();
      return () => void listeners.delete(listener);
    },
    waitForChange(tenantId, options) {
      open();
      return waiters.wait(tenantId, options);
    },
    catchUp: async () => void (listening === null || (await heartbeat.untilNextBeat())),
    async [Symbol.asyncDispose]() {
      heartbeat.stop();
      waiters.wake(null);
      await listening;
    },
  };
}

/** Tenants whose version is remembered by itself; about 100 bytes each. */
const maxTenants = 100_000;

/**
 * Versions are values of one counter. A tenant that is not remembered has the version `floor`, which is at least the
 * version of every tenant that was forgotten: forgetting a tenant invalidates its cached values and can never revive one.
 */
function createVersions() {
  let counter = 0;
  const create = () => {
    const byTenant = new Map<string, number>();
    let floor = 0;
    return {
      of: (tenantId: string): number => byTenant.get(tenantId) ?? floor,
      bump(tenantId: string | null): void {
        counter += 1;
        if (tenantId === null) {
          byTenant.clear();
          floor = counter;
          return;
        }
        // Deleted first, so that the map stays in the order of the changes.
        byTenant.delete(tenantId);
        byTenant.set(tenantId, counter);
        if (byTenant.size <= maxTenants) return;
        const [[oldest, version] = ['', 0]] = byTenant;
        byTenant.delete(oldest);
        floor = version;
      },
    };
  };
  const [numbers, keys] = [create(), create()];
  return {
    of: (tenantId: string, subject: 'numbers' | 'keys') =>
      (subject === 'keys' ? keys : numbers).of(tenantId),
    bump(change: Change): void {
      numbers.bump(change.tenantId);
      if (change.keys) keys.bump(change.tenantId);
    },
  };
}

/** Callers that wait for the next change of a tenant. Keeps nothing of a tenant that nobody waits for. */
function createChangeWaiters() {
  const byTenant = new Map<string, Set<() => void>>();
  const remove = (tenantId: string, resolve: () => void): void => {
    const waiting = byTenant.get(tenantId);
    waiting?.delete(resolve);
    if (waiting?.size === 0) byTenant.delete(tenantId);
  };
  return {
    wait(tenantId: string, { timeoutMs, signal }: WaitOptions): Promise<void> {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      // A caller that found what it waited for does not await it.
      promise.catch(() => undefined);
      const abort = (): void => reject(signal?.reason);
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort);
      const timer = setTimeout(resolve, timeoutMs);
      const waiting = byTenant.get(tenantId) ?? new Set();
      byTenant.set(tenantId, waiting.add(resolve));
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        remove(tenantId, resolve);
      };
      promise.then(end, end);
      return promise;
    },
    /** Null: of all tenants. */
    wake(tenantId: string | null): void {
      const woken = tenantId === null ? byTenant.values() : [byTenant.get(tenantId) ?? []];
      for (const waiting of woken) for (const resolve of waiting) resolve();
    },
  };
}

interface Listening {
  readonly openChannel: OpenChannel;
  readonly heartbeat: Heartbeat;
  readonly tell: (change: Change) => void;
  readonly onLost: ChangeFeedOptions['onLost'];
}

/**
 * Milliseconds from one beat to the next. One that was late, as the process is busy, is followed at once: what is heard
 * was sent a turn of the event loop ago, and must not grow old meanwhile.
 */
const beatEveryMs = 100;
const retryAfterMs = 100;
const retryAfterMsAtMost = 10_000;

// Never rejects; ends when the pulse is stopped.
async function listen(options: Listening): Promise<void> {
  const { heartbeat, onLost } = options;
  let failures = 0;
  const proved = () => {
    failures = 0;
  };
  while (!heartbeat.isStopped()) {
    // oxlint-disable-next-line no-await-in-loop -- one connection after the other
    const cause = await follow(options, proved).catch((error: unknown) => error as Error);
    heartbeat.reset();
    if (heartbeat.isStopped()) return;
    if (failures === 0) onLost?.(cause);
    failures += 1;
    const maxMs = Math.min(retryAfterMsAtMost, retryAfterMs * 2 ** failures);
    // When a server has come back, not all gateways come at once.
    // oxlint-disable-next-line no-await-in-loop -- the pause before the next connection
    await heartbeat.recover(maxMs * (0.5 + Math.random() / 2));
  }
}

/** One connection for as long as it lasts. Always rejects: with what has ended it. */
async function follow(
  { openChannel, heartbeat, tell }: Listening,
  proved: () => void,
): Promise<never> {
  await using channel = await openChannel({
    heard(message) {
      if (!heartbeat.take(message)) tell(toChange(message));
    },
    lost: heartbeat.fail,
  });
  // What was committed while there was no connection was told to nobody.
  tell(everything);
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one beat after the other
    const tookMs = await heartbeat.beat(channel.send);
    proved();
    // oxlint-disable-next-line no-await-in-loop -- the pause before the next beat
    await heartbeat.rest(beatEveryMs - tookMs);
  }
}

/** What cannot be understood, perhaps because a newer gateway wrote it, may be about everything. */
function toChange(message: string): Change {
  try {
    const { tenant, keys } = JSON.parse(message) as Readonly<Record<string, unknown>>;
    const isKnown = typeof keys === 'boolean' && (tenant === null || typeof tenant === 'string');
    return isKnown ? { tenantId: tenant, keys } : everything;
  } catch {
    return everything;
  }
}
