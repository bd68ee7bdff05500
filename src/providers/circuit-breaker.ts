// Owns the circuit breakers in front of an upstream: when it is not worth asking at all, and when to try again.
// What counts as trouble of the upstream is decided here too: no answer in time, none at all, or one of 5xx.

import {
  circuitBreaker,
  CircuitState,
  DelegateBackoff,
  handleWhenResult,
  isBrokenCircuitError,
} from 'cockatiel';
import type { CircuitChange, Telemetry } from '../telemetry.ts';
import type { HttpReading } from './http-read.ts';

export interface CircuitBreaker {
  /**
   * Throws CircuitOpen, and does nothing, while the circuit is open. Work that throws, or that our own deadline cut short,
   * counts for nothing: a circuit whose trial ends so stays open, and the next request is the trial.
   */
  execute(subject: string, work: () => Promise<HttpReading>): Promise<HttpReading>;
}

export interface CircuitBreakerOptions {
  /**
   * So many different witnesses have to meet trouble, with no good answer to anybody in between, before the circuit
   * opens. One that meets it again and again, such as a number that Meta cannot read, proves nothing about the upstream.
   */
  readonly subjects: number;
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

export function createCircuitBreaker({
  subjects,
  pauseMs,
  onChange,
}: CircuitBreakerOptions): CircuitBreaker {
  /** Empty unless the circuit is closed: what was sent before it opened, and ends late, says nothing new. */
  const met = new Set<string>();
  const policy = circuitBreaker(
    handleWhenResult((attempt) => judge(attempt as Attempt) !== 'health'),
    {
      halfOpenAfter: new DelegateBackoff(({ result }: { readonly result: object }) =>
        'value' in result && judge(result.value as Attempt) === 'trouble' ? pauseMs : 0,
      ),
      breaker: {
        state: null,
        success: () => met.clear(),
        failure: (state) => state !== CircuitState.Closed || met.size >= subjects,
      },
    },
  );
  let retryAt = new Date(0);
  let isOpen = false;
  const change = (state: CircuitChange['state']): void => {
    // One whose trial has failed was open before.
    if (isOpen !== (state === 'open')) onChange?.(state);
    isOpen = state === 'open';
  };
  policy.onBreak(() => {
    met.clear();
    retryAt = new Date(Date.now() + pauseMs);
    change('open');
  });
  policy.onReset(() => change('closed'));
  return {
    async execute(subject, work) {
      // Others would wait for the one that tries, and it may take as long as any.
      if (policy.state === CircuitState.HalfOpen) throw new CircuitOpen(toSoon());
      try {
        // The policy would take a trial that throws for a good one.
        const attempt = await policy.execute(async () => {
          const [settled] = await Promise.allSettled([work()]);
          const isClosed = policy.state === CircuitState.Closed;
          if (isClosed && judge(settled) === 'trouble') met.add(subject);
          return settled;
        });
        if (attempt.status === 'rejected') throw attempt.reason;
        return attempt.value;
      } catch (error) {
        throw isBrokenCircuitError(error) ? new CircuitOpen(retryAt) : error;
      }
    },
  };
}

/**
 * As `execute` of a circuit. `witness`: what of the tenant the request is about, such as a node of Meta's or an instance
 * of the session engine.
 */
export type ThroughCircuits = (
  tenantId: string,
  subject: string,
  work: () => Promise<HttpReading>,
) => Promise<HttpReading>;

export interface CircuitBreakersOptions {
  readonly upstream: CircuitChange['upstream'];
  readonly telemetry: Telemetry;
  /** For which an open circuit stays open; 5,000 unless told. */
  readonly pauseMs?: number | undefined;
}

/** Different witnesses of one tenant that get no answer before the tenant's own circuit opens. */
const witnessesOfTenant = 8;
/** Different tenants that get no answer before that of the host opens. */
const witnessesOfHost = 5;
/** Those that have not asked for the longest time are forgotten. */
const maxTenants = 10_000;

/**
 * A circuit for the host, which opens when several tenants agree that it is down, and one for each tenant, which opens
 * when several of its witnesses do. So a tenant in trouble of its own keeps nobody else from reading.
 */
export function createCircuitBreakers(options: CircuitBreakersOptions): ThroughCircuits {
  const { upstream, telemetry, pauseMs = 5_000 } = options;
  const create = (subjects: number, tenantId: string | null): CircuitBreaker =>
    createCircuitBreaker({
      subjects,
      pauseMs,
      onChange: (state) => telemetry.circuitChanged({ upstream, state, tenantId }),
    });
  const ofHost = create(witnessesOfHost, null);
  const ofTenants = new Map<string, CircuitBreaker>();
  const findTenant = (tenantId: string): CircuitBreaker => {
    const circuit = ofTenants.get(tenantId) ?? create(witnessesOfTenant, tenantId);
    ofTenants.delete(tenantId);
    ofTenants.set(tenantId, circuit);
    const oldest = ofTenants.keys().next().value;
    if (ofTenants.size > maxTenants && oldest !== undefined) ofTenants.delete(oldest);
    return circuit;
  };
  return (tenantId, subject, work) =>
    findTenant(tenantId).execute(subject, () => ofHost.execute(tenantId, work));
}

type Attempt = PromiseSettledResult<HttpReading>;

/** What an attempt proves about the upstream. */
function judge(attempt: Attempt): 'health' | 'trouble' | 'nothing' {
  if (attempt.status === 'rejected') return 'nothing';
  const { value: reading } = attempt;
  switch (reading.outcome) {
    case 'answered':
      return reading.status >= 500 ? 'trouble' : 'health';
    case 'timeout':
    case 'unreachable':
      return 'trouble';
    case 'cut short':
      return 'nothing';
    case 'too large':
      return 'health';
  }
}

function toSoon(): Date {
  return new Date(Date.now() + 1_000);
}
