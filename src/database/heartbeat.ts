// Proves that a session hears every change: it sends heartbeats to itself, which the database delivers like the
// changes.
//
// PostgreSQL delivers the notifications of different transactions in the order of their commits, whatever channels they
// use (https://www.postgresql.org/docs/current/sql-notify.html). A session that hears a heartbeat has therefore heard
// every change that was committed before the heartbeat was sent.

export interface Heartbeat {
  /** Whether a heartbeat was heard that was sent within the last 750 ms. */
  isCurrent(): boolean;
  /** Returns `isCurrent()`, and sends heartbeats at the short interval for the next two seconds. */
  use(): boolean;
  /**
   * Sends heartbeats, each after the previous one was heard, and calls `onHeard` each time. Always rejects: when one is
   * not heard in time, when `send` rejects, or with the cause given to `fail`.
   */
  run(send: (message: string) => Promise<void>, onHeard: () => void): Promise<never>;
  hear(message: string): void;
  /** Ends `run`: the session hears nothing more. */
  fail(cause: Error): void;
  /** Discards what was proved about a session that has ended. */
  reset(): void;
  /** Resolves when a heartbeat is heard that was sent after this call, or when the heartbeat is stopped. */
  untilNext(): Promise<void>;
  /** Waits before the next session. Only `stop` ends the wait early. */
  backOff(ms: number): Promise<void>;
  stop(): void;
  isStopped(): boolean;
}

/**
 * How long a heartbeat proves that the session hears everything, from when it was sent. Long enough for two turns of an
 * event loop that is as late as it may be before requests are refused; short enough that no response is outdated by a
 * second.
 */
const validForMs = 750;
/** From sending one heartbeat to sending the next. If that took longer, the next one is sent at once. */
const intervalMs = 100;
/**
 * Without use. Every heartbeat is a commit that wakes all listening sessions of the database. A proof is valid for
 * longer than this, so the first request after an idle time may be answered from a cache too.
 */
const idleIntervalMs = 500;
const idleAfterMs = 2_000;
/** A heartbeat that was not heard by then is lost. */
const deadlineMs = 2_000;

/** `clock` returns milliseconds and only goes forward. */
export function createHeartbeat(clock: () => number): Heartbeat {
  const sent = createSentHeartbeats(clock);
  const waiters = createWaiters();
  const [pause, backoff] = [createPause(), createPause()];
  let [usedAt, isStopped] = [-Infinity, false];
  const isIdle = (now: number): boolean => now - usedAt > idleAfterMs;
  const fail = (cause: Error): void => {
    sent.fail(cause);
    pause.end();
  };
  return {
    isCurrent: () => sent.isProved(clock()),
    use() {
      const now = clock();
      if (isIdle(now)) pause.end();
      usedAt = now;
      return sent.isProved(now);
    },
    async run(send, onHeard) {
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- one heartbeat after the other
        const { number, tookMs } = await sent.sendAndHear(send);
        waiters.release(number);
        onHeard();
        const pauseMs = (isIdle(clock()) ? idleIntervalMs : intervalMs) - tookMs;
        if (sent.hasFailed() || waiters.any() || pauseMs <= 0) continue;
        // oxlint-disable-next-line no-await-in-loop -- the pause before the next heartbeat
        await pause.take(pauseMs);
      }
    },
    hear: sent.hear,
    fail,
    reset: sent.reset,
    async untilNext() {
      if (isStopped) return;
      const next = waiters.wait(sent.lastNumber());
      pause.end();
      await next;
    },
    backOff: async (ms) => void (isStopped || (await backoff.take(ms))),
    stop() {
      isStopped = true;
      backoff.end();
      fail(new Error('The change feed is closed.'));
      waiters.release(Infinity);
    },
    isStopped: () => isStopped,
  };
}

interface SentHeartbeat {
  readonly message: string;
  readonly sentAt: number;
  resolve(): void;
  reject(cause: Error): void;
}

/** Holds the last heartbeat that was sent, the time at which the last received one was sent, and why the session ended. */
function createSentHeartbeats(clock: () => number) {
  let number = 0;
  let provedAt = -Infinity;
  let last: SentHeartbeat | null = null;
  let failure: Error | null = null;
  return {
    lastNumber: () => number,
    isProved: (now: number): boolean => now - provedAt <= validForMs,
    hasFailed: () => failure !== null,
    async sendAndHear(send: (message: string) => Promise<void>) {
      if (failure !== null) throw failure;
      number += 1;
      const { promise: heard, resolve, reject } = Promise.withResolvers<void>();
      const current = { number, message: `heartbeat ${number}`, sentAt: clock(), resolve, reject };
      last = current;
      using _ = createDeadline(reject);
      await Promise.all([send(current.message), heard]);
      return { number: current.number, tookMs: clock() - current.sentAt };
    },
    hear(message: string): void {
      if (message !== last?.message) return;
      provedAt = last.sentAt;
      last.resolve();
    },
    fail(cause: Error): void {
      failure = cause;
      provedAt = -Infinity;
      last?.reject(cause);
    },
    reset(): void {
      failure = null;
      provedAt = -Infinity;
      last = null;
    },
  };
}

function createDeadline(reject: (cause: Error) => void): Disposable {
  let check: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    // If the event loop was blocked, the heartbeat may be waiting in the socket, which is read after timers and before
    // this.
    check = setImmediate(reject, new Error(`No heartbeat was heard within ${deadlineMs} ms.`));
  }, deadlineMs);
  timer.unref();
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      clearImmediate(check);
    },
  };
}

const doNothing = (): void => undefined;

/** A pause that can be ended early. */
function createPause() {
  let end = doNothing;
  return {
    end: () => end(),
    async take(ms: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      timer.unref();
      end = resolve;
      await promise;
      clearTimeout(timer);
    },
  };
}

/** Callers that wait for a heartbeat with a higher number than `after`. */
function createWaiters() {
  const waiting = new Set<{ readonly after: number; readonly resolve: () => void }>();
  return {
    any: () => waiting.size > 0,
    wait(after: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add({ after, resolve });
      return promise;
    },
    release(number: number): void {
      for (const waiter of waiting) {
        if (waiter.after >= number) continue;
        waiting.delete(waiter);
        waiter.resolve();
      }
    },
  };
}
