// Owns the proof that a channel brings all its messages: a beat that is sent through it again and again. Messages come in
// the order of their commits, so whoever hears a beat has heard all that was committed before it was sent.

import { randomUUID } from 'node:crypto';

export interface Heartbeat {
  /** Whether a beat was heard that was sent within the last three quarters of a second. */
  isCurrent(): boolean;
  /**
   * Sends a beat and resolves once it is heard, with the milliseconds that this took. Rejects when it takes too long, or
   * with what `fail` was told.
   */
  beat(send: (message: string) => Promise<void>): Promise<number>;
  /** Takes a message if it is a beat, of this pulse or of another one. */
  take(message: string): boolean;
  /** No more beats will be heard through this channel. */
  fail(cause: Error): void;
  /** Forgets what was proved of a channel that is gone. */
  reset(): void;
  /** Resolves when a beat is heard that is sent after this call, or when the pulse is stopped. */
  untilNextBeat(): Promise<void>;
  /**
   * Ends early when somebody waits for a beat, when the channel has failed, and when the pulse is stopped; at once when
   * there is no time to rest.
   */
  rest(ms: number): Promise<void>;
  /** Ends early only when the pulse is stopped: nobody's waiting makes a database come back. */
  recover(ms: number): Promise<void>;
  stop(): void;
  isStopped(): boolean;
}

/**
 * Milliseconds for which a beat proves that the channel is alive, counted from when it was sent. What is late is counted
 * too: no promise may hang on how busy the process is. So this is long enough for two turns of an event loop that is as
 * late as it may be before requests are refused, and short enough for what is promised within a second.
 */
const goodForMs = 750;
/** What was not heard by then never will be. */
const deadlineMs = 2_000;

interface Beat {
  readonly number: number;
  readonly message: string;
  readonly sentAt: number;
  readonly heard: Promise<void>;
  resolve(): void;
  reject(cause: Error): void;
}

/** `clock` answers milliseconds and only goes forward. */
export function createHeartbeat(clock: () => number): Heartbeat {
  const beats = createBeats(clock);
  const waiters = createWaiters();
  const nap = createNap();
  const recovery = createNap();
  let stopped = false;
  let failure: Error | null = null;
  const fail = (cause: Error): void => {
    failure = cause;
    beats.fail(cause);
    nap.end();
  };
  return {
    isCurrent: beats.isCurrent,
    async beat(send) {
      if (failure !== null) throw failure;
      const { number, message, sentAt, heard, reject } = beats.next();
      using _ = createDeadline(reject);
      await Promise.all([send(message), heard]);
      waiters.release(number);
      return clock() - sentAt;
    },
    take: beats.take,
    fail,
    reset() {
      beats.forget();
      failure = null;
    },
    async untilNextBeat() {
      if (stopped) return;
      const beat = waiters.wait(beats.sent);
      nap.end();
      await beat;
    },
    async rest(ms) {
      if (stopped || failure !== null || waiters.any() || ms <= 0) return;
      await nap.take(ms);
    },
    recover: async (ms) => void (stopped || (await recovery.take(ms))),
    stop() {
      stopped = true;
      recovery.end();
      fail(new Error('The change feed is closed.'));
      beats.forget();
      waiters.release(Infinity);
    },
    isStopped: () => stopped,
  };
}

/** The beats of a pulse, of which the last one counts, and what was proved by one of them. */
function createBeats(clock: () => number) {
  const source = randomUUID();
  let sent = 0;
  let provedAt = -Infinity;
  let last: Beat | null = null;
  return {
    get sent() {
      return sent;
    },
    isCurrent: () => clock() - provedAt <= goodForMs,
    next(): Beat {
      sent += 1;
      const { promise: heard, resolve, reject } = Promise.withResolvers<void>();
      const message = `beat ${source} ${sent}`;
      last = { number: sent, message, sentAt: clock(), heard, resolve, reject };
      return last;
    },
    take(message: string): boolean {
      if (message === last?.message) {
        provedAt = last.sentAt;
        last.resolve();
      }
      return message.startsWith('beat ');
    },
    fail: (cause: Error) => last?.reject(cause),
    forget() {
      provedAt = -Infinity;
      last = null;
    },
  };
}

function createDeadline(reject: (cause: Error) => void): Disposable {
  let turn: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    // A process that could do nothing for so long has read nothing either: the beat may be there, and sockets are read
    // after timers and before this.
    turn = setImmediate(reject, new Error('A beat was not heard.'));
  }, deadlineMs);
  timer.unref();
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      clearImmediate(turn);
    },
  };
}

const doNothing = (): void => undefined;

/** A pause of one sleeper, which somebody may end. */
function createNap() {
  let wake = doNothing;
  return {
    end: () => wake(),
    async take(ms: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = resolve;
      await promise;
      clearTimeout(timer);
    },
  };
}

/** Those who wait for a beat with a higher number than the one that was sent last when they came. */
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
