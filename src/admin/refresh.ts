// The command `number refresh`: which numbers it reads, and how it reports progress and failures.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { findRefreshFailure, type WhatsAppNumber } from '../numbers/number.ts';
import { toFailureText } from '../numbers/provider.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { parseId, parseIds, UsageError } from './arguments.ts';
import { refreshFleet, type TenantNumbers } from './fleet-refresh.ts';
import { numberColumns, toDetailJson } from './number-json.ts';
import { type Session, withGateway } from './session.ts';
import { openProgress } from './terminal.ts';

export function addRefreshCommand(number: CommandUnknownOpts, session: Session): void {
  number
    .command('refresh')
    .summary('read numbers from Meta or the session engine')
    .description(
      'Read numbers from Meta or the session engine and store the result. With --tenant, read the Meta numbers whose stored data is missing or older than an hour. The exit code is 1 when a number could not be read at all.',
    )
    .argument('[ids...]', 'ids of the numbers, from: number list', parseIds)
    .option('--tenant <id>', 'refresh the numbers of this tenant', parseId)
    .option('--all', 'with --tenant: refresh every number, whatever its age')
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway number refresh wa_… wa_…\n  $ numbers-gateway number refresh --tenant ten_… --all',
    )
    .action(async (ids, { tenant, all = false }) => {
      if ((ids.length === 0) === (tenant === undefined)) {
        throw new UsageError(
          'Specify either number ids or a tenant: number refresh ID…, or number refresh --tenant ID',
        );
      }
      if (all && tenant === undefined) throw new UsageError('--all requires --tenant.');
      await withGateway(session, async (gateway) => {
        const selected =
          tenant === undefined
            ? await groupByTenant(gateway, ids, session)
            : [{ tenantId: tenant, ids: await listIds(gateway, tenant, all) }];
        const read = await refresh(gateway, selected, session);
        session.printTable(read.map(toDetailJson), numberColumns, 'No number needs a refresh.');
        for (const it of read) reportFailures(it, session);
      });
    });
}

/** Reports ids that do not exist, and leaves them out. */
async function groupByTenant(
  { numbers }: Gateway,
  ids: readonly string[],
  session: Session,
): Promise<readonly TenantNumbers[]> {
  const found = await Promise.allSettled(ids.map((id) => numbers.getTenantOf(id)));
  const owned = found.flatMap((result, index) => {
    const id = ids[index] ?? '';
    if (result.status === 'fulfilled') return [{ tenantId: result.value, id }];
    if (!(result.reason instanceof GatewayError)) throw result.reason;
    if (result.reason.code !== 'NUMBER_NOT_FOUND') throw result.reason;
    session.fail(
      'NUMBER_NOT_FOUND',
      `Number ${id} does not exist; list the numbers of a tenant with: number list --tenant ID`,
    );
    return [];
  });
  return [...Map.groupBy(owned, ({ tenantId }) => tenantId)].map(([tenantId, ofTenant]) => ({
    tenantId,
    ids: ofTenant.map(({ id }) => id),
  }));
}

async function listIds(
  { access, numbers }: Gateway,
  tenantId: string,
  all: boolean,
): Promise<readonly string[]> {
  await access.getTenant(tenantId);
  const listed = await numbers.list(toOperatorAccess(tenantId));
  return listed.filter((number) => all || isDue(number)).map((number) => number.id);
}

function isDue(number: WhatsAppNumber): boolean {
  if (number.provider !== 'META') return false;
  return Object.values(number.freshness).some((freshness) => freshness?.stale ?? true);
}

/** Returns the numbers in the given order. One that was deleted in the meantime is reported and left out. */
async function refresh(
  gateway: Gateway,
  selected: readonly TenantNumbers[],
  session: Session,
): Promise<readonly WhatsAppNumber[]> {
  const { terminal } = session;
  const pending = new Set(selected.flatMap(({ ids }) => ids));
  using progress = openProgress(terminal, pending.size, { action: 'Reading', items: 'numbers' });
  const results = await refreshFleet(gateway, selected, {
    signal: terminal.signal,
    onEnd(id) {
      if (!pending.delete(id)) return;
      progress.advance(1);
      progress.note(formatPending([...pending]));
    },
  });
  progress.end();
  return results.flatMap((result) => {
    if (!(result instanceof GatewayError)) return [result];
    session.fail(result.code, result.message);
    return [];
  });
}

/** Says what a bar that stands still waits for. */
function formatPending([first, ...others]: readonly string[]): string {
  if (first === undefined) return 'waiting for the account';
  return others.length === 0 ? `waiting for ${first}` : '';
}

/** The command fails when a number could not be read at all, but not when only some of its blocks could not. */
function reportFailures(number: WhatsAppNumber, session: Session): void {
  const failure = findRefreshFailure(number);
  if (failure !== null) {
    session.fail(failure.code, `${number.id}: ${toFailureText(failure)}`);
    return;
  }
  for (const [block, freshness] of Object.entries(number.freshness)) {
    const error = freshness?.error ?? null;
    if (error !== null) session.warn(error.code, `${number.id}, ${block}: ${toFailureText(error)}`);
  }
}
