// Whether Meta's webhooks about an account reach the tenant's endpoints: what is known of their route, and the verdict.

import { hash } from 'node:crypto';

export const webhookVerdicts = {
  RECEIVING:
    'They arrive: an event about the account has come within the last 7 days, or Meta sends to an endpoint of the tenant that has received something in that time.',
  SILENT:
    'They do not arrive: Meta lists no app that is subscribed to the account, or the gateway has read a change that Meta announces (the review of a display name or of the account, or a higher throughput), and no event has come within a day of it. A quiet account is not SILENT.',
  MISROUTED:
    'Meta sends them to another URL, and nothing shows that they are passed on from there: no endpoint of the tenant has received anything in its first day or since, or a change that Meta announces did not arrive within a day.',
  UNKNOWN:
    'Nothing proves one of the others: nothing has come and nothing is missing, the URL has not been read, the tenant has no endpoint, or the gateway does not know its own URL (PUBLIC_URL).',
} as const;

export type WebhookVerdict = keyof typeof webhookVerdicts;

/** The way of Meta's webhooks about one account. */
export interface WebhookRoute {
  readonly wabaId: string;
  /** Of the endpoint; null without an endpoint or PUBLIC_URL. */
  readonly expectedUrl: string | null;
  /** Without user information, query and fragment. Null when it is not known. */
  readonly actualUrl: string | null;
  readonly lastEventAt: Date | null;
  /** Meta's word. */
  readonly lastEventField: string | null;
  readonly verdict: WebhookVerdict;
}

/** Implemented by src/webhooks/routes.ts. */
export interface WebhookRoutes {
  /** By the ids of the numbers. Those that are not in an account of Meta's are missing. */
  findByNumbers(
    tenantId: string,
    numberIds: readonly string[],
  ): Promise<ReadonlyMap<string, WebhookRoute>>;
}

/** Everything before the segment that names an endpoint. */
export const pathOfEndpoints = '/v1/webhooks/meta/';

/** In characters. */
const maxUrlLength = 2_000;

const endpointUrl = new RegExp(`^(.*${pathOfEndpoints})([^/]+)$`);

/**
 * The URL that Meta sends webhooks to, as it is stored: without what may hold secrets, and with a digest of the segment that
 * names an endpoint of a gateway, which is sealed elsewhere. Null for anything that is no URL.
 */
export function toStoredUrl(value: unknown): string | null {
  if (typeof value !== 'string' || value.length > maxUrlLength || !URL.canParse(value)) return null;
  const { protocol, host, pathname } = new URL(value);
  if (protocol !== 'https:' && protocol !== 'http:') return null;
  return `${protocol}//${host}${pathname}`.replace(
    endpointUrl,
    (_, base: string, segment: string) => `${base}${toDigest(segment)}`,
  );
}

function toDigest(segment: string): string {
  return `sha256-${hash('sha256', segment, 'base64url')}`;
}

/** For those who may not configure endpoints. */
export function maskEndpoint(url: string | null): string | null {
  return url?.replace(endpointUrl, '$1…') ?? null;
}

/** What the verdict about an account follows from. Times are those of the gateway. */
export interface RouteEvidence {
  /** Of the tenant, the oldest first. */
  readonly endpoints: readonly {
    readonly url: string;
    /** The last one of its path. */
    readonly segment: string;
    readonly createdAt: Date;
    /** When it last received something with a valid proof, whatever it was about. */
    readonly lastReceivedAt: Date | null;
  }[];
  /** As `toStoredUrl` returns it. */
  readonly configuredUrl: string | null;
  /** How many apps are subscribed to the account; null when that was not read lately. */
  readonly subscribedApps: number | null;
  readonly lastEventAt: Date | null;
  /** When a change that Meta announces was read last, more than a day ago; null when there is none. */
  readonly announcedAt: Date | null;
}

const dayMs = 86_400_000;
/** Meta repeats for so long what was not received. */
const provenMs = 7 * dayMs;
/** Pauses between repetitions grow, so an event may be late by hours after an outage of the gateway. */
export const maxLateMs = dayMs;

export function judgeRoute(
  evidence: RouteEvidence,
  now: Date,
): Pick<WebhookRoute, 'expectedUrl' | 'actualUrl' | 'verdict'> {
  const { endpoints, configuredUrl } = evidence;
  // By its segment: the URL of the gateway may have another host for Meta than for callers.
  const own = endpoints.find(({ segment }) => configuredUrl?.endsWith(`/${toDigest(segment)}`));
  const expectedUrl = (own ?? endpoints.at(-1))?.url ?? null;
  const actualUrl =
    own === undefined || configuredUrl === null
      ? maskEndpoint(configuredUrl)
      : configuredUrl.replace(endpointUrl, `$1${own.segment}`);
  return { expectedUrl, actualUrl, verdict: judge(evidence, own, now) };
}

function judge(
  { endpoints, configuredUrl, subscribedApps, lastEventAt, announcedAt }: RouteEvidence,
  own: RouteEvidence['endpoints'][number] | undefined,
  now: Date,
): WebhookVerdict {
  const [oldest] = endpoints;
  if (oldest === undefined) return 'UNKNOWN';
  const isWithin = (at: Date | null, ms: number) =>
    at !== null && now.getTime() - at.getTime() <= ms;
  const isUnsubscribed = subscribedApps === 0;
  if (isWithin(lastEventAt, isUnsubscribed ? maxLateMs : provenMs)) return 'RECEIVING';
  if (isUnsubscribed) return 'SILENT';
  const goesElsewhere = configuredUrl !== null && own === undefined;
  const lost = goesElsewhere ? 'MISROUTED' : 'SILENT';
  // An event may also come up to a day before the change is read.
  const isMissing =
    announcedAt !== null &&
    announcedAt.getTime() - maxLateMs > (lastEventAt?.getTime() ?? Number.NEGATIVE_INFINITY);
  if (isMissing) return lost;
  const hasReceived = endpoints.some(({ lastReceivedAt }) => lastReceivedAt !== null);
  if (goesElsewhere && !hasReceived && !isWithin(oldest.createdAt, maxLateMs)) return lost;
  return own !== undefined && isWithin(own.lastReceivedAt, provenMs) ? 'RECEIVING' : 'UNKNOWN';
}
