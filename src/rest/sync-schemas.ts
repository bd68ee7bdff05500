// The JSON schemas of what is read in the background.

import { syncStates } from '../sync/report.ts';
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

/** By name, for `components.schemas`. */
export function toSyncSchemas(): Json {
  return {
    SyncReport: toObject('What is read in the background.', {
      accounts: { type: 'array', items: { $ref: '#/components/schemas/SyncAccount' } },
      accountCount: toCount('How many accounts there are in total, in these states.'),
      engine: toNullable('SyncEngine'),
    }),
    SyncAccount: toObject('How an account and its numbers are read.', {
      wabaId: toText("Meta's id of the account."),
      numberCount: toCount('How many numbers the tenant has of it.'),
      newNumberCount: toCount('How many numbers it has that the tenant does not.'),
      cadenceSeconds: toCount(
        'From one read of the list of its numbers to the next, as configured. An account with a number that has a problem, or that changed within the hour, is read five times as often.',
      ),
      attainable: {
        type: 'boolean',
        description: 'Whether the calls that the background may make are enough for this cadence.',
      },
      plannedCallsPerHour: toCount('How many calls to Meta the cadence takes in an hour.'),
      budgetCallsPerHour: toCount('How many calls to Meta the background may make in an hour.'),
      usedPercent: toCount('How much of these it has made in the last hour.'),
      lastSweepAt: toNullableTime('When the list was last read successfully.'),
      nextSweepAt: toNullableTime(
        'When the list is read next; in the past while it is due, null if nothing is planned.',
      ),
      pausedUntil: toNullableTime('Until when nothing is read; null if it is not paused.'),
      state: stateSchema,
      lastError: toNullableText(
        'The code of the newest failure; null if the last read of each kind succeeded.',
      ),
    }),
    SyncEngine: toObject('How the numbers at the session engine are read.', {
      numberCount: toCount('How many numbers of the tenant are there.'),
      cadenceSeconds: toCount('From one read of their states to the next, as configured.'),
      lastReadAt: toNullableTime('When they were last read.'),
      nextReadAt: toNullableTime(
        'When they are read next; in the past while they are due, null if nothing is planned.',
      ),
      state: stateSchema,
    }),
  };
}

function toCount(description: string): Json {
  return { type: 'integer', minimum: 0, description };
}
