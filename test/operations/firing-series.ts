// Series on which each alert of src/operations/prometheus-rules.yml fires, and those of a healthy fleet, for
// `promtool test rules`. https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/

/** `start+step x count`, one value each minute. */
interface Series {
  readonly series: string;
  readonly values: string;
}

interface Firing {
  readonly given: readonly Series[];
  /** The labels of each alert that fires, beside its name. */
  readonly labels: readonly string[];
  /** The time of the check; two hours after the start if absent. */
  readonly at?: string;
}

const minutes = 240;

/** A gauge that stands still, or a counter that grows by `step` each minute. */
function toSeries(name: string, start: number, step = 0): Series {
  return { series: name, values: `${start}+${step}x${minutes}` };
}

const build = (version = '1.0.0') =>
  toSeries(`gateway_build_info{version="${version}",node="v24.0.0",instance="a"}`, 1);
const numbers = (yes: number, no: number, unknown: number): readonly Series[] => [
  toSeries('gateway_numbers{verdict="YES"}', yes),
  toSeries('gateway_numbers{verdict="NO"}', no),
  toSeries('gateway_numbers{verdict="UNKNOWN"}', unknown),
];
const requests = (status: string, step: number) =>
  toSeries(
    `gateway_request_duration_seconds_count{door="graphql",operation="numbers",status="${status}"}`,
    0,
    step,
  );
const calls = (outcome: string, step: number) =>
  toSeries(`gateway_upstream_calls_total{upstream="graph",outcome="${outcome}"}`, 0, step);
/** A histogram of which all observations are above the first bound. */
const buckets = (name: string, labels: string, below: number, above: number): readonly Series[] => [
  toSeries(`${name}_bucket{${labels}le="${below}"}`, 0),
  toSeries(`${name}_bucket{${labels}le="${above}"}`, 0, 100),
  toSeries(`${name}_bucket{${labels}le="+Inf"}`, 0, 100),
];

const [critical, warning, info] = ['critical', 'warning', 'info'].map(
  (word) => `severity="${word}"`,
) as [string, string, string];
const graph = 'upstream="graph"';
const duration = 'gateway_request_duration_seconds';

export const healthySeries: readonly Series[] = [
  toSeries('up{job="numbers-gateway",instance="a"}', 1),
  build(),
  ...numbers(95, 4, 1),
  requests('200', 1_000),
  requests('404', 50),
  requests('503', 1),
  ...buckets(duration, 'door="rest",operation="getNumber",status="200",', 0.5, 5),
  toSeries('gateway_requests_shed_total{reason="requests under way"}', 12),
  toSeries('gateway_requests_limited_total{reason="points"}', 3),
  toSeries('gateway_event_loop_delay_seconds{instance="a"}', 0.01),
  toSeries('gateway_database_connections{state="waiting",instance="a"}', 0),
  toSeries('gateway_change_feed_current{instance="a"}', 1),
  toSeries('gateway_prepared_statements{instance="a"}', 1),
  toSeries('gateway_upstream_circuit_open{upstream="graph"}', 0),
  calls('ok', 100),
  calls('META_TIMEOUT', 5),
  toSeries('gateway_upstream_retries_total{upstream="graph"}', 0, 5),
  toSeries('gateway_token_quarantines_total', 2),
  toSeries('gateway_meta_usage_percent', 60),
  toSeries('gateway_sync_lag_seconds{instance="a"}', 20),
  toSeries('gateway_sync_oldest_reading_seconds{instance="a"}', 900),
  toSeries('gateway_sync_calls_total{outcome="ok"}', 0, 50),
  toSeries('gateway_sync_calls_total{outcome="META_TIMEOUT"}', 0, 1),
  toSeries('gateway_alert_endpoints_off_total{reason="GONE"}', 2),
  toSeries('gateway_alert_deliveries_total{outcome="failed"}', 0, 2),
  toSeries('gateway_alert_deliveries_total{outcome="delivered"}', 0, 8),
  toSeries('gateway_snapshot_age_seconds_bucket{le="300"}', 0, 100),
  toSeries('gateway_snapshot_age_seconds_bucket{le="+Inf"}', 0, 100),
];

export const firingSeries: Readonly<Record<string, Firing>> = {
  GatewayProcessDown: {
    given: [
      toSeries('up{job="numbers-gateway",instance="a"}', 1),
      toSeries('up{job="numbers-gateway",instance="b"}', 0),
      toSeries('up{job="other",instance="c"}', 0),
    ],
    labels: [`job="numbers-gateway", instance="b", ${critical}`],
  },
  GatewayGone: { given: [], labels: [critical] },
  GatewayVersionsDiffer: { given: [build(), build('1.1.0')], labels: [info] },
  GatewayErrorRatio: { given: [requests('200', 98), requests('502', 2)], labels: [critical] },
  GatewayDefects: { given: [requests('200', 1_000), requests('500', 1)], labels: [warning] },
  GatewaySlow: {
    given: buckets(duration, 'door="rest",operation="listNumbers",status="200",', 0.5, 1),
    labels: [warning],
  },
  GatewayShedsLoad: {
    given: [toSeries('gateway_requests_shed_total{reason="event loop delay"}', 0, 5)],
    labels: [`reason="event loop delay", ${warning}`],
  },
  GatewayTenantLimited: {
    given: [toSeries('gateway_requests_limited_total{reason="points"}', 0, 5)],
    labels: [`reason="points", ${info}`],
  },
  GatewayEventLoopLate: {
    given: [toSeries('gateway_event_loop_delay_seconds{instance="a"}', 0.2)],
    labels: [`instance="a", ${warning}`],
  },
  GatewayDatabaseBusy: {
    given: [toSeries('gateway_database_connections{state="waiting",instance="a"}', 3)],
    labels: [`state="waiting", instance="a", ${warning}`],
  },
  GatewayChangeFeedNotCurrent: {
    given: [toSeries('gateway_change_feed_current{instance="a"}', 0)],
    labels: [`instance="a", ${warning}`],
  },
  GatewayPreparedStatementsOff: {
    given: [toSeries('gateway_prepared_statements{instance="a"}', 0)],
    labels: [`instance="a", ${warning}`],
  },
  GatewayCircuitOpen: {
    given: [toSeries('gateway_upstream_circuit_open{upstream="graph"}', 1)],
    labels: [`${graph}, ${critical}`],
  },
  GatewayUpstreamFailing: {
    given: [calls('ok', 8), calls('META_UNAVAILABLE', 2)],
    labels: [`${graph}, ${warning}`],
  },
  GatewayUpstreamRetries: {
    given: [calls('ok', 10), toSeries('gateway_upstream_retries_total{upstream="graph"}', 0, 5)],
    labels: [`${graph}, ${info}`],
  },
  GatewaySyncLate: {
    given: [toSeries('gateway_sync_lag_seconds{instance="a"}', 700)],
    labels: [warning],
  },
  GatewaySyncReadingsOld: {
    given: [toSeries('gateway_sync_oldest_reading_seconds{instance="a"}', 3_700)],
    labels: [warning],
  },
  GatewaySyncRefused: {
    given: [toSeries('gateway_sync_calls_total{outcome="META_ACCESS_DENIED"}', 0, 1)],
    labels: [warning],
  },
  GatewayTokenQuarantined: {
    given: [toSeries('gateway_token_quarantines_total', 0, 1)],
    labels: [warning],
  },
  GatewayAlertEndpointOff: {
    given: [toSeries('gateway_alert_endpoints_off_total{reason="GONE"}', 0, 1)],
    labels: [`reason="GONE", ${warning}`],
  },
  GatewayAlertsNotDelivered: {
    given: [
      toSeries('gateway_alert_deliveries_total{outcome="failed"}', 0, 6),
      toSeries('gateway_alert_deliveries_total{outcome="delivered"}', 0, 4),
    ],
    labels: [warning],
  },
  GatewayMetaUsageHigh: {
    given: [toSeries('gateway_meta_usage_percent', 80)],
    labels: [warning],
  },
  GatewayNumbersCannotSend: { given: numbers(80, 20, 0), labels: [warning] },
  GatewayNumbersStoppedSending: {
    given: [
      toSeries('gateway_numbers{verdict="YES"}', 95),
      { series: 'gateway_numbers{verdict="NO"}', values: '1+0x100 5+0x100' },
    ],
    labels: [critical],
    at: '125m',
  },
  GatewayNumbersUnknown: { given: numbers(10, 0, 90), labels: [warning] },
  GatewayNumbersNotCounted: { given: [build()], labels: [info] },
  GatewaySnapshotsOld: {
    given: buckets('gateway_snapshot_age_seconds', '', 3_600, 21_600),
    labels: [info],
  },
};
