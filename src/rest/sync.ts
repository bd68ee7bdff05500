// The route of sync: how often accounts are read in the background, and whether that is on time.

import { prices } from '../access/prices.ts';
import {
  defaultAccountCount,
  maxAccountCount,
  pageAccounts,
  selectAccounts,
} from '../sync/account-page.ts';
import type { PlannedAccount, PlannedEngine, SyncState } from '../sync/report.ts';
import type { Sync } from '../sync/sync.ts';
import type { HandlerInput } from './numbers.ts';
import { createParameterError, type DataRoute } from './route.ts';
import { stateNames } from './sync-schemas.ts';

export function createSyncRoute(sync: Pick<Sync, 'report'>): DataRoute {
  return {
    method: 'GET',
    path: '/v1/sync',
    operationId: 'getSync',
    tag: 'Numbers',
    summary: 'How often numbers are read in the background',
    description:
      'The WhatsApp Business accounts that the tenant has numbers of, ordered by their ids: how often each is read without being asked for, what that takes, and whether it is on time. To get more of them, send the last `wabaId` as `after`.',
    query: [
      {
        name: 'state',
        values: stateNames,
        isList: true,
        description: 'Only accounts in one of these states.',
      },
      {
        name: 'limit',
        schema: {
          type: 'integer',
          minimum: 0,
          maximum: maxAccountCount,
          default: defaultAccountCount,
        },
        description: 'How many accounts to return.',
      },
      {
        name: 'after',
        schema: { type: 'string' },
        description: 'The `wabaId` of the last account that you have.',
      },
    ],
    reply: 'SyncReport',
    errors: [],
    handler: (input) => describeSync(sync, input),
    maxPrice: ({ limit }) => prices.sync + readLimit(limit) * prices.syncAccount,
    isFixedPrice: true,
  };
}

async function describeSync(sync: Pick<Sync, 'report'>, { access, query }: HandlerInput) {
  const { state, limit, after } = query;
  // The route has checked them.
  const states = state === undefined ? null : (state.split(',') as SyncState[]);
  const first = readLimit(limit);
  const { accounts, engine } = await sync.report(access.tenantId);
  return {
    accounts: pageAccounts(accounts, { first, after, states }).map(toAccountJson),
    accountCount: selectAccounts(accounts, states).length,
    engine: engine && toEngineJson(engine),
  };
}

function toAccountJson(account: PlannedAccount) {
  const { wabaId, numberCount, newNumberCount, cadenceSeconds } = account;
  const { attainable, attainableCadenceSeconds, plannedCallsPerHour, budgetCallsPerHour } = account;
  const { usedPercent, lastSweepAt, nextSweepAt, pausedUntil, state, lastError } = account;
  return {
    wabaId,
    numberCount,
    newNumberCount,
    cadenceSeconds,
    attainable,
    attainableCadenceSeconds,
    plannedCallsPerHour,
    budgetCallsPerHour,
    usedPercent,
    lastSweepAt,
    nextSweepAt,
    pausedUntil,
    state,
    lastError,
  };
}

function toEngineJson(engine: PlannedEngine) {
  const { numberCount, cadenceSeconds, lastReadAt, nextReadAt, state } = engine;
  return { numberCount, cadenceSeconds, lastReadAt, nextReadAt, state };
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return defaultAccountCount;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : Infinity;
  if (limit <= maxAccountCount) return limit;
  throw createParameterError('limit', `once, as a number from 0 to ${maxAccountCount}`);
}
