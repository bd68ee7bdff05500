// Owns the circuit breaker in front of an upstream: when it is not worth asking at all, and when to try again.
// What counts as trouble of the upstream is decided here too: no answer in time, none at all, or one of 5xx.

import { circuitBreaker, CircuitState, handleWhenResult, isBrokenCircuitError } from 'cockatiel';
import type { CircuitChange } from '../telemetry.ts';
import type { HttpReading } from './http-read.ts';

export interface Circuit {
  /** Throws CircuitOpen, and does nothing, while the circuit is open. What the work throws counts for nothing. */
  execute(witness: string, work: () => Promise<HttpReading>): Promise<HttpReading>;
}

export interface CircuitOptions {
  /**
   * So many different witnesses have to meet trouble, with no good answer to anybody in between, before the circuit
   * opens. One that meets it again and again, such as a number that Meta cannot read, proves nothing about the upstream.
   */
  readonly witnesses: number;
  /** For which it stays open, before one request is let through to see. */
  readonly pauseMs: number;
  /** Called with each change. */
  readonly onChange?: (state: CircuitChange['state']) => void;
}

/** Nothing was sent, because nothing would have come back. */
export class CircuitOpen extends Error {
  override readonly name = 'CircuitOpen';
  readonly retryAt: Date;

  constructor(retryAt: Date) {
    super('the circuit is open');
    this.retryAt = retryAt;
  }
}

export function createCircuit({ witnesses, pauseMs, onChange }: CircuitOptions): Circuit {
  const met = new Set<string>();
  const policy = circuitBreaker(
    handleWhenResult((reading) => isTrouble(reading as HttpReading)),
    {
      halfOpenAfter: pauseMs,
      breaker: {
        state: null,
        success: () => met.clear(),
        failure: (state) => state !== CircuitState.Closed || met.size >= witnesses,
      },
    },
  );
  let retryAt = new Date(0);
  policy.onBreak(() => {
    retryAt = new Date(Date.now() + pauseMs);
    onChange?.('open');
  });
  policy.onReset(() => onChange?.('closed'));
  return {
    async execute(witness, work) {
      // Others would wait for the one that tries, and it may take as long as any.
      if (policy.state === CircuitState.HalfOpen) throw new CircuitOpen(toSoon());
      try {
        return await policy.execute(async () => {
          const reading = await work();
          if (isTrouble(reading)) met.add(witness);
          return reading;
        });
      } catch (error) {
        throw isBrokenCircuitError(error) ? new CircuitOpen(retryAt) : error;
      }
    },
  };
}

function isTrouble(reading: HttpReading): boolean {
  if (reading.outcome === 'answered') return reading.status >= 500;
  return reading.outcome !== 'too large';
}

function toSoon(): Date {
  return new Date(Date.now() + 1_000);
}
