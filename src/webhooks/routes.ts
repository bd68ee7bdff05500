// Whether Meta's webhooks about accounts arrive: reads what is known of their routes, judges it, and keeps the verdicts that the
// history and the alerts need.

import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { startProcessJob, workInBatches } from '../database/process-job.ts';
import {
  judgeRoute,
  pathOfEndpoints,
  type RouteEvidence,
  type WebhookRoute,
  type WebhookRoutes,
} from '../numbers/webhook-route.ts';
import type { Vault } from '../secrets.ts';
import {
  findTenantsWithRoutesAcrossTenants,
  listRoutes,
  type RouteRow,
  storeVerdicts,
} from './route-store.ts';
import { readEndpoints } from './store.ts';
import { openSecrets } from './webhooks.ts';

export interface RoutesOptions extends Pick<Clock, 'now'> {
  readonly database: Database;
  readonly vault: Vault;
  /** See `Config.publicUrl`. */
  readonly publicUrl: string | null;
  /** How long events are stored. */
  readonly retentionDays: number;
}

export interface Routes extends WebhookRoutes {
  /** Of all accounts of the tenant, and whether there is an endpoint and a URL of the gateway to judge them by. */
  list(tenantId: string): Promise<TenantRoutes>;
  /** Stores the verdicts of the tenant that have changed. */
  follow(tenantId: string): Promise<void>;
}

export interface TenantRoutes {
  readonly isJudged: boolean;
  readonly routes: readonly WebhookRoute[];
}

const dayMs = 86_400_000;
/** A change whose event has been deleted since must not count as one without an event. */
const marginDays = 2;

export function createRoutes(options: RoutesOptions): Routes {
  return {
    async findByNumbers(tenantId, numberIds) {
      const { routes } = await readRoutes(options, tenantId, numberIds);
      return new Map(
        routes.flatMap(({ row, route }) => row.numberIds.map((id) => [id, route] as const)),
      );
    },
    async list(tenantId) {
      const { isJudged, routes } = await readRoutes(options, tenantId, null);
      return { isJudged, routes: routes.map(({ route }) => route) };
    },
    async follow(tenantId) {
      const { isJudged, routes } = await readRoutes(options, tenantId, null);
      const verdicts = new Map(
        routes.map(({ route }) => [route.wabaId, isJudged ? route.verdict : null]),
      );
      await options.database.withTenant(
        tenantId,
        (transaction) => storeVerdicts(transaction, tenantId, verdicts),
        'numbers',
        'CLOCK',
      );
    },
  };
}

interface ReadRoutes {
  readonly isJudged: boolean;
  readonly routes: readonly { readonly row: RouteRow; readonly route: WebhookRoute }[];
}

async function readRoutes(
  { database, vault, publicUrl, retentionDays, now }: RoutesOptions,
  tenantId: string,
  numberIds: readonly string[] | null,
): Promise<ReadRoutes> {
  const at = now();
  const { endpoints, rows } = await database.withTenant(
    tenantId,
    async (transaction) => {
      const found = await readEndpoints(transaction, tenantId);
      const oldest = found[0]?.createdAt.getTime() ?? 0;
      const since = Math.max(oldest, at.getTime() - (retentionDays - marginDays) * dayMs);
      const query = { now: at, since: new Date(since), numberIds };
      return { endpoints: found, rows: await listRoutes(transaction, tenantId, query) };
    },
    'nothing',
  );
  const own: RouteEvidence['endpoints'] =
    publicUrl === null
      ? []
      : endpoints.map((endpoint) => {
          const { segment } = openSecrets(vault, tenantId, endpoint);
          const { createdAt, lastReceivedAt } = endpoint;
          return {
            url: `${publicUrl}${pathOfEndpoints}${segment}`,
            segment,
            createdAt,
            lastReceivedAt,
          };
        });
  const routes = rows.map((row) => {
    const { wabaId, lastEventAt, lastEventField } = row;
    const judged = judgeRoute({ ...row, endpoints: own }, at);
    return { row, route: { wabaId, ...judged, lastEventAt, lastEventField } };
  });
  return { isJudged: own.length > 0, routes };
}

export interface RouteUpkeepOptions extends Partial<Pick<Clock, 'startTimer'>> {
  readonly database: Database;
  readonly routes: Pick<Routes, 'follow'>;
  /** Called when attempts begin to fail, and again only after one has succeeded in between. */
  readonly onFailure: (error: unknown) => void;
}

const intervalMs = 300_000;
/** An attempt ends long before the lease does. */
const maxAttemptMs = 20_000;

/** Begins at once. Disposal never rejects. */
export function startRouteUpkeep(options: RouteUpkeepOptions): AsyncDisposable {
  const { database, routes, onFailure, startTimer } = options;
  return startProcessJob({
    database,
    startTimer,
    name: 'judge the routes of webhooks',
    intervalMs,
    onFailure,
    run: async () => !(await followRoutes({ database, routes }, maxAttemptMs)),
  });
}

/** False when there is more to do after this time. */
export async function followRoutes(
  { database, routes }: Pick<RouteUpkeepOptions, 'database' | 'routes'>,
  maxMs = Infinity,
): Promise<boolean> {
  const tenantIds = await findTenantsWithRoutesAcrossTenants(database);
  return await workInBatches(tenantIds, maxMs, async (tenantId) => {
    await routes.follow(tenantId);
    return false;
  });
}
