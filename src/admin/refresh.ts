// Owns the command that reads many numbers live: which ones, in what portions, and how it went.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { GatewayError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { findRefreshFailure, type Freshness, type WhatsAppNumber } from '../numbers/number.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toDetail } from '../rest/numbers.ts';
import { parseId, parseIds, UsageError } from './arguments.ts';
import { toNumberTable } from './number-text.ts';
import { openProgress } from './progress.ts';
import { type Session, withGateway } from './session.ts';

// Two blocks of each number and the accounts of two customers: one batch of Meta's when they share a token.
const portionSize = 24;

export function addRefreshCommand(number: CommandUnknownOpts, session: Session): void {
  number
    .command('refresh')
    .summary('read numbers live')
    .description(
      'Read numbers live from Meta or the session engine and store what was found. With --tenant, those of Meta’s whose stored data is missing or older than an hour. The exit code is 1 when a number could not be read at all.',
    )
    .argument('[ids...]', 'the numbers, as number list shows them', parseIds)
    .option('--tenant <id>', 'read numbers of this tenant', parseId)
    .option('--all', 'with --tenant: every number, however fresh')
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway number refresh wa_… wa_…\n  $ numbers-gateway number refresh --tenant ten_… --all',
    )
    .action(async (ids, { tenant, all = false }) => {
      if ((ids.length === 0) === (tenant === undefined)) {
        throw new UsageError('Name either numbers or a tenant: number refresh ID… | --tenant ID');
      }
      if (all && tenant === undefined) throw new UsageError('--all goes with --tenant.');
      await withGateway(session, async (gateway) => {
        const wanted =
          tenant === undefined
            ? await findTenants(gateway, ids, session)
            : [{ tenantId: tenant, ids: await listIds(gateway, tenant, all) }];
        const read = await refresh(gateway, wanted, session);
        session.answer(read.map(toJson), () => toNumberTable(read, 'There was nothing to read.'));
        for (const it of read) tellFailures(it, session);
      });
    });
}

interface Wanted {
  readonly tenantId: string;
  readonly ids: readonly string[];
}

async function findTenants(
  { numbers }: Gateway,
  ids: readonly string[],
  session: Session,
): Promise<readonly Wanted[]> {
  const found = await Promise.allSettled(ids.map((id) => numbers.getTenantOf(id)));
  const owned = found.flatMap((result, index) => {
    const id = ids[index] ?? '';
    if (result.status === 'fulfilled') return [{ tenantId: result.value, id }];
    if (!(result.reason instanceof GatewayError)) throw result.reason;
    if (result.reason.code !== 'NUMBER_NOT_FOUND') throw result.reason;
    session.report('NUMBER_NOT_FOUND', `There is no number ${id}; see: number list.`);
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
  return Object.values(toFreshness(number)).some((freshness) => freshness?.stale ?? true);
}

/** In order. A number that has gone meanwhile is reported and left out. */
async function refresh(
  { numbers }: Gateway,
  wanted: readonly Wanted[],
  session: Session,
): Promise<readonly WhatsAppNumber[]> {
  const { terminal } = session;
  const total = wanted.reduce((sum, { ids }) => sum + ids.length, 0);
  using progress = openProgress(terminal, total, { doing: 'Reading', things: 'numbers' });
  const read: WhatsAppNumber[] = [];
  const problems: GatewayError[] = [];
  for (const { tenantId, ids } of wanted) {
    // One for all portions: an account that they share then counts as read.
    const operator = toOperatorAccess(tenantId);
    for (let start = 0; start < ids.length; start += portionSize) {
      const portion = ids.slice(start, start + portionSize);
      const requests = portion.map((id) => ({ id, refresh: [] }));
      // oxlint-disable-next-line no-await-in-loop -- portion by portion, so that Meta is not flooded
      for (const result of await numbers.getMany(operator, requests, terminal.signal)) {
        if (result instanceof GatewayError) problems.push(result);
        else read.push(result);
      }
      progress.advance(portion.length);
    }
  }
  progress.end();
  for (const problem of problems) session.report(problem.code, problem.message);
  return read;
}

/** A number that could not be read at all makes the command fail; one that was read in part does not. */
function tellFailures(number: WhatsAppNumber, session: Session): void {
  const failure = findRefreshFailure(number);
  if (failure !== null) {
    session.report(failure.code, `${number.id}: ${failure.message}`);
    return;
  }
  for (const [block, freshness] of Object.entries(toFreshness(number))) {
    const error = freshness?.error ?? null;
    if (error !== null) session.remark(error.code, `${number.id}, its ${block}: ${error.message}`);
  }
}

function toJson(number: WhatsAppNumber) {
  return { ...toDetail(number), freshness: toFreshness(number) };
}

/** By block. Null: no reading was ever asked for, or there is nothing to ask. */
function toFreshness({ provider, health, meta }: WhatsAppNumber): Record<string, Freshness | null> {
  if (provider !== 'META') return { connection: health.freshness };
  return {
    phone: health.freshness,
    profile: meta?.profile?.freshness ?? null,
    waba: meta?.waba?.freshness ?? null,
  };
}
