// The Prometheus metrics. Label values come from fixed sets: never a tenant, a number or text that a caller chose.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import manifest from '../package.json' with { type: 'json' };
import type { DeliveryOutcome } from './alerts/delivery.ts';
import type { OffReason } from './alerts/endpoint-store.ts';
import type { RuleName } from './alerts/rules.ts';
import type { ChangeFeed } from './database/change-feed.ts';
import type { LoadShedder, Overload } from './http/load-shedding.ts';
import type { Streams } from './http/streams.ts';
import { verdicts } from './numbers/reason.ts';
import type { VerdictCounts } from './numbers/verdict-store.ts';
import type { EventKind } from './webhooks/event.ts';
import type { EventOutcome } from './webhooks/store.ts';
import type { CompletedRequest, TelemetryListener, UpstreamCall } from './telemetry.ts';

/** One row for each metric; operations/prometheus-rules.yml says which ones to alert on. */
export const metricTable = {
  buildInfo: {
    type: 'gauge',
    name: 'gateway_build_info',
    help: '1, with the version of the gateway and that of Node.',
    labels: ['version', 'node'],
  },
  numbers: {
    type: 'gauge',
    name: 'gateway_numbers',
    help: 'Numbers of all tenants by verdict: YES (can start conversations), NO, or UNKNOWN. Counted each minute; one process at a time exports it.',
    labels: ['verdict'],
  },
  numbersByReplyVerdict: {
    type: 'gauge',
    name: 'gateway_numbers_by_reply_verdict',
    help: 'Numbers of all tenants by verdict on replies: YES (can reply within the customer service window), NO, or UNKNOWN. Counted with gateway_numbers.',
    labels: ['verdict'],
  },
  requestDuration: {
    type: 'histogram',
    name: 'gateway_request_duration_seconds',
    help: 'Duration of requests, by API, operation and HTTP status.',
    labels: ['door', 'operation', 'status'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
  requestsUnderWay: {
    type: 'gauge',
    name: 'gateway_requests_under_way',
    help: 'Requests in flight.',
    labels: [],
  },
  streams: {
    type: 'gauge',
    name: 'gateway_streams_open',
    help: 'Open streams and long polls, which are not counted as requests in flight.',
    labels: [],
  },
  streamsEnded: {
    type: 'counter',
    name: 'gateway_streams_ended_total',
    help: 'Streams and long polls that have ended, by reason: client disconnected, completed, draining, key invalid, slow reader, or failed.',
    labels: ['reason'],
  },
  requestsShed: {
    type: 'counter',
    name: 'gateway_requests_shed_total',
    help: 'Requests refused with 503 because the process was overloaded.',
    labels: ['reason'],
  },
  requestsLimited: {
    type: 'counter',
    name: 'gateway_requests_limited_total',
    help: 'Requests refused with 429 because their tenant exceeded a limit.',
    labels: ['reason'],
  },
  responses: {
    type: 'counter',
    name: 'gateway_answers_total',
    help: 'Cacheable responses, by source: memory (cached), read (computed), or shared (computed by a concurrent request).',
    labels: ['source'],
  },
  snapshotAge: {
    type: 'histogram',
    name: 'gateway_snapshot_age_seconds',
    help: 'Age of the oldest health data in a response that selects its freshness, observed once per computed response.',
    labels: [],
    buckets: [1, 10, 60, 300, 900, 3_600, 21_600, 86_400, 604_800],
  },
  upstreamCalls: {
    type: 'counter',
    name: 'gateway_upstream_calls_total',
    help: 'HTTP requests sent to upstreams, by outcome: ok, or an error code.',
    labels: ['upstream', 'outcome'],
  },
  upstreamCallDuration: {
    type: 'histogram',
    name: 'gateway_upstream_call_duration_seconds',
    help: 'Duration of HTTP requests sent to upstreams.',
    labels: ['upstream'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 8],
  },
  upstreamRetries: {
    type: 'counter',
    name: 'gateway_upstream_retries_total',
    help: 'Operations retried at an upstream.',
    labels: ['upstream'],
  },
  circuitOpen: {
    type: 'gauge',
    name: 'gateway_upstream_circuit_open',
    help: '1 while the circuit breaker of an upstream is open for all tenants, otherwise 0.',
    labels: ['upstream'],
  },
  circuitOpenings: {
    type: 'counter',
    name: 'gateway_upstream_circuit_openings_total',
    help: 'Times that a circuit breaker opened, for all tenants or for one.',
    labels: ['upstream', 'of'],
  },
  tokenQuarantines: {
    type: 'counter',
    name: 'gateway_token_quarantines_total',
    help: 'Times that an access token was quarantined because Meta kept refusing it.',
    labels: [],
  },
  metaEvents: {
    type: 'counter',
    name: 'gateway_meta_events_total',
    help: "Contents of Meta's webhooks, by kind, and by outcome: stored, repeated (known from before), foreign (of an account without a number of the tenant), or dropped (a message, a status, or something unknown).",
    labels: ['kind', 'outcome'],
  },
  incidents: {
    type: 'counter',
    name: 'gateway_incidents_total',
    help: 'Incidents that were opened, or that were over at once, by the rule of alerts.',
    labels: ['rule'],
  },
  alertDeliveries: {
    type: 'counter',
    name: 'gateway_alert_deliveries_total',
    help: 'Attempts to deliver a message to an endpoint for alerts, by outcome: delivered, failed (another attempt follows), or dropped (no attempt follows).',
    labels: ['outcome'],
  },
  alertEndpointsOff: {
    type: 'counter',
    name: 'gateway_alert_endpoints_off_total',
    help: 'Times that an endpoint for alerts was switched off, by reason: GONE (it answered 410) or FAILING (nothing was delivered for five days).',
    labels: ['reason'],
  },
  metaUsage: {
    type: 'gauge',
    name: 'gateway_meta_usage_percent',
    help: 'Highest share of a rate limit budget that Meta reported as used in the last 5 to 10 minutes.',
    labels: [],
  },
  feedCurrent: {
    type: 'gauge',
    name: 'gateway_change_feed_current',
    help: '1 while change notifications arrive from the database, 0 while they do not and caches are bypassed.',
    labels: [],
  },
  databaseConnections: {
    type: 'gauge',
    name: 'gateway_database_connections',
    help: 'Database connections in the pool (total, idle), and requests waiting for one (waiting).',
    labels: ['state'],
  },
  preparedStatements: {
    type: 'gauge',
    name: 'gateway_prepared_statements',
    help: '1 while reads use prepared statements, 0 for one minute after the database did not know one.',
    labels: [],
  },
  eventLoopDelay: {
    type: 'gauge',
    name: 'gateway_event_loop_delay_seconds',
    help: 'Mean event loop delay over the last 250 ms.',
    labels: [],
  },
} as const satisfies Record<string, MetricRow>;

interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of the buckets of a histogram. */
  readonly buckets?: readonly number[];
}

export interface Metrics {
  /** Counts the events of telemetry that it is subscribed to. */
  readonly listener: TelemetryListener;
  /** The `observe…` functions register what is sampled at each scrape. */
  observeLoad(load: Pick<LoadShedder, 'inFlight' | 'eventLoopDelayMs'>): void;
  observeStreams(streams: Pick<Streams, 'count'>): void;
  observeFeed(changes: Pick<ChangeFeed, 'isCurrent'>): void;
  observePool(pool: ConnectionPool): void;
  /** See the help text of `gateway_answers_total`. */
  responseServed(source: 'memory' | 'shared' | 'read'): void;
  /** To be called at most once per response. */
  snapshotReturned(ageSeconds: number): void;
  metaEventReceived(kind: EventKind, outcome: EventOutcome | 'dropped'): void;
  incidentOpened(rule: RuleName): void;
  deliveryAttempted(outcome: DeliveryOutcome): void;
  endpointSwitchedOff(reason: OffReason): void;
  requestShed(reason: Overload['reason']): void;
  requestLimited(reason: 'points' | 'under way' | 'streams'): void;
  /** Null when this process does not know them: another one counts, or the database does not answer. */
  numbersCounted(counts: VerdictCounts | null): void;
  /** In the text format of Prometheus. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

interface ConnectionPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly usesPreparedStatements: boolean;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const metrics = registerMetrics(registry);
  const usage = createRecentMaximum();
  const samplers = [() => metrics.metaUsage.set(usage.read())];
  return {
    listener: createListener(metrics, usage.note),
    observeLoad(load) {
      samplers.push(() => {
        metrics.requestsUnderWay.set(load.inFlight);
        metrics.eventLoopDelay.set(load.eventLoopDelayMs / 1_000);
      });
    },
    observeStreams(streams) {
      samplers.push(() => metrics.streams.set(streams.count));
    },
    observeFeed(changes) {
      samplers.push(() => metrics.feedCurrent.set(changes.isCurrent() ? 1 : 0));
    },
    observePool(pool) {
      samplers.push(() => {
        metrics.databaseConnections.set({ state: 'total' }, pool.totalCount);
        metrics.databaseConnections.set({ state: 'idle' }, pool.idleCount);
        metrics.databaseConnections.set({ state: 'waiting' }, pool.waitingCount);
        metrics.preparedStatements.set(pool.usesPreparedStatements ? 1 : 0);
      });
    },
    responseServed: (source) => metrics.responses.inc({ source }),
    snapshotReturned: (ageSeconds) => metrics.snapshotAge.observe(ageSeconds),
    metaEventReceived: (kind, outcome) => metrics.metaEvents.inc({ kind, outcome }),
    ...createAlertCounters(metrics),
    requestShed: (reason) => metrics.requestsShed.inc({ reason }),
    requestLimited: (reason) => metrics.requestsLimited.inc({ reason }),
    numbersCounted(counts) {
      metrics.numbers.reset();
      metrics.numbersByReplyVerdict.reset();
      if (counts === null) return;
      for (const verdict of verdicts) {
        metrics.numbers.set({ verdict }, counts.verdict[verdict]);
        metrics.numbersByReplyVerdict.set({ verdict }, counts.replyVerdict[verdict]);
      }
    },
    async render() {
      for (const sample of samplers) sample();
      const [ours, process] = await Promise.all([registry.metrics(), renderProcessMetrics()]);
      return { contentType: registry.contentType, text: `${ours}\n${process}` };
    },
  };
}

function createAlertCounters({ incidents, alertDeliveries, alertEndpointsOff }: RegisteredMetrics) {
  return {
    incidentOpened: (rule: RuleName) => incidents.inc({ rule }),
    deliveryAttempted: (outcome: DeliveryOutcome) => alertDeliveries.inc({ outcome }),
    endpointSwitchedOff: (reason: OffReason) => alertEndpointsOff.inc({ reason }),
  };
}

type Rows = typeof metricTable;
type Label<Key extends keyof Rows> = Rows[Key]['labels'][number];
type RegisteredMetrics = {
  readonly [Key in keyof Rows]: {
    readonly counter: Counter<Label<Key>>;
    readonly gauge: Gauge<Label<Key>>;
    readonly histogram: Histogram<Label<Key>>;
  }[Rows[Key]['type']];
};

function registerMetrics(registry: Registry): RegisteredMetrics {
  const entries = Object.entries<MetricRow>(metricTable).map(([key, row]) => [
    key,
    registerMetric(row, registry),
  ]);
  const metrics = Object.fromEntries(entries) as RegisteredMetrics;
  // No value at all while no feed is observed: 0 raises an alert.
  metrics.feedCurrent.remove();
  metrics.buildInfo.set({ version: manifest.version, node: process.version }, 1);
  // Series that exist before their first event, so that a rate can be computed over it.
  for (const upstream of ['graph', 'session engine']) metrics.circuitOpen.set({ upstream }, 0);
  for (const source of ['memory', 'shared', 'read']) metrics.responses.inc({ source }, 0);
  for (const outcome of ['delivered', 'failed', 'dropped'] as const) {
    metrics.alertDeliveries.inc({ outcome }, 0);
  }
  return metrics;
}

function registerMetric({ type, name, help, labels, buckets }: MetricRow, registry: Registry) {
  const options = { name, help, labelNames: labels, registers: [registry] };
  switch (type) {
    case 'counter':
      return new Counter(options);
    case 'gauge':
      return new Gauge(options);
    case 'histogram':
      return new Histogram({ ...options, buckets: [...(buckets ?? [])] });
  }
}

function createListener(
  metrics: RegisteredMetrics,
  noteUsage: (percent: number) => void,
): TelemetryListener {
  return {
    requestCompleted(request) {
      const { streamEnd } = request;
      // How long a stream is open says nothing about the gateway.
      if (streamEnd !== undefined) metrics.streamsEnded.inc({ reason: streamEnd });
      else metrics.requestDuration.observe(toRequestLabels(request), request.durationMs / 1_000);
    },
    upstreamCalled({ upstream, outcome, durationMs, usagePercent }) {
      metrics.upstreamCalls.inc({ upstream, outcome: toOutcomeLabel(outcome) });
      metrics.upstreamCallDuration.observe({ upstream }, durationMs / 1_000);
      if (usagePercent !== null) noteUsage(usagePercent);
    },
    upstreamRetried(upstream, operations) {
      metrics.upstreamRetries.inc({ upstream }, operations);
    },
    circuitChanged({ upstream, state, tenantId }) {
      if (tenantId === null) metrics.circuitOpen.set({ upstream }, state === 'open' ? 1 : 0);
      if (state === 'closed') return;
      metrics.circuitOpenings.inc({ upstream, of: tenantId === null ? 'all' : 'tenant' });
    },
    tokenQuarantined() {
      metrics.tokenQuarantines.inc();
    },
  };
}

const windowMs = 300_000;

/**
 * The maximum of the current and the previous window. Each call to Meta reports the usage of one account, so the last
 * value alone would hide an account that is close to its limit.
 */
function createRecentMaximum() {
  let recent = { window: 0, previous: 0, current: 0 };
  const advance = (): void => {
    const window = Math.floor(performance.now() / windowMs);
    if (window === recent.window) return;
    const previous = window === recent.window + 1 ? recent.current : 0;
    recent = { window, previous, current: 0 };
  };
  return {
    note(value: number): void {
      advance();
      recent.current = Math.max(recent.current, value);
    },
    read(): number {
      advance();
      return Math.max(recent.previous, recent.current);
    },
  };
}

// Shared by all gateways of the process: the default metrics describe the process, and cannot stop observing it.
let processRegistry: Registry | undefined;

async function renderProcessMetrics(): Promise<string> {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
  }
  return await processRegistry.metrics();
}

function toRequestLabels({ path, operation, status }: CompletedRequest) {
  const api = path === '/graphql' ? 'graphql' : path?.startsWith('/v1/') ? 'rest' : 'none';
  return { door: api, operation: operation ?? 'none', status };
}

function toOutcomeLabel(outcome: UpstreamCall['outcome']): string {
  return /^[A-Za-z_]{1,40}$/.test(outcome) ? outcome : 'other';
}
