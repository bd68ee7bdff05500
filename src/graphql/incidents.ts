// Defines incidents: their types, the field of Query that pages them, that of a number, and the mutation that acknowledges one.

import DataLoader from 'dataloader';
import type { GraphQLResolveInfo } from 'graphql';
import {
  defaultPageSize,
  type Incident,
  type IncidentEdge,
  type IncidentPage,
  type IncidentState,
  maxPageSize,
} from '../alerts/incidents.ts';
import type { MessageNumber } from '../alerts/message.ts';
import { alertRules, type RuleName, severities, type Severity } from '../alerts/rules.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { ChangeActorType, toKnown, unrecognized } from './change.ts';
import { WhatsAppNumberType } from './number.ts';
import type { MutationFields } from './operations.ts';
import { PageInfoType } from './page-info.ts';
import type { QueryFields } from './queries.ts';
import { collectFields, selectionSetsOf } from './selection.ts';

const ruleMeanings = Object.fromEntries(
  Object.entries(alertRules).map(([name, { meaning }]) => [name, meaning]),
) as Record<RuleName, string>;

const AlertRuleEnum = createEnum('AlertRule', 'What opens incidents. More values may be added.', {
  ...ruleMeanings,
  ...unrecognized,
});

const severityMeanings = {
  CRITICAL: 'Somebody should look at it now.',
  WARNING: 'Somebody should look at it today.',
  INFO: 'Good to know.',
} as const satisfies Record<Severity, string>;

const SeverityEnum = createEnum<Severity>(
  'AlertSeverity',
  'How severe an incident is.',
  severityMeanings,
);

const StateEnum = createEnum<IncidentState>('IncidentState', 'Whether an incident is over.', {
  OPEN: 'Its cause lasts.',
  CLOSED: 'It is over, or was something that happens in a moment.',
});

const scopes = {
  NUMBER: 'A number.',
  ACCOUNT: 'A WhatsApp Business account, and so its numbers.',
  PORTFOLIO:
    'A business portfolio at Meta: its messaging limit, or several of its numbers or accounts that have the same problem.',
  TOKEN: 'A shared access token, or several of its numbers or accounts that have the same problem.',
  ENGINE: 'The session engine, several of whose numbers have the same problem.',
} as const;

const ScopeEnum = createEnum('IncidentScope', 'What an incident is about.', {
  ...scopes,
  ...unrecognized,
});

const IncidentNumberType = builder.objectRef<MessageNumber>('IncidentNumber').implement({
  description: 'A number that is part of an incident.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the number, also of one that was removed.' }),
    name: t.exposeString('name', {
      nullable: true,
      description: 'The name that the tenant gave to it; null if it was removed.',
    }),
    number: t.exposeString('number', {
      nullable: true,
      description: 'The phone number, digits only; null if it was removed.',
    }),
  }),
});

type IncidentFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  Incident
>;

function toSubjectFields(t: IncidentFields) {
  return {
    scope: t.field({
      type: ScopeEnum,
      description: 'What it is about.',
      resolve: ({ scope }) => toKnown(scopes, scope),
    }),
    subject: t.exposeID('subject', {
      description:
        "The id of what it is about: of the number or the access token here, Meta's of the account or the portfolio, or `engine`.",
    }),
    subjectName: t.exposeString('subjectName', {
      description: 'The name of what it is about; its id if no name is known.',
    }),
    numberCount: t.exposeInt('numberCount', {
      description:
        'How many numbers are part of it, and of one that is over, how many were. Of an account, a portfolio or a token as a whole, all its numbers are.',
    }),
    numbers: t.expose('numbers', {
      type: [IncidentNumberType],
      description: 'The first 10 of them.',
    }),
  };
}

function toAcknowledgementFields(t: IncidentFields) {
  return {
    acknowledgedAt: t.expose('acknowledgedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When somebody acknowledged it; null if nobody has.',
    }),
    acknowledgedBy: t.expose('acknowledgedBy', {
      type: ChangeActorType,
      nullable: true,
      description: 'Who acknowledged it; null if nobody has.',
    }),
    note: t.exposeString('note', {
      nullable: true,
      description: 'What was noted then; null if nothing was.',
    }),
  };
}

const IncidentType = builder.objectRef<Incident>('Incident').implement({
  description:
    'Something that is wrong with numbers, or was, and that endpoints for alerts are told of. Numbers that have the same problem at the same time because of something in common are one incident.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the incident, for example `inc_abc`.' }),
    rule: t.field({
      type: AlertRuleEnum,
      description: 'Which rule has opened it.',
      resolve: ({ rule }) => toKnown(ruleMeanings, rule),
    }),
    covers: t.field({
      type: [AlertRuleEnum],
      description:
        'Less specific rules that the same cause sets off: a number that is banned, for example, cannot send either. They open no incident of their own while this one lasts, and endpoints that are told only of them are told of this one.',
      resolve: ({ covers }) => covers.map((rule) => toKnown(ruleMeanings, rule)),
    }),
    severity: t.field({
      type: SeverityEnum,
      description: 'How severe it is.',
      // The database has no other ones.
      resolve: ({ severity }) => severities.find((it) => it === severity)!,
    }),
    state: t.expose('state', { type: StateEnum, description: 'Whether it is over.' }),
    ...toSubjectFields(t),
    text: t.exposeString('text', { description: 'What has happened, as a sentence in English.' }),
    previousValue: t.exposeString('previousValue', {
      nullable: true,
      description: 'The value before; null if there was none, or if it differs between numbers.',
    }),
    newValue: t.exposeString('newValue', {
      nullable: true,
      description:
        'The value with which it began; null if there is none, or if it differs between numbers.',
    }),
    openedAt: t.expose('openedAt', {
      type: 'DateTime',
      description:
        'When it was opened: when its cause had lasted as long as its rule requires, at most a minute.',
    }),
    closedAt: t.expose('closedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it lasts.',
    }),
    ...toAcknowledgementFields(t),
  }),
});

const IncidentEdgeType = builder.objectRef<IncidentEdge>('IncidentEdge').implement({
  description: 'An incident of the page, with its cursor.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: 'Where the incident is, for `after`.' }),
    node: t.expose('node', { type: IncidentType, description: 'The incident.' }),
  }),
});

const IncidentConnectionType = builder.objectRef<IncidentPage>('IncidentConnection').implement({
  description: 'A page of incidents, newest first.',
  fields: (t) => ({
    totalCount: t.int({
      description: 'How many incidents have the state, on all pages.',
      // It is counted when it is selected.
      resolve: ({ totalCount }) => totalCount!,
    }),
    nodes: t.field({
      type: [IncidentType],
      description: 'The incidents of the page.',
      resolve: ({ edges }) => edges.map(({ node }) => node),
    }),
    edges: t.expose('edges', {
      type: [IncidentEdgeType],
      description: 'The incidents of the page, each with its cursor.',
    }),
    pageInfo: t.field({
      type: PageInfoType,
      description: 'Whether there are older incidents, and how to get them.',
      resolve: (page) => page,
    }),
  }),
});

export function toIncidentQueries(t: QueryFields) {
  return {
    incidents: t.field({
      type: IncidentConnectionType,
      description:
        'The incidents of the tenant, newest first. One whose state does not change during a walk over all pages is seen exactly once. Changes of the kind INCIDENT in `changes` say when one is opened, closed or acknowledged.',
      args: {
        state: t.arg({ type: StateEnum, description: 'Only those; all if it is null.' }),
        first: t.arg.int({
          defaultValue: defaultPageSize,
          description: `How many incidents to return at most, from 1 to ${maxPageSize}.`,
        }),
        after: t.arg.string({ description: 'The cursor of the incident before the page.' }),
      },
      resolve: (_root, args, { incidents, access }, info) =>
        incidents.list(access, { ...args, counted: selectsTotal(info) }),
    }),
    incident: t.field({
      type: IncidentType,
      nullable: true,
      description:
        'One incident, also one that is over. It is null, with an error INCIDENT_NOT_FOUND, if the tenant has no incident with this id.',
      args: { id: t.arg.id({ required: true, description: 'The `id` of the incident.' }) },
      resolve: (_root, { id }, { incidents, access }) => incidents.get(access, id),
    }),
  };
}

function selectsTotal(info: GraphQLResolveInfo): boolean {
  const fields = collectFields(selectionSetsOf(info.fieldNodes), info);
  return fields.some(({ name }) => name.value === 'totalCount');
}

const loaders = new WeakMap<GraphQLContext, DataLoader<string, Incident | null>>();

/** All numbers of an operation are one batch. */
async function loadWorst(context: GraphQLContext, numberId: string): Promise<Incident | null> {
  const loader =
    loaders.get(context) ??
    new DataLoader<string, Incident | null>(async (ids) => {
      const found = await context.incidents.findWorst(context.access, ids);
      return ids.map((id) => found.get(id) ?? null);
    });
  loaders.set(context, loader);
  return await loader.load(numberId);
}

/** Adds the field to the type of a number. */
export function addIncidentField(): void {
  builder.objectFields(WhatsAppNumberType, (t) => ({
    incident: t.field({
      type: IncidentType,
      nullable: true,
      description:
        'The worst open incident that the number is part of, also as a number of an account that is restricted; null if there is none. Of equally severe ones, it is one that nobody has acknowledged, and then the one that was opened first. Costs a fifth of a point. Of many numbers at once, request it in `fleet` or in `numbers(ids:)`: its cost is multiplied by how many numbers there may be.',
      resolve: ({ id }, _args, context) => loadWorst(context, id),
    }),
  }));
}

const AcknowledgeIncidentInput = builder.inputType('AcknowledgeIncidentInput', {
  description: 'Which incident to acknowledge.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The `id` of the incident.' }),
    note: t.string({
      description:
        'What others should know, at most 500 characters. It replaces the note of an earlier acknowledgement, unless it is null.',
    }),
  }),
});

const AcknowledgeIncidentPayload = builder
  .objectRef<{ readonly incident: Incident }>('AcknowledgeIncidentPayload')
  .implement({
    description: 'The result of the mutation.',
    fields: (t) => ({
      incident: t.expose('incident', {
        type: IncidentType,
        description: 'The incident after the change.',
      }),
    }),
  });

export function toIncidentMutations(t: MutationFields) {
  return {
    acknowledgeIncident: t.field({
      type: AcknowledgeIncidentPayload,
      nullable: true,
      description:
        'Says that somebody looks after an incident, also after one that is over. Endpoints for alerts that have not accepted the message about its beginning are not sent it any more; they are still told of its end. The incident stays open until its cause is gone, further numbers may become part of it, and verdicts do not change. To silence a number, use `muteNumber`.',
      args: {
        input: t.arg({
          type: AcknowledgeIncidentInput,
          required: true,
          description: 'What to do.',
        }),
      },
      resolve: async (_root, { input: { id, note = null } }, { incidents, access }) => ({
        incident: await incidents.acknowledge(access, { id, note }),
      }),
    }),
  };
}
