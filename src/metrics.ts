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
import { type MetricRow, metricTable } from './operations/metric-table.ts';
import type { SyncMeasurement } from './sync/claim-store.ts';
import type { VerdictCounts } from './numbers/verdict-store.ts';
import type { EventKind } from './webhooks/event.ts';
import type { EventOutcome } from './webhooks/store.ts';
import type { CompletedRequest, TelemetryListener, UpstreamCall } from './telemetry.ts';

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
  /** Null when this process does not know it. */
  syncMeasured(measurement: SyncMeasurement | null): void;
  /** `outcome`: `ok`, or the code of an error. */
  syncRead(outcome: string): void;
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
    ...createSyncMetrics(metrics),
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

function createSyncMetrics({ syncLag, syncOldestReading, syncCalls }: RegisteredMetrics) {
  return {
    syncMeasured(measurement: SyncMeasurement | null) {
      setKnown(syncLag, measurement?.lagSeconds ?? null);
      setKnown(syncOldestReading, measurement?.oldestSeconds ?? null);
    },
    syncRead: (outcome: string) => syncCalls.inc({ outcome: toOutcomeLabel(outcome) }),
  };
}

/** No value at all while it is not known: 0 would hide that. */
function setKnown(gauge: Gauge, value: number | null): void {
  if (value === null) gauge.remove();
  else gauge.set(value);
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
  // Nor while nobody measures.
  metrics.syncLag.remove();
  metrics.syncOldestReading.remove();
  metrics.buildInfo.set({ version: manifest.version, node: process.version }, 1);
  // Series that exist before their first event, so that a rate can be computed over it.
  for (const upstream of ['graph', 'session engine']) metrics.circuitOpen.set({ upstream }, 0);
  for (const source of ['memory', 'shared', 'read']) metrics.responses.inc({ source }, 0);
  metrics.syncCalls.inc({ outcome: 'ok' }, 0);
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
