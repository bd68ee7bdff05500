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
  reportMeanings,
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

const { account: ofAccount, engine: ofEngine } = reportMeanings;

/** How often an account is to be read, and what that takes. */
function toPlanFields(t: AccountFields) {
  return {
    cadenceSeconds: t.exposeInt('cadenceSeconds', { description: ofAccount.cadenceSeconds }),
    attainable: t.exposeBoolean('attainable', { description: ofAccount.attainable }),
    attainableCadenceSeconds: t.exposeInt('attainableCadenceSeconds', {
      nullable: true,
      description: ofAccount.attainableCadenceSeconds,
    }),
    plannedCallsPerHour: t.exposeInt('plannedCallsPerHour', {
      description: ofAccount.plannedCallsPerHour,
    }),
    budgetCallsPerHour: t.exposeInt('budgetCallsPerHour', {
      description: ofAccount.budgetCallsPerHour,
    }),
    usedPercent: t.exposeInt('usedPercent', { description: ofAccount.usedPercent }),
  };
}

const SyncAccountType = builder.objectRef<PlannedAccount>('SyncAccount').implement({
  description: 'How a WhatsApp Business account and its numbers are read in the background.',
  fields: (t) => ({
    wabaId: t.exposeID('wabaId', { description: ofAccount.wabaId }),
    numberCount: t.exposeInt('numberCount', { description: ofAccount.numberCount }),
    newNumberCount: t.exposeInt('newNumberCount', { description: ofAccount.newNumberCount }),
    ...toPlanFields(t),
    lastSweepAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: ofAccount.lastSweepAt,
      resolve: ({ lastSweepAt }) => toText(lastSweepAt),
    }),
    nextSweepAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: ofAccount.nextSweepAt,
      resolve: ({ nextSweepAt }) => toText(nextSweepAt),
    }),
    pausedUntil: t.field({
      type: 'DateTime',
      nullable: true,
      description: ofAccount.pausedUntil,
      resolve: ({ pausedUntil }) => toText(pausedUntil),
    }),
    state: t.expose('state', { type: SyncStateEnum, description: ofAccount.state }),
    lastError: t.exposeString('lastError', { nullable: true, description: ofAccount.lastError }),
  }),
});

const SyncEngineType = builder.objectRef<PlannedEngine>('SyncEngine').implement({
  description: 'How the states of the numbers at the session engine are read in the background.',
  fields: (t) => ({
    numberCount: t.exposeInt('numberCount', { description: ofEngine.numberCount }),
    cadenceSeconds: t.exposeInt('cadenceSeconds', { description: ofEngine.cadenceSeconds }),
    lastReadAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: ofEngine.lastReadAt,
      resolve: ({ lastReadAt }) => toText(lastReadAt),
    }),
    nextReadAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: ofEngine.nextReadAt,
      resolve: ({ nextReadAt }) => toText(nextReadAt),
    }),
    state: t.expose('state', { type: SyncStateEnum, description: ofEngine.state }),
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
