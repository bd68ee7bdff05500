// Defines the changes of numbers and accounts: their types, the field of Query that pages them, and the one of Subscription
// that streams them.

import type { GraphQLResolveInfo } from 'graphql';
import { GatewayError } from '../errors.ts';
import {
  type ChangeActor,
  changeActors,
  type ChangeFilter,
  changeKinds,
  type ChangePage,
  changeSources,
  type NumberChange,
  toActorType,
} from '../history/change.ts';
import { changeFields } from '../history/change-fields.ts';
import { defaultPageSize, maxPageSize } from '../history/history.ts';
import { limitValidity } from '../http/request-context.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { withLastEvent } from './events.ts';
import { ApiKeyHintType, toLoaderKey, WhatsAppNumberType } from './number.ts';
import type { QueryFields } from './queries.ts';
import { projectionOf } from './selection.ts';

export const unrecognized = {
  UNRECOGNIZED:
    'A word that a newer version of the gateway has written. In a filter it matches nothing.',
} as const;

/** The word, or UNRECOGNIZED: a page must not fail because a newer release writes to the same database. */
export function toKnown<Words extends object>(
  words: Words,
  word: string,
): keyof Words | 'UNRECOGNIZED' {
  return Object.hasOwn(words, word) ? (word as keyof Words) : 'UNRECOGNIZED';
}

const ChangeKindEnum = createEnum(
  'ChangeKind',
  'What kind of change it is. More values may be added.',
  { ...changeKinds, ...unrecognized },
);

export const ChangeFieldEnum = createEnum(
  'ChangeField',
  'What has changed. More values may be added.',
  { ...changeFields, ...unrecognized },
);

const ChangeSourceEnum = createEnum(
  'ChangeSource',
  'What caused a change. More values may be added.',
  { ...changeSources, ...unrecognized },
);

const ChangeActorTypeEnum = createEnum('ChangeActorType', 'Who made a change.', changeActors);

export const ChangeActorType = builder
  .objectRef<Pick<NumberChange, 'actorKey'> & { readonly type: ChangeActor }>('ChangeActor')
  .implement({
    description: 'Who made a change.',
    fields: (t) => ({
      type: t.expose('type', { type: ChangeActorTypeEnum, description: 'Who it was.' }),
      key: t.expose('actorKey', {
        type: ApiKeyHintType,
        nullable: true,
        description: 'The API key, if `type` is KEY; null for a key that does not exist any more.',
      }),
    }),
  });

type ChangeFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  NumberChange
>;

/** The values, and where they come from. */
function toOriginFields(t: ChangeFields) {
  return {
    previousValue: t.exposeString('previousValue', {
      nullable: true,
      description: 'The value before; null if there was none.',
    }),
    newValue: t.exposeString('newValue', {
      nullable: true,
      description: 'The value after; null if there is none.',
    }),
    source: t.field({
      type: ChangeSourceEnum,
      description: 'What caused the change.',
      resolve: ({ source }) => toKnown(changeSources, source),
    }),
    actor: t.field({
      type: ChangeActorType,
      nullable: true,
      description:
        'Who made the change; null for one that nobody made here, such as a change at Meta.',
      resolve: (change) => {
        const type = toActorType(change);
        return type === null ? null : { type, actorKey: change.actorKey };
      },
    }),
    observation: t.exposeID('observation', {
      nullable: true,
      description: 'Changes that one read of one number has found have the same `observation`.',
    }),
    occurredAt: t.expose('occurredAt', {
      type: 'DateTime',
      description: 'When the change was observed.',
    }),
    recordedAt: t.expose('recordedAt', {
      type: 'DateTime',
      description:
        'When the change was stored. It may be a little out of the order of the cursors.',
    }),
  };
}

export const NumberChangeType = builder.objectRef<NumberChange>('NumberChange').implement({
  description:
    'A change of a number, or of a WhatsApp Business account. Values are texts as REST shows them, and texts of Meta are cut after 2,000 characters.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', {
      description:
        'Where the change is in the order of all changes. It identifies the change: one that arrives twice has the same cursor.',
    }),
    number: t.field({
      type: WhatsAppNumberType,
      nullable: true,
      description:
        'The number as it is now, not as it was at the time of the change; null if it was removed, or if an account has changed.',
      resolve: resolveNumber,
    }),
    numberId: t.exposeID('numberId', {
      nullable: true,
      description:
        'The id of the number, also of one that was removed; null if an account has changed.',
    }),
    wabaId: t.exposeID('wabaId', {
      nullable: true,
      description:
        "Meta's id of the WhatsApp Business account that has changed; null if a number has changed. All numbers of the account share it.",
    }),
    kind: t.field({
      type: ChangeKindEnum,
      description: 'What kind of change it is.',
      resolve: ({ kind }) => toKnown(changeKinds, kind),
    }),
    field: t.field({
      type: ChangeFieldEnum,
      nullable: true,
      description: 'What has changed; null for a change of no single field.',
      resolve: ({ field }) => (field === null ? null : toKnown(changeFields, field)),
    }),
    ...toOriginFields(t),
  }),
});

/** All numbers of a page are one batch, together with those that other fields read by their ids. */
async function resolveNumber(
  { numberId }: NumberChange,
  _args: object,
  context: GraphQLContext,
  info: GraphQLResolveInfo,
): Promise<WhatsAppNumber | null> {
  if (numberId === null) return null;
  const key = toLoaderKey({ id: numberId, refresh: null, projection: projectionOf(info) });
  try {
    return await WhatsAppNumberType.getDataloader(context).load(key);
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'NUMBER_NOT_FOUND') return null;
    throw error;
  }
}

const ChangePageType = builder.objectRef<ChangePage>('ChangePage').implement({
  description: 'Changes in their order, oldest first.',
  fields: (t) => ({
    changes: t.expose('changes', {
      type: [NumberChangeType],
      description: 'The changes; empty if there are none.',
    }),
    cursor: t.exposeString('cursor', {
      description:
        'What to send as `after` to get the changes that follow. It also passes over changes that the filter leaves out.',
    }),
    time: t.expose('time', { type: 'DateTime', description: 'When the page was read.' }),
    caughtUp: t.exposeBoolean('caughtUp', {
      description: 'Whether no change followed at that time. If false, request the next page now.',
    }),
  }),
});

const ChangeFilterInput = builder.inputType('ChangeFilter', {
  description:
    'Selects changes that match all of its members. A list matches any of its values, at most 200, and an empty list matches no change. Members that are null do not filter.',
  fields: (t) => ({
    numberIds: t.idList({ description: 'The ids of numbers. Changes of accounts are left out.' }),
    wabaIds: t.idList({
      description:
        "Meta's ids of WhatsApp Business accounts whose own changes to return. Changes of numbers are left out.",
    }),
    kinds: t.field({ type: [ChangeKindEnum], description: 'The kinds of changes.' }),
    fields: t.field({ type: [ChangeFieldEnum], description: 'The fields that changed.' }),
  }),
});

const guarantees =
  'All changes of the tenant have one order, that of their commits, without gaps: whoever has seen a cursor has seen everything before it. A change usually arrives within 250 ms and normally at the latest after 5 seconds, a verdict that expires within 5 seconds more. Each change arrives at least once if you continue with the last cursor that you have handled; one that arrives twice has the same cursor.';

const errors =
  'CURSOR_EXPIRED and CURSOR_UNKNOWN mean that changes after the cursor are missing: read `fleet` again and continue from its `feedCursor`.';

const afterDescription =
  'The `cursor` of the last page or change that you have handled, or the `feedCursor` of a fleet.';

export function toChangeQueries(t: QueryFields) {
  return {
    changes: t.field({
      type: ChangePageType,
      description: `What has changed after a cursor, a page at a time. Without \`after\`, there are no changes, only the cursor from which the next ones follow. ${guarantees} ${errors} To be told at once, use the subscription \`changes\`.`,
      args: {
        after: t.arg.string({ description: afterDescription }),
        first: t.arg.int({
          defaultValue: defaultPageSize,
          description: `How many changes to return at most, from 1 to ${maxPageSize}.`,
        }),
        filter: t.arg({
          type: ChangeFilterInput,
          description: 'Which changes; all if it is null.',
        }),
      },
      resolve: resolveChanges,
    }),
  };
}

interface ChangesArguments {
  readonly after?: string | null | undefined;
  readonly first?: number | null | undefined;
  readonly filter?: ChangeFilter | null | undefined;
}

async function resolveChanges(
  _root: unknown,
  { after, first, filter }: ChangesArguments,
  { history, access }: GraphQLContext,
): Promise<ChangePage> {
  const page = await history.readChanges(access, {
    after: after ?? null,
    first: first ?? defaultPageSize,
    filter: filter ?? {},
  });
  // It is not cached, because it has its time.
  limitValidity(access.meter, new Date(page.time));
  return page;
}

export type SubscriptionFields = PothosSchemaTypes.SubscriptionFieldBuilder<
  typeof builder.$inferSchemaTypes,
  typeof builder.$inferSchemaTypes.Root
>;

export function toChangeSubscriptions(t: SubscriptionFields) {
  return {
    changes: t.field({
      type: ChangePageType,
      description: `What changes, as it happens, in pages of up to 200 changes. Send it with \`accept: text/event-stream\`. ${guarantees} A page without changes is a sign of life and has the newest cursor; it comes every 15 seconds while nothing changes. If a minute passes without a page, connect again with the last cursor that you have handled. It costs as much as a page of 200 changes when it begins, and then a tenth of a point for each page; \`number\` costs half a point more for each change, and what is selected of its past. ${errors}`,
      args: {
        after: t.arg.string({
          description: `${afterDescription} If it is null, a page without changes comes at once, with the cursor from which the changes follow.`,
        }),
        filter: t.arg({
          type: ChangeFilterInput,
          description: 'Which changes; all if it is null.',
        }),
      },
      subscribe: subscribeToChanges,
      resolve: (page) => page,
    }),
  };
}

async function subscribeToChanges(
  _root: unknown,
  { after, filter }: ChangesArguments,
  { history, access, stream }: GraphQLContext,
): Promise<AsyncIterable<ChangePage>> {
  if (stream === null) throw new Error('A subscription needs a stream.');
  const request = { filter: filter ?? {}, signal: stream.signal };
  if (after !== null && after !== undefined) {
    const pages = await history.watchChanges(access, { ...request, after });
    return withLastEvent(pages, stream, withoutChanges);
  }
  // A client that disconnects before the first change connects again with the cursor of this page.
  const start = await history.readChanges(access, { ...request, after: null, first: 1 });
  const pages = await history.watchChanges(access, { ...request, after: start.cursor });
  return withLastEvent(startWith(start, pages), stream, withoutChanges);
}

async function* startWith(start: ChangePage, pages: AsyncIterable<ChangePage>) {
  yield start;
  yield* pages;
}

function withoutChanges(page: ChangePage): ChangePage {
  return { ...page, changes: [] };
}
