// The command `doctor`, which checks an installation and says how to fix what is wrong.

import { setTimeout as delay } from 'node:timers/promises';
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { type Config, ConfigurationError } from '../config.ts';
import type { Database, DatabaseInspection } from '../database/database.ts';
import { maskEndpoint, type WebhookRoute } from '../numbers/webhook-route.ts';
import { createVault } from '../secrets.ts';
import { redact } from '../telemetry.ts';
import { type OpenedGateway, openGateway, readCommandConfig, type Session } from './session.ts';
import { toPlace } from './encryption.ts';
import { checkSync } from './sync-checks.ts';
import { credentialTables, listSealedCredentials, seesNumbers } from './store.ts';
import { formatFields, toLayout } from './table.ts';
import { describeCause, describeError, type Terminal } from './terminal.ts';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** Of a failed check: that it is about an account of a tenant, and not about the installation. */
  readonly isWarning?: true;
  /** What was found; for a failed check, also how to fix it. */
  readonly detail: string;
}

const upstreamTimeoutMs = 3_000;
const notificationTimeoutMs = 3_000;

export function addDoctorCommand(program: CommandUnknownOpts, session: Session): void {
  program
    .command('doctor')
    .summary('check the installation')
    .description(
      'Check the configuration, the database and its migrations, the login role, row-level security, change notifications, encryption keys, whether each account is read in the background and its webhooks arrive, and the connections to Meta and the session engine. The exit code is 1 when a check fails; what is wrong with an account is a warning.',
    )
    .action(async () => {
      const checks = await runChecks(session);
      const failed = checks.filter((check) => !check.ok && check.isWarning !== true);
      session.print({ checks }, () => formatChecks(checks, session.terminal));
      if (failed.length > 0) {
        const names = failed.map((check) => check.name).join(', ');
        session.fail('DOCTOR', `${failed.length} of ${checks.length} checks failed: ${names}.`);
      }
    });
}

function formatChecks(checks: readonly Check[], { stdout }: Terminal): string {
  const { width, style } = toLayout(stdout);
  const mark = ({ ok, isWarning }: Check) => {
    if (ok) return style('green', 'ok  ');
    return isWarning === true ? style('yellow', 'WARN') : style(['bold', 'red'], 'FAIL');
  };
  const fields = checks.map((check) => ({
    label: `${mark(check)}  ${check.name}`,
    value: check.detail,
  }));
  return formatFields(fields, { width, style });
}

/** Skips the checks that depend on one that failed. */
async function runChecks({ terminal }: Session): Promise<readonly Check[]> {
  let config: Config;
  try {
    config = readCommandConfig(terminal);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return [fail('configuration', error.problems.join('; '))];
  }
  const checks = [pass('configuration', `${config.mode} mode`)];
  let opened: OpenedGateway;
  try {
    opened = await openGateway(config, terminal);
  } catch (error) {
    return [...checks, fail('database', formatError(error))];
  }
  await using closing = opened;
  const [database, upstreams] = await Promise.all([
    checkDatabase(closing),
    checkUpstreams(closing),
  ]);
  return [...checks, ...database, ...upstreams];
}

async function checkDatabase(opened: OpenedGateway): Promise<readonly Check[]> {
  const { config, gateway } = opened;
  let inspection: DatabaseInspection;
  try {
    // The embedded database has no other process that would migrate it.
    if (config.mode === 'demo') await gateway.database.migrate();
    inspection = await gateway.database.inspect();
  } catch (error) {
    return [fail('database', formatError(error))];
  }
  const kind = config.mode === 'demo' ? `embedded, in ${config.dataDirectory}` : 'reachable';
  const checks = [
    pass('database', `PostgreSQL ${inspection.version}, ${kind}`),
    await runCheck('migrations', () => checkMigrations(opened)),
  ];
  if (checks.some(({ ok }) => !ok)) return checks;
  return [
    ...checks,
    await runCheck('role', () => checkRole(opened, inspection)),
    await runCheck('policies', async () => checkPolicies(inspection)),
    await runCheck('changes', () => checkChanges(opened, inspection)),
    await runCheck('keys', () => checkKeys(opened)),
    ...(await checkAllSync(opened)),
    ...(await checkWebhooks(opened)),
  ];
}

/** `check` returns what it found, or throws what is wrong. */
async function runCheck(name: string, check: () => Promise<string>): Promise<Check> {
  try {
    return pass(name, await check());
  } catch (error) {
    return fail(name, formatError(error));
  }
}

async function checkMigrations({ gateway }: OpenedGateway): Promise<string> {
  const pending = await gateway.database.pendingMigrations();
  if (pending.length === 0) return 'all migrations are applied';
  throw new Error(`pending: ${pending.join(', ')}; run: numbers-gateway migrate`);
}

async function checkRole(
  { config, gateway }: OpenedGateway,
  { role }: DatabaseInspection,
): Promise<string> {
  const privileges = [
    ...(role.superuser ? ['a superuser'] : []),
    ...(role.bypassesRowSecurity ? ['exempt from row-level security'] : []),
  ];
  const advice =
    'use a role created with: create role NAME login password …; grant gateway_login to NAME';
  if (privileges.length > 0 && config.mode === 'production') {
    throw new Error(`${role.name} is ${privileges.join(' and ')}; ${advice}`);
  }
  // As every request does, look up tenants, then switch to the role of a tenant: here one that does not exist.
  await gateway.access.listTenants();
  if (await seesNumbers(gateway.database, '-')) {
    throw new Error(
      'a tenant that does not exist can see numbers; restore the policies of the migrations',
    );
  }
  if (privileges.length > 0)
    return `${role.name} is ${privileges.join(' and ')}, which is fine for the demo`;
  if (role.ownsTables) return `warning: ${role.name} owns the tables; ${advice}`;
  return `${role.name} is neither a superuser nor the owner of the tables`;
}

function checkPolicies({ tables, rlsBypasses }: DatabaseInspection): string {
  const unprotected = tables.filter((table) => !table.isIsolated).map((table) => table.name);
  const problems = [...rlsBypasses];
  if (unprotected.length > 0) {
    problems.push(
      `force row-level security, with tenant_isolation from the migrations as the only policy, on: ${unprotected.join(', ')}`,
    );
  }
  if (problems.length > 0) throw new Error(problems.join('; also: '));
  if (tables.length === 0) throw new Error('the tables are missing; run: numbers-gateway migrate');
  return `row-level security separates tenants in ${tables.length} tables`;
}

/** Without any notifications the gateway is only slower; when some tables do not send them, it returns stale data. */
async function checkChanges(
  { gateway }: OpenedGateway,
  { unannouncedTables }: DatabaseInspection,
): Promise<string> {
  if (unannouncedTables.length > 0) {
    throw new Error(
      `these tables do not send change notifications: ${unannouncedTables.join(', ')}; enable their triggers announce_… always, or set ANSWER_CACHE_MB=0`,
    );
  }
  const { changes } = gateway.database;
  changes.open();
  const received = changes.catchUp().then(() => true);
  const isReceived = await Promise.race([
    received,
    delay(notificationTimeoutMs, false, { ref: false }),
  ]);
  if (isReceived) return 'change notifications are sent and received';
  return 'warning: change notifications are sent but not received, as behind a connection pooler; every request reads the database';
}

async function checkKeys({ config, gateway }: OpenedGateway): Promise<string> {
  const vault = createVault(config.encryptionKeys);
  const tenants = await gateway.access.listTenants();
  const counts = { decrypted: 0, outdated: 0 };
  const failed: string[] = [];
  for (const { id: tenantId } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one tenant at a time, to limit the load
    for await (const row of readSealedCredentials(gateway.database, tenantId)) {
      const { sealed } = row;
      try {
        vault.open(sealed, toPlace(tenantId, row));
        counts.decrypted += 1;
        if (!vault.isCurrent(sealed)) counts.outdated += 1;
      } catch {
        failed.push(row.id);
      }
    }
  }
  if (failed.length > 0) {
    const total = failed.length + counts.decrypted;
    const shown = failed.slice(0, 5).join(', ');
    throw new Error(
      `${failed.length} of ${total} stored credentials cannot be decrypted (${shown}${failed.length > 5 ? ', …' : ''}); put the key that encrypted them back into ENCRYPTION_KEYS, or replace them with: number set-credentials, credential set, or webhook meta add`,
    );
  }
  const rest =
    counts.outdated === 0
      ? ''
      : `, ${counts.outdated} of them with an older key; run: numbers-gateway keys rotate-encryption`;
  return `${counts.decrypted} stored credentials can be decrypted${rest}`;
}

async function checkAllSync({ gateway }: OpenedGateway): Promise<readonly Check[]> {
  try {
    return await checkSync(gateway);
  } catch (error) {
    return [fail('sync', formatError(error))];
  }
}

/** Of each tenant with an endpoint: how many accounts have each verdict, and one check for each account. */
async function checkWebhooks({ config, gateway }: OpenedGateway): Promise<readonly Check[]> {
  const checks: Check[] = [];
  const { webhooks, webhookRoutes } = gateway;
  try {
    for (const { id: tenantId } of await gateway.access.listTenants()) {
      // oxlint-disable no-await-in-loop -- one tenant at a time, to limit the load
      if ((await webhooks.list(tenantId)).length === 0) continue;
      const name = `webhooks of ${tenantId}`;
      if (config.publicUrl === null) {
        checks.push(pass(name, 'without PUBLIC_URL it is not known whether they arrive'));
      } else {
        const { routes } = await webhookRoutes.list(tenantId);
        checks.push(pass(name, countVerdicts(routes)), ...toWebhookChecks(routes));
      }
      // oxlint-enable no-await-in-loop
    }
  } catch (error) {
    checks.push(fail('webhooks', formatError(error)));
  }
  return checks;
}

function countVerdicts(routes: readonly WebhookRoute[]): string {
  const byVerdict = Object.groupBy(routes, ({ verdict }) => verdict);
  const counts = Object.entries(byVerdict).map(([verdict, of]) => `${of.length} ${verdict}`);
  return `accounts: ${counts.join(', ') || 'none'}`;
}

/** Of each tenant. */
const maxShownRoutes = 50;

/** Those that fail first. */
function toWebhookChecks(routes: readonly WebhookRoute[]): readonly Check[] {
  const checks = routes.map((route) => toWebhookCheck(route));
  return checks
    .toSorted((one, other) => Number(one.ok) - Number(other.ok))
    .slice(0, maxShownRoutes);
}

function toWebhookCheck({ wabaId, verdict, actualUrl, lastEventAt }: WebhookRoute): Check {
  const last = lastEventAt === null ? 'no event yet' : `last event ${lastEventAt.toISOString()}`;
  const found = `${verdict}, Meta sends to ${maskEndpoint(actualUrl) ?? 'a URL that is not known'}, ${last}`;
  const name = `account ${wabaId}`;
  if (verdict === 'SILENT') {
    const advice =
      'subscribe the app with POST /{account}/subscribed_apps, and its fields in the App Dashboard';
    return warn(name, `${found}; ${advice}`);
  }
  if (verdict === 'MISROUTED') {
    const advice = 'enter the URL of webhook meta list at Meta, or pass the webhooks on from there';
    return warn(name, `${found}; ${advice}`);
  }
  return pass(name, found);
}

async function* readSealedCredentials(database: Database, tenantId: string) {
  for (const table of credentialTables) {
    let after: string | undefined = '';
    while (after !== undefined) {
      // oxlint-disable-next-line no-await-in-loop -- one page after the other
      const page = await listSealedCredentials(database, tenantId, table, { after, limit: 500 });
      yield* page;
      after = page.at(-1)?.id;
    }
  }
}

async function checkUpstreams({ config, fetch }: OpenedGateway): Promise<readonly Check[]> {
  const upstreams = [
    ['graph', config.metaGraphUrl],
    ...(config.sessionEngine === null
      ? []
      : [['session engine', config.sessionEngine.url] as const]),
  ] as const;
  return await Promise.all(
    upstreams.map(([name, url]) => runCheck(name, () => checkReachable(url, fetch))),
  );
}

/** Any HTTP response counts. */
async function checkReachable(url: URL, fetch: typeof globalThis.fetch): Promise<string> {
  const signal = AbortSignal.timeout(upstreamTimeoutMs);
  try {
    const response = await fetch(url, { redirect: 'manual', signal });
    await response.body?.cancel();
    return `${url.origin} responds (HTTP ${response.status})`;
  } catch (error) {
    const why = signal.aborted
      ? `no response within ${upstreamTimeoutMs / 1_000} s`
      : describeFetchError(error);
    throw new Error(`${url.origin} cannot be reached: ${why}`, { cause: error });
  }
}

// The message of such an error is "fetch failed"; its cause says why.
function describeFetchError(error: unknown): string {
  return describeCause(error instanceof Error ? (error.cause ?? error) : error);
}

function formatError(error: unknown): string {
  if (error instanceof ConfigurationError) return redact(error.problems.join('; '));
  return redact(describeError(error));
}

function pass(name: string, detail: string): Check {
  return { name, ok: true, detail };
}

function fail(name: string, detail: string): Check {
  return { name, ok: false, detail };
}

function warn(name: string, detail: string): Check {
  return { name, ok: false, isWarning: true, detail };
}
