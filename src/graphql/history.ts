// Defines the fields of a number that look back: its history, its timelines and its availability. Those of all numbers of
// an operation are read together.

import DataLoader from 'dataloader';
import { maxDays, maxSpans } from '../history/number-history.ts';
import type { HistoryPage } from '../history/history.ts';
import { maxPageSize } from '../history/page.ts';
import type { NumberChange } from '../history/change.ts';
import {
  type Availability,
  type TimelineField,
  timelineFields,
  type TimelineSpan,
} from '../history/timeline.ts';
import { limitValidity } from '../http/request-context.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { ChangeFieldEnum, NumberChangeType } from './change.ts';
import { WhatsAppNumberType } from './number.ts';
import { PageInfoType } from './page-info.ts';

interface ChangeEdge {
  readonly cursor: string;
  readonly node: NumberChange;
}

const NumberChangeEdgeType = builder.objectRef<ChangeEdge>('NumberChangeEdge').implement({
  description: 'A change of the page, with its cursor.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: 'Where the change is, for `after`.' }),
    node: t.expose('node', { type: NumberChangeType, description: 'The change.' }),
  }),
});

interface ChangeConnection {
  readonly edges: readonly ChangeEdge[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
}

const NumberChangeConnectionType = builder
  .objectRef<ChangeConnection>('NumberChangeConnection')
  .implement({
    description: 'A page of the changes of a number, newest first.',
    fields: (t) => ({
      nodes: t.field({
        type: [NumberChangeType],
        description: 'The changes of the page.',
        resolve: ({ edges }) => edges.map(({ node }) => node),
      }),
      edges: t.expose('edges', {
        type: [NumberChangeEdgeType],
        description: 'The changes of the page, each with its cursor.',
      }),
      pageInfo: t.field({
        type: PageInfoType,
        description: 'Whether there are older changes, and how to get them.',
        resolve: (page) => page,
      }),
    }),
  });

const TimelineFieldEnum = createEnum<TimelineField>(
  'TimelineField',
  'The values that have a timeline.',
  timelineFields,
);

const CertaintyEnum = createEnum<TimelineSpan['certainty']>(
  'TimelineCertainty',
  'Whether a value is known to have held.',
  {
    OBSERVED: 'The value was known: what was read last was no more than an hour old.',
    UNOBSERVED:
      'Nothing was known: the number was not read for more than an hour, had not been read yet, or nothing was recorded then. `value` is the last one that was known.',
  },
);

const TimelineSpanType = builder.objectRef<TimelineSpan>('TimelineSpan').implement({
  description: 'A time during which a value did not change.',
  fields: (t) => ({
    value: t.exposeString('value', {
      nullable: true,
      description: 'The value as it was stored; null if there was none, or if it is not known.',
    }),
    from: t.expose('from', { type: 'DateTime', description: 'When the span begins.' }),
    to: t.expose('to', { type: 'DateTime', description: 'When the next span begins.' }),
    certainty: t.expose('certainty', {
      type: CertaintyEnum,
      description: 'Whether the value is known to have held.',
    }),
  }),
});

const AvailabilityType = builder.objectRef<Availability>('Availability').implement({
  description: 'For how much of a time the number could start conversations.',
  fields: (t) => ({
    sendableShare: t.exposeFloat('sendableShare', {
      nullable: true,
      description:
        'The share of the observed time in which the verdict was YES, from 0 to 1; null if nothing was observed.',
    }),
    observedShare: t.exposeFloat('observedShare', {
      description:
        'The share of the whole time in which something was known of the number, from 0 to 1. Read the number at least once an hour to have it at 1.',
    }),
  }),
});

/** By the ids of the numbers: the value, or why there is none. */
type Outcomes<Value> = ReadonlyMap<string, Value | Error>;

type Read<Args, Value> = (
  context: GraphQLContext,
  numberIds: readonly string[],
  args: Args,
) => Promise<Outcomes<Value>>;

/** Calls `read` once for all numbers that are asked for with equal arguments. */
function createLoader<Args extends object, Value>(
  read: Read<Args, Value>,
): (context: GraphQLContext, id: string, args: Args) => Promise<Value> {
  const loaders = new WeakMap<GraphQLContext, DataLoader<string, Value>>();
  return (context, id, args) => {
    const loader =
      loaders.get(context) ??
      new DataLoader<string, Value>((keys) => readAll(context, keys, read), {
        maxBatchSize: maxPageSize,
      });
    loaders.set(context, loader);
    return loader.load(JSON.stringify([id, args]));
  };
}

async function readAll<Args extends object, Value>(
  context: GraphQLContext,
  keys: readonly string[],
  read: Read<Args, Value>,
): Promise<(Value | Error)[]> {
  const requests = keys.map((key) => JSON.parse(key) as [id: string, args: Args]);
  const groups = Map.groupBy(requests, ([, args]) => JSON.stringify(args));
  const found = new Map<string, Outcomes<Value> | Error>();
  await Promise.all(
    [...groups].map(async ([key, group]) => {
      const ids = group.map(([id]) => id);
      // An error of one group is not one of the others.
      const values = await read(context, ids, group[0]![1]).catch((error: Error) => error);
      found.set(key, values);
    }),
  );
  return requests.map(([id, args]) => {
    const values = found.get(JSON.stringify(args))!;
    // A number is only missing when it was removed a moment ago.
    return values instanceof Error ? values : (values.get(id) ?? new Error(`There is no ${id}.`));
  });
}

interface HistoryArguments {
  readonly first: number;
  readonly after: string | null;
  readonly fields: readonly string[] | null;
  readonly since: string | null;
}

const loadHistory = createLoader<HistoryArguments, HistoryPage>(
  ({ history, access }, numberIds, { since, ...args }) =>
    history.listHistories(access, {
      ...args,
      numberIds,
      since: since === null ? null : new Date(since),
    }),
);

interface TimelineArguments {
  readonly field: TimelineField;
  readonly from: string;
  readonly to: string | null;
}

const loadTimeline = createLoader<TimelineArguments, readonly TimelineSpan[]>(
  ({ history, access }, numberIds, { field, from, to }) =>
    history.readTimelines(access, {
      numberIds,
      field,
      from: new Date(from),
      to: to === null ? null : new Date(to),
    }),
);

const loadAvailability = createLoader<{ readonly days: number }, Availability>(
  ({ history, access }, numberIds, { days }) =>
    history.readAvailabilities(access, { numberIds, days }),
);

/** What depends on the time is not cached. */
function forbidCaching({ access }: GraphQLContext): void {
  limitValidity(access.meter, new Date(0));
}

const defaultFirst = 50;
const defaultDays = 30;
const inLists =
  'Of many numbers at once, request it in `fleet` or in `numbers(ids:)`: its cost is multiplied by how many numbers there may be.';

type NumberFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  WhatsAppNumber
>;

/** Adds the fields to the type of a number. */
export function addHistoryFields(): void {
  builder.objectFields(WhatsAppNumberType, (t) => ({
    history: toHistoryField(t),
    timeline: toTimelineField(t),
    availability: toAvailabilityField(t),
  }));
}

function toHistoryField(t: NumberFields) {
  return t.field({
    type: NumberChangeConnectionType,
    description: `What has changed of the number, newest first. Changes of its WhatsApp Business account are in \`changes\`. Costs 1 point, and a tenth for each change that is asked for. ${inLists}`,
    args: {
      first: t.arg.int({
        defaultValue: defaultFirst,
        description: `How many changes to return at most, from 1 to ${maxPageSize}.`,
      }),
      after: t.arg.string({ description: 'The cursor of the change before the page.' }),
      fields: t.arg({ type: [ChangeFieldEnum], description: 'The fields; all if it is null.' }),
      since: t.arg({ type: 'DateTime', description: 'Leaves out what occurred earlier.' }),
    },
    resolve: async ({ id }, { first, after = null, fields = null, since = null }, context) => {
      const args = { first: first ?? defaultFirst, after, fields, since };
      const { changes, hasNextPage } = await loadHistory(context, id, args);
      const edges = changes.map((node) => ({ cursor: node.cursor, node }));
      return { edges, hasNextPage, hasPreviousPage: after !== null };
    },
  });
}

function toTimelineField(t: NumberFields) {
  return t.field({
    type: [TimelineSpanType],
    description: `What a value of the number was over time: spans in order, which together fill the time from \`from\` to \`to\`. At most ${maxDays} days and ${maxSpans} spans. Costs 5 points. ${inLists}`,
    args: {
      field: t.arg({ type: TimelineFieldEnum, required: true, description: 'The value.' }),
      from: t.arg({ type: 'DateTime', required: true, description: 'The beginning.' }),
      to: t.arg({
        type: 'DateTime',
        description: 'The end; the present time if it is null or in the future.',
      }),
    },
    resolve: async ({ id }, { field, from, to = null }, context) => {
      forbidCaching(context);
      return await loadTimeline(context, id, { field, from, to });
    },
  });
}

function toAvailabilityField(t: NumberFields) {
  return t.field({
    type: AvailabilityType,
    description: `For how much of the last days the number could start conversations. Costs 5 points. ${inLists}`,
    args: {
      days: t.arg.int({
        defaultValue: defaultDays,
        description: `How many days of 24 hours until now, from 1 to ${maxDays}.`,
      }),
    },
    resolve: async ({ id }, { days }, context) => {
      forbidCaching(context);
      return await loadAvailability(context, id, { days: days ?? defaultDays });
    },
  });
}
