// Owns the command that looks the installation over: one check a line, each saying what it saw or what to do.

import { setTimeout as delay } from 'node:timers/promises';
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { type Config, ConfigurationError } from '../config.ts';
import type { Database, DatabaseInspection } from '../database/database.ts';
import { toCredentialPlace } from '../numbers/refresh.ts';
import { createVault } from '../secrets.ts';
import { redact } from '../telemetry.ts';
import { type Opened, openGateway, readCommandConfig } from './opening.ts';
import type { Session } from './session.ts';
import { listSealedCredentials, seesNumbers } from './store.ts';
import { toCauseText, toPrintable, toReason } from './terminal.ts';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

const reachTimeoutMs = 3_000;
const hearingTimeoutMs = 3_000;

export function addDoctorCommand(program: CommandUnknownOpts, session: Session): void {
  program
    .command('doctor')
    .summary('check the installation')
    .description(
      'Check configuration, database, migrations, role, policies, announcements of changes, keys and the way to Meta. The exit code is 1 when a check fails.',
    )
    .action(async () => {
      const checks = await examine(session);
      const failed = checks.filter((check) => !check.ok);
      session.answer({ checks }, () => checks.map(toLine).join('\n'));
      if (failed.length > 0) {
        const names = failed.map((check) => check.name).join(', ');
        session.report('DOCTOR', `${failed.length} of ${checks.length} checks failed: ${names}.`);
      }
    });
}

function toLine({ name, ok, detail }: Check): string {
  return `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(15)} ${toPrintable(detail)}`;
}

/** A failed check keeps those from running that need what it looked at. */
async function examine({ terminal }: Session): Promise<readonly Check[]> {
  let config: Config;
  try {
    config = readCommandConfig(terminal);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return [fail('configuration', error.problems.join('; '))];
  }
  const checks = [pass('configuration', `${config.mode} mode`)];
  let opened: Opened;
  try {
    opened = await openGateway(config, terminal);
  } catch (error) {
    return [...checks, fail('database', toDetail(error))];
  }
  await using closing = opened;
  const [stored, reached] = await Promise.all([
    examineDatabase(closing),
    examineUpstreams(closing),
  ]);
  return [...checks, ...stored, ...reached];
}

async function examineDatabase(opened: Opened): Promise<readonly Check[]> {
  const { config, gateway } = opened;
  let inspection: DatabaseInspection;
  try {
    // Whoever opens the embedded database brings it up to date; there is nobody else.
    if (config.mode === 'demo') await gateway.database.migrate();
    inspection = await gateway.database.inspect();
  } catch (error) {
    return [fail('database', toDetail(error))];
  }
  const kind = config.mode === 'demo' ? `embedded in ${config.dataDirectory}` : 'reachable';
  const found = [
    pass('database', `PostgreSQL ${inspection.version}, ${kind}`),
    await runCheck('migrations', () => checkMigrations(opened)),
  ];
  if (found.some(({ ok }) => !ok)) return found;
  return [
    ...found,
    await runCheck('role', () => checkRole(opened, inspection)),
    await runCheck('policies', async () => checkPolicies(inspection)),
    await runCheck('changes', () => checkChanges(opened, inspection)),
    await runCheck('keys', () => checkKeys(opened)),
  ];
}

/** `look` answers what it saw and throws what is wrong. */
async function runCheck(name: string, look: () => Promise<string>): Promise<Check> {
  try {
    return pass(name, await look());
  } catch (error) {
    return fail(name, toDetail(error));
  }
}

async function checkMigrations({ gateway }: Opened): Promise<string> {
  const pending = await gateway.database.pendingMigrations();
  if (pending.length === 0) return 'all applied';
  throw new Error(`not applied: ${pending.join(', ')}; run: numbers-gateway migrate`);
}

async function checkRole(
  { config, gateway }: Opened,
  { role }: DatabaseInspection,
): Promise<string> {
  const tooStrong = [
    ...(role.superuser ? ['a superuser'] : []),
    ...(role.bypassesRowSecurity ? ['free of row-level security'] : []),
  ];
  const advice =
    'create a role with: create role NAME login password …; grant gateway_login to NAME';
  if (tooStrong.length > 0 && config.mode === 'production') {
    throw new Error(`${role.name} is ${tooStrong.join(' and ')}; ${advice}`);
  }
  // Does what every request does: asks across tenants, and becomes a tenant that is not there.
  await gateway.access.listTenants();
  if (await seesNumbers(gateway.database, '-')) {
    throw new Error(
      'a tenant that does not exist sees numbers; restore the policies of the migrations',
    );
  }
  if (tooStrong.length > 0) return `${role.name}, ${tooStrong.join(' and ')}; fine for a demo`;
  if (role.ownsTables) return `warning: ${role.name} owns the tables; better, ${advice}`;
  return `${role.name}, neither superuser nor owner`;
}

function checkPolicies({ tables, rlsBypasses }: DatabaseInspection): string {
  const open = tables.filter((table) => !table.isIsolated).map((table) => table.name);
  const problems = [...rlsBypasses];
  if (open.length > 0) {
    problems.push(
      `row-level security must be forced, with the policy tenant_isolation of the migrations alone, to keep tenants apart in: ${open.join(', ')}`,
    );
  }
  if (problems.length > 0) throw new Error(problems.join('; also: '));
  if (tables.length === 0) throw new Error('there are no tables; run: numbers-gateway migrate');
  return `${tables.length} tables keep tenants apart`;
}

/** Without announcements all is well and slower; with some of them missing, answers would be old. */
async function checkChanges(
  { gateway }: Opened,
  { unannouncedTables }: DatabaseInspection,
): Promise<string> {
  if (unannouncedTables.length > 0) {
    throw new Error(
      `changes are not announced by: ${unannouncedTables.join(', ')}; enable its triggers announce_… always, or set ANSWER_CACHE_MB=0`,
    );
  }
  const { changes } = gateway.database;
  const leave = changes.subscribe(() => undefined);
  const heard = changes.catchUp().then(() => true);
  const isHeard = await Promise.race([heard, delay(hearingTimeoutMs, false, { ref: false })]);
  leave();
  if (isHeard) return 'announced, and heard';
  return 'warning: announced, and not heard, as behind a connection pooler; every answer is read';
}

async function checkKeys({ config, gateway }: Opened): Promise<string> {
  const vault = createVault(config.encryptionKeys);
  const tenants = await gateway.access.listTenants();
  const counts = { opened: 0, outdated: 0 };
  const closed: string[] = [];
  for (const { id: tenantId } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one tenant after the other, to be no burden
    for await (const { number_id, sealed } of readSealedCredentials(gateway.database, tenantId)) {
      try {
        vault.open(sealed, toCredentialPlace(tenantId, number_id));
        counts.opened += 1;
        if (!vault.isCurrent(sealed)) counts.outdated += 1;
      } catch {
        closed.push(number_id);
      }
    }
  }
  if (closed.length > 0) {
    const total = closed.length + counts.opened;
    const shown = closed.slice(0, 5).join(', ');
    throw new Error(
      `${closed.length} of ${total} stored credentials cannot be opened (${shown}${closed.length > 5 ? ', …' : ''}); put the key that sealed them back into ENCRYPTION_KEYS, or store them again: number set-credentials`,
    );
  }
  const rest =
    counts.outdated === 0
      ? ''
      : `, ${counts.outdated} of them sealed with an older key; run: numbers-gateway keys rotate-encryption`;
  return `${counts.opened} stored credentials can be opened${rest}`;
}

async function* readSealedCredentials(database: Database, tenantId: string) {
  let after = '';
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one page after the other
    const page = await listSealedCredentials(database, tenantId, { after, limit: 500 });
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.number_id;
  }
}

async function examineUpstreams({ config, fetch }: Opened): Promise<readonly Check[]> {
  const upstreams = [
    ['graph', config.metaGraphUrl],
    ...(config.sessionEngine === null
      ? []
      : [['session engine', config.sessionEngine.url] as const]),
  ] as const;
  return await Promise.all(upstreams.map(([name, url]) => runCheck(name, () => reach(url, fetch))));
}

/** Any answer at all will do. */
async function reach(url: URL, fetch: typeof globalThis.fetch): Promise<string> {
  const signal = AbortSignal.timeout(reachTimeoutMs);
  try {
    const response = await fetch(url, { redirect: 'manual', signal });
    await response.body?.cancel();
    return `${url.origin} answers (HTTP ${response.status})`;
  } catch (error) {
    const why = signal.aborted
      ? `no answer within ${reachTimeoutMs / 1_000} s`
      : toFetchText(error);
    throw new Error(`${url.origin} cannot be reached: ${why}`, { cause: error });
  }
}

// Node says "fetch failed" and keeps the truth in the cause.
function toFetchText(error: unknown): string {
  return toCauseText(error instanceof Error ? (error.cause ?? error) : error);
}

function toDetail(error: unknown): string {
  if (error instanceof ConfigurationError) return redact(error.problems.join('; '));
  return redact(toReason(error));
}

function pass(name: string, detail: string): Check {
  return { name, ok: true, detail };
}

function fail(name: string, detail: string): Check {
  return { name, ok: false, detail };
}
