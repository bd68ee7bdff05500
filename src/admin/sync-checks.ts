// The checks of `doctor` about the reads in the background: one for each tenant, and one for each account that is not read.

import type { Gateway } from '../gateway.ts';
import type { PlannedAccount, PlannedEngine } from '../sync/sync.ts';

/** As `Check` in doctor.ts. What is wrong is a warning: it concerns one tenant. */
export interface SyncCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly isWarning?: true;
  readonly detail: string;
}

/** Of each tenant. */
const maxShown = 50;

export async function checkSync({
  access,
  sync,
}: Pick<Gateway, 'access' | 'sync'>): Promise<readonly SyncCheck[]> {
  const checks: SyncCheck[] = [];
  for (const { id } of await access.listTenants()) {
    // oxlint-disable-next-line no-await-in-loop -- one tenant at a time, to limit the load
    const { accounts, engine } = await sync.report(id);
    if (engine?.state === 'LATE') checks.push(toEngineCheck(id, engine));
    if (accounts.length === 0) continue;
    const byState = Object.groupBy(accounts, ({ state }) => state);
    const counts = Object.entries(byState).map(([state, of]) => `${of.length} ${state}`);
    checks.push({ name: `sync of ${id}`, ok: true, detail: `accounts: ${counts.join(', ')}` });
    const failing = accounts.flatMap((account) => {
      const detail = describe(account);
      const name = `account ${account.wabaId}`;
      return detail === null ? [] : [{ name, ok: false, isWarning: true as const, detail }];
    });
    checks.push(...failing.slice(0, maxShown));
  }
  return checks;
}

function toEngineCheck(tenantId: string, { lastReadAt, lastError }: PlannedEngine): SyncCheck {
  const last = lastReadAt === null ? 'never read' : `last read ${lastReadAt.toISOString()}`;
  const error = lastError === null ? '' : `, last error ${lastError}`;
  return {
    name: `session engine of ${tenantId}`,
    ok: false,
    isWarning: true,
    detail: `LATE, ${last}${error}; see that the session engine answers, and that a process serves`,
  };
}

/** What is wrong, and how to fix it; null when nothing is. */
function describe(account: PlannedAccount): string | null {
  const { state, lastSweepAt, lastError, attainable, pausedUntil } = account;
  const last = lastSweepAt === null ? 'never read' : `last read ${lastSweepAt.toISOString()}`;
  const found = lastError === null ? last : `${last}, last error ${lastError}`;
  if (state === 'PAUSED_TOKEN') {
    const until = pausedUntil === null ? 'later' : `at ${pausedUntil.toISOString()}`;
    return `Meta refuses the access token, ${found}; store another one with: credential set, or number set-credentials; otherwise it is tried again ${until}`;
  }
  if (state !== 'LATE') return null;
  if (account.isListRefused) {
    return `LATE, ${found}; Meta refuses the list of the account's numbers, so they are read one by one: let the system user of a token manage the account`;
  }
  if (!attainable) {
    return `LATE, ${found}; the cadence takes ${account.plannedCallsPerHour} calls an hour, and ${account.budgetCallsPerHour} may be made: raise SYNC_${account.mainKind}_SECONDS, which takes most of them, or SYNC_BUDGET_SHARE`;
  }
  return `LATE, ${found}; see that a process serves, and search its log for: numbers are not read in the background`;
}
