// The JSON schemas of what is read in the background.

import { reportMeanings, syncStates } from '../sync/report.ts';
import {
  type Json,
  toNullable,
  toNullableText,
  toNullableTime,
  toObject,
  toText,
} from './json-schema.ts';

export const stateNames = Object.keys(syncStates);

const stateSchema: Json = {
  type: 'string',
  enum: stateNames,
  description: Object.entries(syncStates)
    .map(([state, meaning]) => `${state}: ${meaning}`)
    .join(' '),
};

const { account, engine } = reportMeanings;

/** By name, for `components.schemas`. */
export function toSyncSchemas(): Json {
  return {
    SyncReport: toObject('What is read in the background.', {
      accounts: { type: 'array', items: { $ref: '#/components/schemas/SyncAccount' } },
      accountCount: toCount('How many accounts there are in total, in these states.'),
      engine: toNullable('SyncEngine'),
    }),
    SyncAccount: toObject('How an account and its numbers are read.', {
      wabaId: toText(account.wabaId),
      numberCount: toCount(account.numberCount),
      newNumberCount: toCount(account.newNumberCount),
      cadenceSeconds: toCount(account.cadenceSeconds),
      attainable: { type: 'boolean', description: account.attainable },
      attainableCadenceSeconds: {
        type: ['integer', 'null'],
        minimum: 1,
        description: account.attainableCadenceSeconds,
      },
      plannedCallsPerHour: toCount(account.plannedCallsPerHour),
      budgetCallsPerHour: toCount(account.budgetCallsPerHour),
      usedPercent: toCount(account.usedPercent),
      lastSweepAt: toNullableTime(account.lastSweepAt),
      nextSweepAt: toNullableTime(account.nextSweepAt),
      pausedUntil: toNullableTime(account.pausedUntil),
      state: stateSchema,
      lastError: toNullableText(account.lastError),
    }),
    SyncEngine: toObject('How the numbers at the session engine are read.', {
      numberCount: toCount(engine.numberCount),
      cadenceSeconds: toCount(engine.cadenceSeconds),
      lastReadAt: toNullableTime(engine.lastReadAt),
      nextReadAt: toNullableTime(engine.nextReadAt),
      state: stateSchema,
    }),
  };
}

function toCount(description: string): Json {
  return { type: 'integer', minimum: 0, description };
}
