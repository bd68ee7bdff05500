// Owns the circuit breakers in front of an upstream: when it is not worth asking at all, and when to try again.
// What counts as trouble of the upstream is decided here too: no answer in time, none at all, or one of 5xx.

import { circuitBreaker, CircuitState, handleWhenResult, isBrokenCircuitError } from 'cockatiel';
import type { CircuitChange, Telemetry } from '../telemetry.ts';
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

/**
 * As `execute` of a circuit. `witness`: what of the tenant the request is about, such as a node of Meta's or an instance
 * of the session engine.
 */
export type ThroughCircuits = (
  tenantId: string,
  witness: string,
  work: () => Promise<HttpReading>,
) => Promise<HttpReading>;

export interface CircuitsOptions {
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
const maximumTenants = 10_000;

/**
 * A circuit for the host, which opens when several tenants agree that it is down, and one for each tenant, which opens
 * when several of its witnesses do. So a tenant in trouble of its own keeps nobody else from reading.
 */
export function createCircuits(options: CircuitsOptions): ThroughCircuits {
  const { upstream, telemetry, pauseMs = 5_000 } = options;
  const create = (witnesses: number, tenantId: string | null): Circuit =>
    createCircuit({
      witnesses,
      pauseMs,
      onChange: (state) => telemetry.circuitChanged({ upstream, state, tenantId }),
    });
  const ofHost = create(witnessesOfHost, null);
  const ofTenants = new Map<string, Circuit>();
  const findTenant = (tenantId: string): Circuit => {
    const circuit = ofTenants.get(tenantId) ?? create(witnessesOfTenant, tenantId);
    ofTenants.delete(tenantId);
    ofTenants.set(tenantId, circuit);
    const oldest = ofTenants.keys().next().value;
    if (ofTenants.size > maximumTenants && oldest !== undefined) ofTenants.delete(oldest);
    return circuit;
  };
  return (tenantId, witness, work) =>
    findTenant(tenantId).execute(witness, () => ofHost.execute(tenantId, work));
}

function isTrouble(reading: HttpReading): boolean {
  if (reading.outcome === 'answered') return reading.status >= 500;
  return reading.outcome !== 'too large';
}

function toSoon(): Date {
  return new Date(Date.now() + 1_000);
}
