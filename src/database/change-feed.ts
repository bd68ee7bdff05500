// Tells the process what has changed in the database, whichever process changed it, and whether it has heard
// everything.

import { randomUUID } from 'node:crypto';
import { createHeartbeat, type Heartbeat } from './heartbeat.ts';

export interface Change {
  /** Null: of all tenants. */
  readonly tenantId: string | null;
  /** Whether API keys may have changed too. */
  readonly keys: boolean;
}

export interface ChangeFeed {
  /**
   * Whether every change was announced that was committed more than 750 ms ago. For metrics: it does not count as use.
   */
  isCurrent(): boolean;
  /**
   * The version of a tenant's numbers, or of its API keys. It increases with every change that is announced, and two
   * different states never have the same version: a cached value is valid as long as its version is the current one.
   * Read it before reading what is to be cached. Null while the feed is not current; then nothing may be served from a
   * cache.
   */
  versionOf(tenantId: string, subject: 'numbers' | 'keys'): number | null;
  /** The highest version of all tenants. A tenant with a higher one later has changed since. */
  version(): number;
  /** Starts listening, which lasts until the feed is disposed of. Waiting for a change does so too. */
  open(): void;
  /**
   * Resolves at the next change of this tenant, or of all tenants, that is announced after the call, or after
   * `timeoutMs`. Rejects with the signal's reason. Call it before reading what is waited for, so that no change is
   * missed in between; it need not be awaited.
   */
  waitForChange(tenantId: string, options: WaitOptions): Promise<void>;
  /**
   * Resolves when every change was announced that was committed before the call; at once if the feed was never opened.
   * While the database does not answer it waits, without making more attempts to connect.
   */
  catchUp(): Promise<void>;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface OwnedChangeFeed extends ChangeFeed, AsyncDisposable {
  /** Announces a change of this process to this process, before the database does. */
  tell(change: Change): void;
}

/** The triggers of the migrations send the changes to this channel of PostgreSQL. */
export const changesChannel = 'gateway_changes';

/** Each session that listens has a channel for its own heartbeats, so that no other one hears them. */
export function createHeartbeatChannelName(): string {
  return `gateway_heartbeat_${randomUUID().replaceAll('-', '_')}`;
}

/** A session that listens to changes and to its own heartbeats. It hears both in the order of their commits. */
export interface NotificationSession extends AsyncDisposable {
  /** Rejects when the session hears nothing more. */
  sendHeartbeat(message: string): Promise<void>;
}

export interface NotificationListener {
  readonly onChange: (message: string) => void;
  readonly onHeartbeat: (message: string) => void;
  /** The session hears nothing more. */
  readonly onLost: (cause: Error) => void;
}

/** Resolves when everything will be heard that is committed from then on. */
export type ListenToNotifications = (
  listener: NotificationListener,
) => Promise<NotificationSession>;

export interface ChangeFeedOptions {
  /** Milliseconds on a clock that only goes forward. */
  readonly clock?: () => number;
  /** Called once when the session is lost or cannot be opened. The feed goes on trying. */
  readonly onLost?: (cause: Error) => void;
}

const everything: Change = { tenantId: null, keys: true };

export function createChangeFeed(
  listenToNotifications: ListenToNotifications,
  { clock = () => performance.now(), onLost }: ChangeFeedOptions = {},
): OwnedChangeFeed {
  const heartbeat = createHeartbeat(clock);
  let listening: Promise<void> | null = null;
  const versions = createVersions();
  const waiters = createChangeWaiters();
  const tell = (change: Change): void => {
    versions.bump(change);
    waiters.wake(change.tenantId);
  };
  const open = (): void => {
    listening ??= keepListening({ listenToNotifications, heartbeat, tell, onLost });
  };
  return {
    tell,
    open,
    isCurrent: heartbeat.isCurrent,
    versionOf: (tenantId, subject) => (heartbeat.use() ? versions.of(tenantId, subject) : null),
    version: () => versions.highest(),
    waitForChange(tenantId, options) {
      open();
      return waiters.wait(tenantId, options);
    },
    catchUp: async () => void (listening === null || (await heartbeat.untilNext())),
    async [Symbol.asyncDispose]() {
      heartbeat.stop();
      waiters.wake(null);
      await listening;
    },
  };
}

/**
 * Versions are values of one counter. Tenants share a fixed number of slots, so that memory is bounded: a change gives
 * the other tenants of its slot a new version too, which costs them a cached value and is never wrong.
 */
const versionSlots = 2 ** 16;

function createVersions() {
  let counter = 0;
  const create = () => {
    const slots = new Float64Array(versionSlots);
    return {
      // The slot exists: it is the hash modulo their number.
      of: (tenantId: string): number => slots[toSlot(tenantId)]!,
      bump(tenantId: string | null): void {
        if (tenantId === null) slots.fill(counter);
        else slots[toSlot(tenantId)] = counter;
      },
    };
  };
  const [numbers, keys] = [create(), create()];
  return {
    highest: () => counter,
    of: (tenantId: string, subject: 'numbers' | 'keys') =>
      (subject === 'keys' ? keys : numbers).of(tenantId),
    bump(change: Change): void {
      counter += 1;
      numbers.bump(change.tenantId);
      if (change.keys) keys.bump(change.tenantId);
    },
  };
}

/** FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
function toSlot(tenantId: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < tenantId.length; index += 1) {
    hash = Math.imul(hash ^ tenantId.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0) % versionSlots;
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
  readonly listenToNotifications: ListenToNotifications;
  readonly heartbeat: Heartbeat;
  readonly tell: (change: Change) => void;
  readonly onLost: ChangeFeedOptions['onLost'];
}

const minBackoffMs = 100;
const maxBackoffMs = 10_000;

/** Opens one session after the other until the heartbeat is stopped. Never rejects. */
async function keepListening(options: Listening): Promise<void> {
  const { heartbeat, onLost } = options;
  let failures = 0;
  const onHeard = () => {
    failures = 0;
  };
  while (!heartbeat.isStopped()) {
    // oxlint-disable-next-line no-await-in-loop -- one session after the other
    const cause = await runSession(options, onHeard).catch((error: unknown) => error as Error);
    heartbeat.reset();
    if (heartbeat.isStopped()) return;
    if (failures === 0) onLost?.(cause);
    failures += 1;
    const backoffMs = Math.min(maxBackoffMs, minBackoffMs * 2 ** failures);
    // Jitter, so that not all gateways connect at once when a server is back.
    // oxlint-disable-next-line no-await-in-loop -- the pause before the next session
    await heartbeat.backOff(backoffMs * (0.5 + Math.random() / 2));
  }
}

/** Runs one session until it is lost. Always rejects with the cause. */
async function runSession(
  { listenToNotifications, heartbeat, tell }: Listening,
  onHeard: () => void,
): Promise<never> {
  await using session = await listenToNotifications({
    onChange(message) {
      if (!message.startsWith(sharedHeartbeat)) tell(parseChange(message));
    },
    onHeartbeat: heartbeat.hear,
    onLost: heartbeat.fail,
  });
  // Changes that were committed without a session were announced to nobody.
  tell(everything);
  return await heartbeat.run(session.sendHeartbeat, onHeard);
}

/** Gateways of the previous release send their heartbeats to the channel of the changes. */
const sharedHeartbeat = 'beat ';

/** A message that cannot be parsed, perhaps one of a newer release, may be about everything. */
function parseChange(message: string): Change {
  try {
    const { tenant, keys } = JSON.parse(message) as Readonly<Record<string, unknown>>;
    const isKnown = typeof keys === 'boolean' && (tenant === null || typeof tenant === 'string');
    return isKnown ? { tenantId: tenant, keys } : everything;
  } catch {
    return everything;
  }
}
