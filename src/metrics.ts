// Owns what Prometheus is told: numbers about the process, labelled with words of ours alone. No tenant, no number, no
// name that a caller chose ever becomes a label.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ResponseCacheOptions } from './http/response-cache.ts';
import type { DatabaseOptions } from './database/database.ts';
import type { ChangeFeed } from './database/change-feed.ts';
import type { LoadShedder, Overload } from './http/load-shedding.ts';
import type { WhatsAppNumber } from './numbers/number.ts';
import type { Numbers } from './numbers/numbers.ts';
import type { AnsweredRequest, Telemetry, UpstreamCall } from './telemetry.ts';

export interface Metrics {
  /** The same telemetry, counted. */
  observeTelemetry(telemetry: Telemetry): Telemetry;
  /** The same numbers, with the age of what was read noted. */
  observeNumbers(numbers: Numbers): Numbers;
  /** These are looked at when somebody asks. */
  observeLoad(load: LoadShedder): void;
  observeFeed(changes: Pick<ChangeFeed, 'isCurrent'>): void;
  answerFound: NonNullable<ResponseCacheOptions['onLookup']>;
  observePool: NonNullable<DatabaseOptions['onPool']>;
  requestShed(reason: Overload['reason']): void;
  requestLimited(reason: 'points' | 'under way'): void;
  /** In the text format of Prometheus. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counts: Counts = {
    ...createTraffic(registers),
    ...createTroubles(registers),
    noteUsage: observeUsage(registers),
  };
  const ages = new Histogram({
    name: 'gateway_snapshot_age_seconds',
    help: 'Age of the evidence of a number when it was shown with its freshness.',
    buckets: [1, 10, 60, 300, 900, 3_600, 21_600, 86_400, 604_800],
    registers,
  });
  const [shed, limited] = createRefusals(registers);
  const answers = createAnswerCounter(registers);
  const observeAges = (shown: readonly unknown[]): void => {
    for (const number of shown) {
      const age = toAge(number);
      if (age !== null) ages.observe(age);
    }
  };
  return {
    observeTelemetry: (telemetry) => observeTelemetry(counts, telemetry),
    observeNumbers: (numbers) => ({
      ...numbers,
      ...observeReading(numbers, observeAges),
    }),
    observeLoad: (load) => observeLoad(registers, load),
    observeFeed: (changes) => observeFeed(registers, changes),
    answerFound: (source) => answers.inc({ source }),
    observePool: (pool) => observePool(registers, pool),
    requestShed: (reason) => shed.inc({ reason }),
    requestLimited: (reason) => limited.inc({ reason }),
    async render() {
      const [ours, process] = await Promise.all([registry.metrics(), toProcessText()]);
      return { contentType: registry.contentType, text: `${ours}\n${process}` };
    },
  };
}

type Counts = ReturnType<typeof createTraffic> &
  ReturnType<typeof createTroubles> & { readonly noteUsage: ReturnType<typeof observeUsage> };

function observeTelemetry(counts: Counts, telemetry: Telemetry): Telemetry {
  const { circuitOpen, openings } = counts;
  return {
    ...telemetry,
    requestAnswered(request) {
      counts.requests.observe(toRequestLabels(request), request.durationMs / 1_000);
      telemetry.requestAnswered(request);
    },
    upstreamCalled(call) {
      const { upstream, outcome, durationMs, usagePercent } = call;
      counts.calls.inc({ upstream, outcome: toOutcome(outcome) });
      counts.callDurations.observe({ upstream }, durationMs / 1_000);
      if (usagePercent !== null) counts.noteUsage(usagePercent);
      telemetry.upstreamCalled(call);
    },
    upstreamRetried(upstream, operations) {
      counts.retries.inc({ upstream }, operations);
      telemetry.upstreamRetried(upstream, operations);
    },
    circuitChanged(change) {
      const { upstream, state, tenantId } = change;
      if (tenantId === null) circuitOpen.set({ upstream }, state === 'open' ? 1 : 0);
      if (state === 'open') openings.inc({ upstream, of: tenantId === null ? 'all' : 'tenant' });
      telemetry.circuitChanged(change);
    },
    tokenQuarantined(refusal) {
      counts.quarantines.inc();
      telemetry.tokenQuarantined(refusal);
    },
  };
}

function createTraffic(registers: Registry[]) {
  return {
    requests: new Histogram({
      name: 'gateway_request_duration_seconds',
      help: 'Time to answer, by door, operation and status.',
      labelNames: ['door', 'operation', 'status'] as const,
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    calls: new Counter({
      name: 'gateway_upstream_calls_total',
      help: 'HTTP requests to upstreams, by outcome: ok, or the code of the failure.',
      labelNames: ['upstream', 'outcome'] as const,
      registers,
    }),
    callDurations: new Histogram({
      name: 'gateway_upstream_call_duration_seconds',
      help: 'Time that an HTTP request to an upstream took.',
      labelNames: ['upstream'] as const,
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 8],
      registers,
    }),
    retries: new Counter({
      name: 'gateway_upstream_retries_total',
      help: 'Operations that were asked of an upstream again after they had failed.',
      labelNames: ['upstream'] as const,
      registers,
    }),
  };
}

function createTroubles(registers: Registry[]) {
  const circuitOpen = new Gauge({
    name: 'gateway_upstream_circuit_open',
    help: '1 while an upstream is not asked for anybody, as it answers nobody.',
    labelNames: ['upstream'] as const,
    registers,
  });
  circuitOpen.set({ upstream: 'graph' }, 0);
  circuitOpen.set({ upstream: 'session engine' }, 0);
  return {
    circuitOpen,
    openings: new Counter({
      name: 'gateway_upstream_circuit_openings_total',
      help: 'Times that an upstream was given up for a while, for all or for one tenant.',
      labelNames: ['upstream', 'of'] as const,
      registers,
    }),
    quarantines: new Counter({
      name: 'gateway_token_quarantines_total',
      help: 'Times that Meta refused a token, or what it may do, so often that it was not asked for a while.',
      registers,
    }),
  };
}

/** Answers what notes the part of a budget that an answer of Meta's told. */
function observeUsage(registers: Registry[]): (percent: number) => void {
  // Of two windows: each answer speaks of some account, and the highest is to be seen for a while.
  let told = { windowAt: 0, previous: 0, last: 0 };
  const turn = (): void => {
    const windowAt = Math.floor(performance.now() / usageWindowMs);
    if (windowAt === told.windowAt) return;
    const previous = windowAt === told.windowAt + 1 ? told.last : 0;
    told = { windowAt, previous, last: 0 };
  };
  const usage: Gauge = new Gauge({
    name: 'gateway_meta_usage_percent',
    help: 'Of the budgets that Meta gives to accounts, the highest part used up that was told in the last five to ten minutes.',
    registers,
    collect() {
      turn();
      usage.set(Math.max(told.previous, told.last));
    },
  });
  return (percent) => {
    turn();
    told.last = Math.max(told.last, percent);
  };
}

const usageWindowMs = 300_000;

function createRefusals(registers: Registry[]) {
  const labelNames = ['reason'] as const;
  return [
    new Counter({
      name: 'gateway_requests_shed_total',
      help: 'Requests refused with 503 because the process was too busy.',
      labelNames,
      registers,
    }),
    new Counter({
      name: 'gateway_requests_limited_total',
      help: 'Requests refused with 429 because of what their tenant had asked for.',
      labelNames,
      registers,
    }),
  ] as const;
}

function createAnswerCounter(registers: Registry[]): Counter<'source'> {
  const answers = new Counter({
    name: 'gateway_answers_total',
    help: 'Answers that may be kept in memory, by where they came from; shared: read for somebody else who asked the same.',
    labelNames: ['source'] as const,
    registers,
  });
  answers.inc({ source: 'memory' }, 0);
  answers.inc({ source: 'shared' }, 0);
  answers.inc({ source: 'read' }, 0);
  return answers;
}

function observeFeed(registers: Registry[], changes: Pick<ChangeFeed, 'isCurrent'>): void {
  const current: Gauge = new Gauge({
    name: 'gateway_change_feed_current',
    help: '1 while the database tells of each change, 0 while it does not and every answer is read.',
    registers,
    collect: () => current.set(changes.isCurrent() ? 1 : 0),
  });
}

function observePool(registers: Registry[], pool: Parameters<Metrics['observePool']>[0]): void {
  const connections: Gauge<'state'> = new Gauge({
    name: 'gateway_database_connections',
    help: 'Connections of the pool, and those who wait for one.',
    labelNames: ['state'] as const,
    registers,
    collect() {
      connections.set({ state: 'total' }, pool.totalCount);
      connections.set({ state: 'idle' }, pool.idleCount);
      connections.set({ state: 'waiting' }, pool.waitingCount);
    },
  });
  const prepared: Gauge = new Gauge({
    name: 'gateway_prepared_statements',
    help: '1 while reads use prepared statements, 0 for a minute after the database did not know one.',
    registers,
    collect: () => prepared.set(pool.usesPreparedStatements ? 1 : 0),
  });
}

function observeLoad(registers: Registry[], load: LoadShedder): void {
  const underWay: Gauge = new Gauge({
    name: 'gateway_requests_under_way',
    help: 'Requests that were begun and not answered yet.',
    registers,
    collect: () => underWay.set(load.inFlight),
  });
  const delay: Gauge = new Gauge({
    name: 'gateway_event_loop_delay_seconds',
    help: 'Mean delay of the event loop in the last quarter of a second.',
    registers,
    collect: () => delay.set(load.eventLoopDelayMs / 1_000),
  });
}

// What is about the process is the same for each gateway in it, and its observers are never taken down.
let processRegistry: Registry | undefined;

async function toProcessText(): Promise<string> {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
  }
  return await processRegistry.metrics();
}

function observeReading(
  numbers: Numbers,
  observeAges: (shown: readonly unknown[]) => void,
): Pick<Numbers, 'list' | 'get' | 'getMany' | 'getLive' | 'getStatus'> {
  const observed = <T>(shown: Promise<T>): Promise<T> =>
    shown.then((result) => {
      observeAges(Array.isArray(result) ? result : [result]);
      return result;
    });
  return {
    list: (...asked) => observed(numbers.list(...asked)),
    get: (...asked) => observed(numbers.get(...asked)),
    getMany: (...asked) => observed(numbers.getMany(...asked)),
    getLive: (...asked) => observed(numbers.getLive(...asked)),
    getStatus: (...asked) => observed(numbers.getStatus(...asked)),
  };
}

function toAge(shown: unknown): number | null {
  // Only numbers have a health, and only if it was asked for; what is missing is an error.
  if (typeof shown !== 'object' || shown === null || !Object.hasOwn(shown, 'health')) return null;
  const { health } = shown as WhatsAppNumber;
  return Object.hasOwn(health, 'freshness') ? (health.freshness?.ageSeconds ?? null) : null;
}

function toRequestLabels({ path, operation, status }: AnsweredRequest) {
  const door = path === '/graphql' ? 'graphql' : path?.startsWith('/v1/') ? 'rest' : 'none';
  return { door, operation: operation ?? 'none', status };
}

function toOutcome(outcome: UpstreamCall['outcome']): string {
  return /^[A-Za-z_]{1,40}$/.test(outcome) ? outcome : 'other';
}
