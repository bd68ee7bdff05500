// The names, labels and help texts of the metrics.

/** One row for each metric; prometheus-rules.yml says which ones to alert on. */
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
  syncLag: {
    type: 'gauge',
    name: 'gateway_sync_lag_seconds',
    help: 'How long the most overdue read in the background has been due, of all tenants; 0 when none is. Measured each minute; one process at a time exports it, and none with SYNC=off.',
    labels: [],
  },
  syncOldestReading: {
    type: 'gauge',
    name: 'gateway_sync_oldest_reading_seconds',
    help: 'Age of the oldest values of a number at Meta, of all tenants, without numbers whose reads fail. Measured with gateway_sync_lag_seconds.',
    labels: [],
  },
  syncCalls: {
    type: 'counter',
    name: 'gateway_sync_calls_total',
    help: 'Reads in the background, by outcome: ok, or the code of the failure. One read may take several calls to Meta.',
    labels: ['outcome'],
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

export interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of the buckets of a histogram. */
  readonly buckets?: readonly number[];
}
