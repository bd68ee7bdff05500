// Owns the number in the schema: its types, and the two queries that answer it.

import type { GraphQLResolveInfo } from 'graphql';
import { GatewayError } from '../errors.ts';
import type { Health, WhatsAppNumber } from '../numbers/number.ts';
import type { ConnectionState, ProviderName } from '../numbers/provider.ts';
import type { NumberRequest } from '../numbers/numbers.ts';
import type { Effect, Reason, Sendability, Verdict } from '../numbers/sendable.ts';
import { toWord } from '../numbers/vocabulary.ts';
import { ApiKeyHintType } from './access.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { FreshnessType, MetaDetailsType, toRawDescription, toVocabularyEnum } from './meta.ts';
import { listSelectedBlocks, projectionOf, listProjectionOf } from './selection.ts';

const ProviderEnum = createEnum<ProviderName>('Provider', 'How the number reaches WhatsApp.', {
  META: "Official, through Meta's Cloud API.",
  PILOT_STATUS: 'Unofficial: a phone that was linked by scanning a QR code.',
});

const ConnectionStateEnum = createEnum<ConnectionState>(
  'ConnectionState',
  'Whether the number is connected.',
  {
    OPEN: 'Connected.',
    CONNECTING: 'On the way: a QR code waits to be scanned, or registration has not finished.',
    CLOSE: 'Disconnected; it has to be connected again.',
  },
);

const VerdictEnum = createEnum<Verdict>('Verdict', 'Whether the number may send messages now.', {
  YES: 'It may send.',
  NO: 'Something blocks it; the reasons say what.',
  UNKNOWN: 'The evidence is missing, too old or not understood. Ask with `refresh: true`.',
});

const EffectEnum = createEnum<Effect>('Effect', 'What a reason does to the verdict.', {
  BLOCKS: 'Makes it NO.',
  INCONCLUSIVE: 'Makes it UNKNOWN, unless another reason blocks.',
  INFORMS: 'Changes nothing, and is worth knowing.',
});

const ReasonType = builder.objectRef<Reason>('Reason').implement({
  description: 'One piece of evidence on whether the number may send.',
  fields: (t) => ({
    entity: t.exposeString('entity', {
      description:
        "What it is about. PHONE_NUMBER: the number. WABA: its WhatsApp Business account. BUSINESS: the business behind that. APP: the app that sends. CONNECTION: the connection state. SNAPSHOT: what is stored of Meta's answers. Others may be added.",
    }),
    entityId: t.exposeString('entityId', {
      nullable: true,
      description: "Meta's id of that thing; null when there is none.",
    }),
    field: t.exposeString('field', {
      description:
        "Meta's name of the field that says so, for example `health_status`; ours for CONNECTION and SNAPSHOT.",
    }),
    value: t.exposeString('value', {
      nullable: true,
      description: 'What the field says, as it came; null when it is missing.',
    }),
    code: t.exposeInt('code', {
      nullable: true,
      description: "Meta's code for the problem, to be looked up in Meta's documentation.",
    }),
    text: t.exposeString('text', { description: 'The reason in a sentence.' }),
    solution: t.exposeString('solution', {
      nullable: true,
      description: 'What to do about it; null when nobody says.',
    }),
    effect: t.expose('effect', {
      type: EffectEnum,
      description: 'What this reason does to the verdict.',
    }),
    blocks: t.boolean({
      description: 'Whether this reason alone keeps the number from sending: its effect is BLOCKS.',
      resolve: ({ effect }) => effect === 'BLOCKS',
    }),
  }),
});

const SendabilityType = builder.objectRef<Sendability>('Sendability').implement({
  description: 'Whether the number may send messages now, and the evidence for it.',
  fields: (t) => ({
    verdict: t.expose('verdict', {
      type: VerdictEnum,
      description: 'YES only while recent evidence supports it.',
    }),
    reasons: t.expose('reasons', {
      type: [ReasonType],
      description: 'All that speaks against sending or is worth knowing; empty when all is well.',
    }),
  }),
});

const NumberHealthType = builder.objectRef<Health>('NumberHealth').implement({
  description:
    "How the number is doing. The first three values are Meta's and null for a number that is not Meta's or was never read.",
  fields: (t) => ({
    qualityRating: t.field({
      type: toVocabularyEnum('QualityRating'),
      nullable: true,
      description: 'How well people receive the messages of the number.',
      resolve: (health) => toWord('QualityRating', health.qualityRating),
    }),
    qualityRatingRaw: t.exposeString('qualityRating', {
      nullable: true,
      description: toRawDescription('qualityRating'),
    }),
    messagingLimitTier: t.field({
      type: toVocabularyEnum('MessagingLimitTier'),
      nullable: true,
      description:
        'How many people the business may start a conversation with in 24 hours, all its numbers together.',
      resolve: (health) => toWord('MessagingLimitTier', health.messagingLimitTier),
    }),
    messagingLimitTierRaw: t.exposeString('messagingLimitTier', {
      nullable: true,
      description: toRawDescription('messagingLimitTier'),
    }),
    metaStatus: t.field({
      type: toVocabularyEnum('MetaStatus'),
      nullable: true,
      description: 'What Meta says about the number as a whole.',
      resolve: (health) => toWord('MetaStatus', health.metaStatus),
    }),
    metaStatusRaw: t.exposeString('metaStatus', {
      nullable: true,
      description: toRawDescription('metaStatus'),
    }),
    sendable: t.exposeBoolean('sendable', {
      description:
        'The last clear verdict, whatever its age: true only if it was YES. For now, use `sendability`.',
    }),
    sendability: t.expose('sendability', {
      type: SendabilityType,
      description: 'Whether the number may send now, and why.',
    }),
    freshness: t.expose('freshness', {
      type: FreshnessType,
      nullable: true,
      description:
        'How old the evidence is; null when there is nothing to read for this number, or it is Meta’s and nobody has tried.',
    }),
  }),
});

const WhatsAppNumberType = builder.objectRef<WhatsAppNumber>('WhatsAppNumber').implement({
  description: 'A WhatsApp number of the tenant.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id to ask for it with, for example `wa_abc`.' }),
    instanceName: t.exposeString('instanceName', {
      nullable: true,
      description:
        'The name of its session in the session engine; null for a number that has none.',
    }),
    number: t.exposeString('number', {
      description:
        'The phone number with its country code, digits only, for example 5511999999999.',
    }),
    name: t.exposeString('name', { description: 'The name that the tenant gave it.' }),
    provider: t.expose('provider', {
      type: ProviderEnum,
      description: 'How the number reaches WhatsApp.',
    }),
    state: t.expose('state', {
      type: ConnectionStateEnum,
      description: 'Whether it is connected.',
    }),
    isFullyConnected: t.exposeBoolean('isFullyConnected', {
      description: 'Whether `state` is OPEN: connected, with nothing left to do.',
    }),
    apiKeys: t.expose('apiKeys', {
      type: [ApiKeyHintType],
      description: 'The usable API keys that are bound to this number alone.',
    }),
    health: t.expose('health', {
      type: NumberHealthType,
      description: 'How it is doing, and whether it may send.',
    }),
    meta: t.expose('meta', {
      type: MetaDetailsType,
      nullable: true,
      description: "What Meta knows of it; null for a number that is not Meta's or was never read.",
    }),
    createdAt: t.expose('createdAt', {
      type: 'DateTime',
      description: 'When it was added.',
    }),
    updatedAt: t.expose('updatedAt', {
      type: 'DateTime',
      description:
        'When the number was last changed, or its state, health or profile last read successfully.',
    }),
  }),
});

type QueryFields = PothosSchemaTypes.QueryFieldBuilder<
  typeof builder.$inferSchemaTypes,
  typeof builder.$inferSchemaTypes.Root
>;

/** Numbers that an answer lists when several fields ask for all of them; one alone is given whatever it lists. */
const maxListed = 20_000;

// However many aliases ask for the list, it is one, with all that any of them shows.
async function listOnce(context: GraphQLContext, info: GraphQLResolveInfo) {
  context.list ??= context.numbers.list(context.access, listProjectionOf(info));
  context.lists += 1;
  const numbers = await context.list;
  const count = context.lists * numbers.length;
  if (context.lists === 1 || count <= maxListed) return numbers;
  throw new GatewayError(
    'QUERY_TOO_COMPLEX',
    `The operation lists ${count} numbers, and the limit is ${maxListed} when several fields ask for \`numbers\`; ask for them in one.`,
    { details: { subject: 'numbers listed', count, limit: maxListed } },
  );
}

export function toNumberQueries(t: QueryFields) {
  return {
    numbers: t.field({
      type: [WhatsAppNumberType],
      description:
        'All numbers of the tenant, oldest first. Nothing is read live; `freshness` says how old the values are.',
      resolve: (_root, _args, context, info) => listOnce(context, info),
    }),
    number: t.loadable({
      type: WhatsAppNumberType,
      nullable: true,
      description:
        'One number. If the tenant has no number with this id, it is null and there is an error NUMBER_NOT_FOUND. Several of them in one request are read together.',
      args: {
        id: t.arg.id({ required: true, description: 'The `id` of the number.' }),
        refresh: t.arg.boolean({
          defaultValue: false,
          description:
            "Whether to read live first. What is read follows what you select: `health` or `meta { phone }` reads the number, `meta { profile }` the business profile, `meta { waba }` the account, and none of these reads all three. Of a number that is not Meta's the connection state is read. When a reading fails, the stored values are shown and `freshness { error }` says why; select it under `health` too, since `meta` stays null until something was read.",
        }),
      },
      load: readMany,
      loaderOptions: { cacheKeyFn: toCacheKey },
      resolve: (_root, args, _context, info) => toRequest(args, info),
      extensions: { resolveAlone: readAlone },
    }),
  };
}

interface NumberArguments {
  readonly id: string;
  readonly refresh?: boolean | null | undefined;
}

function toRequest({ id, refresh }: NumberArguments, info: GraphQLResolveInfo): NumberRequest {
  return {
    id,
    refresh: refresh === true ? listSelectedBlocks(info) : null,
    projection: projectionOf(info),
  };
}

function readMany(
  requests: readonly NumberRequest[],
  { access, numbers, request }: GraphQLContext,
) {
  return numbers.getMany(access, requests, isLive(requests) ? request.signal : unwatched);
}

/** Without a DataLoader, which is kept by the context, and so outlives the young generation with all of the request. */
async function readAlone(
  _root: unknown,
  args: NumberArguments,
  context: GraphQLContext,
  info: GraphQLResolveInfo,
) {
  const [number] = await readMany([toRequest(args, info)], context);
  if (number instanceof Error) throw number;
  return number;
}

function isLive(requests: readonly NumberRequest[]): boolean {
  return requests.some(({ refresh }) => refresh !== null);
}

// That of the caller is made when it is first looked at, and what is stored is read whoever leaves.
const unwatched = new AbortController().signal;

/** Requests with the same key are one request. */
function toCacheKey({ id, refresh, projection }: NumberRequest): string {
  return JSON.stringify([id, refresh, projection]);
}
