// Owns the proof that a channel brings all its messages: a beat that is sent through it again and again. Messages come in
// the order of their commits, so whoever hears a beat has heard all that was committed before it was sent.

import { randomUUID } from 'node:crypto';

export interface Pulse {
  /** Whether a beat was heard that was sent within the last half second. */
  isCurrent(): boolean;
  /** Sends a beat and resolves once it is heard. Rejects when that takes too long, or with what `fail` was told. */
  beat(send: (message: string) => Promise<void>): Promise<void>;
  /** Takes a message if it is a beat, of this pulse or of another one. */
  take(message: string): boolean;
  /** No more beats will be heard through this channel. */
  fail(cause: Error): void;
  /** Forgets what was proved of a channel that is gone. */
  reset(): void;
  /** Resolves when a beat is heard that is sent after this call, or when the pulse is stopped. */
  untilNextBeat(): Promise<void>;
  /** Ends early when somebody waits for a beat, when the channel has failed, and when the pulse is stopped. */
  rest(ms: number): Promise<void>;
  stop(): void;
  isStopped(): boolean;
}

/** Milliseconds for which a beat proves that the channel is alive, counted from when it was sent. */
const goodForMs = 500;
/** What was not heard by then never will be. */
const deadlineMs = 2_000;

interface Beat {
  readonly message: string;
  readonly sentAt: number;
  resolve(): void;
  reject(cause: Error): void;
}

const doNothing = (): void => undefined;

/** `clock` answers milliseconds and only goes forward. */
export function createPulse(clock: () => number): Pulse {
  const source = randomUUID();
  const waiters = createWaiters();
  let sent = 0;
  let provedAt = -Infinity;
  let stopped = false;
  let last: Beat | null = null;
  let failure: Error | null = null;
  let wake = doNothing;
  const fail = (cause: Error): void => {
    failure = cause;
    last?.reject(cause);
    wake();
  };
  return {
    isCurrent: () => clock() - provedAt <= goodForMs,
    async beat(send) {
      if (failure !== null) throw failure;
      sent += 1;
      const number = sent;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      last = { message: `beat ${source} ${number}`, sentAt: clock(), resolve, reject };
      const timer = setTimeout(reject, deadlineMs, new Error('A beat was not heard.'));
      timer.unref();
      await Promise.all([send(last.message), promise]).finally(() => clearTimeout(timer));
      waiters.release(number);
    },
    take(message) {
      if (message === last?.message) {
        provedAt = last.sentAt;
        last.resolve();
      }
      return message.startsWith('beat ');
    },
    fail,
    reset() {
      provedAt = -Infinity;
      last = null;
      failure = null;
    },
    async untilNextBeat() {
      if (stopped) return;
      const beat = waiters.wait(sent);
      wake();
      await beat;
    },
    async rest(ms) {
      if (stopped || failure !== null || waiters.any()) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = resolve;
      await promise;
      clearTimeout(timer);
    },
    stop() {
      stopped = true;
      provedAt = -Infinity;
      fail(new Error('The change feed is closed.'));
      waiters.release(Infinity);
    },
    isStopped: () => stopped,
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
