// Defines Query.sync: how often the accounts of the tenant are read in the background, and whether that is on time.

import { limitValidity } from '../http/request-context.ts';
import {
  defaultAccountCount,
  maxAccountCount,
  pageAccounts,
  selectAccounts,
} from '../sync/account-page.ts';
import {
  type PlannedAccount,
  type PlannedEngine,
  type SyncReport,
  type SyncState,
  syncStates,
} from '../sync/report.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import type { QueryFields } from './queries.ts';

const SyncStateEnum = createEnum<SyncState>(
  'SyncState',
  'Whether something is read in the background as often as it should be.',
  syncStates,
);

const toText = (time: Date | null): string | null => time?.toISOString() ?? null;

type AccountFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  PlannedAccount
>;

/** How often an account is to be read, and what that takes. */
function toPlanFields(t: AccountFields) {
  return {
    cadenceSeconds: t.exposeInt('cadenceSeconds', {
      description:
        'From one read of the list of its numbers to the next, as configured. An account with a number that has a problem, or that changed within the hour, is read five times as often.',
    }),
    attainable: t.exposeBoolean('attainable', {
      description:
        'Whether the calls that the background may make are enough for this cadence. Otherwise the account is read less often.',
    }),
    plannedCallsPerHour: t.exposeInt('plannedCallsPerHour', {
      description: 'How many calls to Meta the cadence takes in an hour.',
    }),
    budgetCallsPerHour: t.exposeInt('budgetCallsPerHour', {
      description:
        'How many calls to Meta the background may make in an hour: a share of the limit that Meta has for the account.',
    }),
    usedPercent: t.exposeInt('usedPercent', {
      description: 'How much of these the background has made in the last hour.',
    }),
  };
}

const SyncAccountType = builder.objectRef<PlannedAccount>('SyncAccount').implement({
  description: 'How a WhatsApp Business account and its numbers are read in the background.',
  fields: (t) => ({
    wabaId: t.exposeID('wabaId', { description: "Meta's id of the account." }),
    numberCount: t.exposeInt('numbers', {
      description: 'How many numbers the tenant has of this account.',
    }),
    newNumberCount: t.exposeInt('unknownNumbers', {
      description: 'How many numbers the account has that the tenant does not.',
    }),
    ...toPlanFields(t),
    lastSweepAt: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When the list of its numbers was last read successfully; null if it never was. What the list says of a number is stored when it differs from what is stored already.',
      resolve: ({ lastSweepAt }) => toText(lastSweepAt),
    }),
    nextSweepAt: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When the list is read next; in the past while it is due, and null if nothing is planned.',
      resolve: ({ nextSweepAt }) => toText(nextSweepAt),
    }),
    pausedUntil: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'Until when nothing is read; null if it is not paused.',
      resolve: ({ pausedUntil }) => toText(pausedUntil),
    }),
    state: t.expose('state', {
      type: SyncStateEnum,
      description: 'Whether the account is read as often as the cadence says.',
    }),
    lastError: t.exposeString('lastError', {
      nullable: true,
      description:
        'The code of the newest failure, as in `freshness { error { code } }`; null if the last read of each kind succeeded.',
    }),
  }),
});

const SyncEngineType = builder.objectRef<PlannedEngine>('SyncEngine').implement({
  description: 'How the states of the numbers at the session engine are read in the background.',
  fields: (t) => ({
    numberCount: t.exposeInt('numbers', {
      description: 'How many numbers of the tenant are at the session engine.',
    }),
    cadenceSeconds: t.exposeInt('cadenceSeconds', {
      description: 'From one read of their states to the next, as configured.',
    }),
    lastReadAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When they were last read; null if they never were.',
      resolve: ({ lastReadAt }) => toText(lastReadAt),
    }),
    nextReadAt: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When they are read next; in the past while they are due, and null if nothing is planned.',
      resolve: ({ nextReadAt }) => toText(nextReadAt),
    }),
    state: t.expose('state', {
      type: SyncStateEnum,
      description: 'Whether they are read as often as the cadence says.',
    }),
  }),
});

const statesDescription = 'Only accounts in one of these states; all if it is null.';

const SyncType = builder.objectRef<SyncReport>('Sync').implement({
  description: 'What is read from WhatsApp without being asked for.',
  fields: (t) => ({
    accounts: t.field({
      type: [SyncAccountType],
      description:
        'The WhatsApp Business accounts that the tenant has numbers of, ordered by their ids.',
      args: {
        first: t.arg.int({
          defaultValue: defaultAccountCount,
          description: `How many accounts to return, at most ${maxAccountCount}. If there are as many as that, ask for more with \`after\`.`,
        }),
        after: t.arg.id({ description: 'The `wabaId` of the last account that you have.' }),
        states: t.arg({ type: [SyncStateEnum], description: statesDescription }),
      },
      resolve: ({ accounts }, { first, ...request }) =>
        pageAccounts(accounts, { ...request, first: first ?? defaultAccountCount }),
    }),
    accountCount: t.int({
      description: 'How many there are in total.',
      args: { states: t.arg({ type: [SyncStateEnum], description: statesDescription }) },
      resolve: ({ accounts }, { states }) => selectAccounts(accounts, states).length,
    }),
    engine: t.expose('engine', {
      type: SyncEngineType,
      nullable: true,
      description:
        'The numbers of the tenant at the session engine, which are read together; null if it has none.',
    }),
  }),
});

export function toSyncQueries(t: QueryFields) {
  return {
    sync: t.field({
      type: SyncType,
      description:
        'How often the numbers of the tenant are read in the background, what that takes, and whether it is on time.',
      resolve: async (_root, _args, { access, sync }: GraphQLContext) => {
        // It changes with every read, which is announced to nobody.
        limitValidity(access.meter, new Date(0));
        return await sync.report(access.tenantId);
      },
    }),
  };
}
