// Stops requests to an upstream that does not respond, for one tenant or for all, and finds out when it responds again.

import {
  circuitBreaker,
  type CircuitBreakerPolicy,
  CircuitState,
  DelegateBackoff,
  handleWhenResult,
  isBrokenCircuitError,
} from 'cockatiel';
import { LRUCache } from 'lru-cache';
import type { CircuitChange, Telemetry } from '../telemetry.ts';

/** The result of an HTTP request: how it ended, and the status if a response had begun. */
export interface RequestOutcome {
  readonly outcome: 'answered' | 'timeout' | 'deadline' | 'unreachable' | 'too large';
  readonly status: number | null;
}

export interface CircuitBreaker {
  /**
   * Runs `work`, or throws a CircuitOpenError while the circuit is open. Work that throws, or that was ended by the
   * caller's deadline, does not count: a trial that ends so leaves the circuit open, and the next request is the trial.
   */
  execute<Result extends RequestOutcome>(
    subject: string,
    work: () => Promise<Result>,
  ): Promise<Result>;
}

export interface CircuitBreakerOptions {
  /**
   * The circuit opens when requests for so many different subjects have failed and none has succeeded in between. Repeated
   * failures for one subject, such as a number that Meta cannot read, do not prove that the upstream is down.
   */
  readonly maxFailingSubjects: number;
  /** How long the circuit stays open before one request is let through as a trial. */
  readonly pauseMs: number;
  readonly onChange?: (state: CircuitChange['state']) => void;
}

/** The request was not sent. */
export class CircuitOpenError extends Error {
  override readonly name = 'CircuitOpenError';
  readonly retryAt: Date;

  constructor(retryAt: Date) {
    super('the circuit is open');
    this.retryAt = retryAt;
  }
}

export function createCircuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const { pauseMs, onChange } = options;
  /** Filled only while the circuit is closed: a request that was sent before it opened proves nothing when it ends. */
  const failing = new Set<string>();
  const policy = createPolicy(failing, options);
  let retryAt = new Date(0);
  let isOpen = false;
  const change = (state: CircuitChange['state']): void => {
    // A circuit whose trial has failed was open already.
    if (isOpen !== (state === 'open')) onChange?.(state);
    isOpen = state === 'open';
  };
  policy.onBreak(() => {
    failing.clear();
    retryAt = new Date(Date.now() + pauseMs);
    change('open');
  });
  policy.onReset(() => change('closed'));
  return {
    async execute(subject, work) {
      // The policy would make this request wait for the trial to end.
      if (policy.state === CircuitState.HalfOpen) throw new CircuitOpenError(inOneSecond());
      try {
        // As a result, because the policy would take a trial that throws for a success.
        const settled = await policy.execute(async () => {
          const [result] = await Promise.allSettled([work()]);
          const isClosed = policy.state === CircuitState.Closed;
          if (isClosed && classify(result) === 'failure') failing.add(subject);
          return result;
        });
        if (settled.status === 'rejected') throw settled.reason;
        return settled.value;
      } catch (error) {
        throw isBrokenCircuitError(error) ? new CircuitOpenError(retryAt) : error;
      }
    },
  };
}

function createPolicy(
  failing: Set<string>,
  { maxFailingSubjects, pauseMs }: CircuitBreakerOptions,
): CircuitBreakerPolicy {
  return circuitBreaker(
    handleWhenResult((settled) => classify(settled as Settled) !== 'success'),
    {
      halfOpenAfter: new DelegateBackoff(({ result }: { readonly result: object }) =>
        'value' in result && classify(result.value as Settled) === 'failure' ? pauseMs : 0,
      ),
      breaker: {
        state: null,
        success: () => failing.clear(),
        failure: (state) => state !== CircuitState.Closed || failing.size >= maxFailingSubjects,
      },
    },
  );
}

/** `subject`: what the request is about within the tenant, such as a Graph node or an instance of the session engine. */
export type CircuitBreakers = <Result extends RequestOutcome>(
  tenantId: string,
  subject: string,
  work: () => Promise<Result>,
) => Promise<Result>;

export interface CircuitBreakersOptions {
  readonly upstream: CircuitChange['upstream'];
  readonly telemetry: Pick<Telemetry, 'circuitChanged'>;
  /** 5,000 by default. */
  readonly pauseMs?: number | undefined;
}

const maxFailingSubjectsOfTenant = 8;
const maxFailingTenants = 5;
const maxTenants = 10_000;

/**
 * One circuit for the upstream, which opens when requests of several tenants fail, and one for each tenant, which opens
 * when requests for several of its subjects fail: a tenant whose requests fail does not block the others.
 */
export function createCircuitBreakers(options: CircuitBreakersOptions): CircuitBreakers {
  const { upstream, telemetry, pauseMs = 5_000 } = options;
  const create = (maxFailingSubjects: number, tenantId: string | null): CircuitBreaker =>
    createCircuitBreaker({
      maxFailingSubjects,
      pauseMs,
      onChange: (state) => telemetry.circuitChanged({ upstream, state, tenantId }),
    });
  const shared = create(maxFailingTenants, null);
  const tenants = new LRUCache<string, CircuitBreaker>({
    max: maxTenants,
    memoMethod: (tenantId) => create(maxFailingSubjectsOfTenant, tenantId),
  });
  return (tenantId, subject, work) =>
    tenants.memo(tenantId).execute(subject, () => shared.execute(tenantId, work));
}

type Settled = PromiseSettledResult<RequestOutcome>;

/** What the result of a request says about the upstream. */
function classify(settled: Settled): 'success' | 'failure' | 'ignored' {
  if (settled.status === 'rejected') return 'ignored';
  const { value: result } = settled;
  switch (result.outcome) {
    case 'answered':
      return result.status !== null && result.status >= 500 ? 'failure' : 'success';
    case 'timeout':
    case 'unreachable':
      return 'failure';
    case 'deadline':
      return 'ignored';
    case 'too large':
      return 'success';
  }
}

function inOneSecond(): Date {
  return new Date(Date.now() + 1_000);
}
