// Defines the types of a number, and how several numbers are read together.

import type { KeyHint } from '../access/key.ts';
import type { Health, WhatsAppNumber } from '../numbers/number.ts';
import type { Portfolio } from '../numbers/portfolio.ts';
import type { NumberRequest } from '../numbers/numbers.ts';
import type { ConnectionState, ProviderName } from '../numbers/provider.ts';
import {
  blocksStarting,
  type Effect,
  type MessagingScope,
  type Reason,
  type Sendability,
  type Verdict,
} from '../numbers/reason.ts';
import { toWord } from '../numbers/vocabulary.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { findVocabularyEnum, FreshnessType, MetaDetailsType, toRawDescription } from './meta.ts';

export const ProviderEnum = createEnum<ProviderName>(
  'Provider',
  'How the number is connected to WhatsApp.',
  {
    META: "Through Meta's WhatsApp Business Platform (Cloud API), the official way.",
    PILOT_STATUS:
      'Through a session engine that controls a phone, linked by scanning a QR code. Not an official way.',
  },
);

export const ConnectionStateEnum = createEnum<ConnectionState>(
  'ConnectionState',
  'Whether the number is connected.',
  {
    OPEN: 'Connected.',
    CONNECTING:
      'Not connected yet: the QR code has not been scanned, or the registration at Meta has not finished.',
    CLOSE: 'Disconnected. Somebody has to connect the number again.',
  },
);

export const VerdictEnum = createEnum<Verdict>('Verdict', 'Whether the number can send now.', {
  YES: 'It can.',
  NO: 'It cannot; see `reasons`.',
  UNKNOWN:
    'Unknown, because the stored values are missing, too old or not understood. Query the number with `refresh: true`.',
});

const EffectEnum = createEnum<Effect>(
  'Effect',
  'How a reason affects the verdicts that its `scope` names.',
  {
    BLOCKS: 'The verdict is NO.',
    INCONCLUSIVE: 'The verdict is UNKNOWN, unless another reason blocks.',
    INFORMS: 'The verdict is not affected; for example a warning.',
  },
);

const MessagingScopeEnum = createEnum<MessagingScope>(
  'MessagingScope',
  'Which messages a reason is about.',
  {
    ALL: 'All messages: the reason affects `verdict` and `replyVerdict`.',
    BUSINESS_INITIATED:
      'Messages that start a conversation, which have to be templates: the reason affects `verdict` alone.',
    REPLIES:
      'Replies within 24 hours of the last message of the customer: the reason affects `replyVerdict` alone.',
  },
);

export const ApiKeyHintType = builder.objectRef<KeyHint>('ApiKeyHint').implement({
  description: 'The parts of an API key that identify it. The key itself is never returned.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name that the key was given.' }),
    keyPrefix: t.exposeString('keyPrefix', {
      description: 'The first characters of the key, for example `ps_4fGh`.',
    }),
    keyLast4: t.exposeString('keyLast4', { description: 'The last four characters of the key.' }),
  }),
});

const ReasonType = builder.objectRef<Reason>('Reason').implement({
  description: 'A fact that affects whether the number can send, or a warning.',
  fields: (t) => ({
    entity: t.exposeString('entity', {
      description:
        "What the reason is about. PHONE_NUMBER: the number. WABA: its WhatsApp Business account. BUSINESS: the business that owns the account. APP: the app at Meta that sends the messages. CONNECTION: the connection state. SNAPSHOT: the values that are stored of Meta's responses. TOKEN: the access token with which the number is read. More values may be added.",
    }),
    entityId: t.exposeString('entityId', {
      nullable: true,
      description: "Meta's id of the number, account, business or app; null if there is none.",
    }),
    field: t.exposeString('field', {
      description:
        'The name of the field at Meta that the reason comes from, for example `health_status`. For CONNECTION and SNAPSHOT, a field of this API.',
    }),
    value: t.exposeString('value', {
      nullable: true,
      description: 'The value of that field, unchanged; null if it is missing.',
    }),
    code: t.exposeInt('code', {
      nullable: true,
      description:
        "Meta's error code, see https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes; null if there is none.",
    }),
    text: t.exposeString('text', { description: 'The reason as a sentence in English.' }),
    solution: t.exposeString('solution', {
      nullable: true,
      description: 'What to do about it; null if no solution is known.',
    }),
    effect: t.expose('effect', {
      type: EffectEnum,
      description: 'How this reason affects the verdicts that its `scope` names.',
    }),
    scope: t.expose('scope', {
      type: MessagingScopeEnum,
      description: 'Which messages this reason is about.',
    }),
    blocks: t.boolean({
      description:
        'Whether this reason alone makes `verdict` NO: its `effect` is BLOCKS and its `scope` is not REPLIES.',
      resolve: blocksStarting,
    }),
  }),
});

const SendabilityType = builder.objectRef<Sendability>('Sendability').implement({
  description: 'Whether the number can send messages now, and why.',
  fields: (t) => ({
    verdict: t.expose('verdict', {
      type: VerdictEnum,
      description:
        'Whether the number can start conversations, with template messages. It is YES only if values of the last hour confirm it.',
    }),
    replyVerdict: t.expose('replyVerdict', {
      type: VerdictEnum,
      description:
        'Whether the number can reply to a customer within 24 hours of the last message of the customer (the customer service window). It can be YES while `verdict` is NO, for example when the messaging limit is used up. It is YES only if values of the last hour confirm it.',
    }),
    reasons: t.expose('reasons', {
      type: [ReasonType],
      description:
        'Everything that prevents sending, and warnings, the most severe first; empty if there is neither.',
    }),
  }),
});

const NumberHealthType = builder.objectRef<Health>('NumberHealth').implement({
  description:
    'The health of the number. Its values from Meta are null if `provider` is not META, or if they were never read.',
  fields: (t) => ({
    qualityRating: t.field({
      type: findVocabularyEnum('QualityRating'),
      nullable: true,
      description:
        'How Meta rates the messages of the number, by how often people block or report it.',
      resolve: (health) => toWord('QualityRating', health.qualityRating),
    }),
    qualityRatingRaw: t.exposeString('qualityRating', {
      nullable: true,
      description: toRawDescription('qualityRating'),
    }),
    messagingLimitTier: t.field({
      type: findVocabularyEnum('MessagingLimitTier'),
      nullable: true,
      description:
        'How many people the business can start a conversation with in 24 hours. All numbers of the business share this limit.',
      resolve: (health) => toWord('MessagingLimitTier', health.messagingLimitTier),
    }),
    messagingLimitTierRaw: t.exposeString('messagingLimitTier', {
      nullable: true,
      description: toRawDescription('messagingLimitTier'),
    }),
    metaStatus: t.field({
      type: findVocabularyEnum('MetaStatus'),
      nullable: true,
      description: 'The status of the number at Meta.',
      resolve: (health) => toWord('MetaStatus', health.metaStatus),
    }),
    metaStatusRaw: t.exposeString('metaStatus', {
      nullable: true,
      description: toRawDescription('metaStatus'),
    }),
    sendable: t.exposeBoolean('sendable', {
      description:
        'Whether the last verdict that was not UNKNOWN was YES, however long ago, and nothing newer contradicts it, such as an access token that has expired since. For the current verdict, use `sendability`.',
    }),
    sendability: t.expose('sendability', {
      type: SendabilityType,
      description: 'Whether the number can send messages now, and why.',
    }),
    freshness: t.expose('freshness', {
      type: FreshnessType,
      nullable: true,
      description:
        'How old the values are that health is derived from; null if there is nothing to read for this number, or before the first attempt to read it.',
    }),
  }),
});

const PortfolioType = builder.objectRef<Portfolio>('Portfolio').implement({
  description:
    'A business portfolio at Meta. It owns WhatsApp Business accounts, and all their numbers share its messaging limit.',
  fields: (t) => ({
    id: t.exposeID('id', { description: "Meta's id of the business." }),
    name: t.exposeString('name', {
      nullable: true,
      description: 'The name of the business; null until the account has been read.',
    }),
  }),
});

// https://relay.dev/graphql/objectidentification.htm. Ids are unique in the whole API, so they are not encoded.
export const NodeInterface = builder.interfaceRef<WhatsAppNumber>('Node').implement({
  description: 'An object with an id that is unique in this API.',
  resolveType: () => 'WhatsAppNumber',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the object, for example `wa_abc`.' }),
  }),
});

/** Reads all numbers that an operation asks for by their ids in one batch. Its keys are those of `toLoaderKey`. */
export const WhatsAppNumberType = builder.loadableObjectRef<WhatsAppNumber, string>(
  'WhatsAppNumber',
  { load: (keys, context) => readNumbers(keys.map(parseLoaderKey), context) },
);

/** Equal requests have the same key, and so share one read. */
export function toLoaderKey({ id, refresh, projection }: NumberRequest): string {
  return JSON.stringify([id, refresh, projection]);
}

function parseLoaderKey(key: string): NumberRequest {
  const [id, refresh, projection] = JSON.parse(key);
  return { id, refresh, projection };
}

/** One result for each request, in order: the number, or why it could not be read. */
export async function readNumbers(
  requests: readonly NumberRequest[],
  { access, numbers, request }: GraphQLContext,
): Promise<readonly (WhatsAppNumber | Error)[]> {
  const isLive = requests.some(({ refresh }) => refresh !== null);
  return await numbers.getMany(access, requests, isLive ? request.signal : neverAborted);
}

// Reading stored values takes milliseconds, so it is not worth creating the signal of the caller.
const neverAborted = new AbortController().signal;

type NumberFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  WhatsAppNumber
>;

function toOperationFields(t: NumberFields) {
  return {
    labels: t.exposeStringList('labels', {
      description:
        'What the people who operate the fleet have noted about the number: `key=value`, each key once, in order. See the mutation `labelNumber`.',
    }),
    mutedUntil: t.expose('mutedUntil', {
      type: 'DateTime',
      nullable: true,
      description:
        'Until when alerts of the number are silent; null if they are not. See the mutation `muteNumber`.',
    }),
    muteNote: t.exposeString('muteNote', {
      nullable: true,
      description: 'Why they are silent; null if nothing was noted, or if they are not.',
    }),
  };
}

function toTimeFields(t: NumberFields) {
  return {
    createdAt: t.expose('createdAt', {
      type: 'DateTime',
      description: 'When the number was added.',
    }),
    updatedAt: t.expose('updatedAt', {
      type: 'DateTime',
      description:
        'When the number was last changed, or its state, health or profile was last read successfully.',
    }),
  };
}

builder.objectType(WhatsAppNumberType, {
  description: 'A WhatsApp number of the tenant.',
  interfaces: [NodeInterface],
  fields: (t) => ({
    id: t.exposeID('id', {
      description: 'The id of the number in this API, for example `wa_abc`.',
    }),
    instanceName: t.exposeString('instanceName', {
      nullable: true,
      description:
        'The name of the session in the session engine; null for a number without a session.',
    }),
    number: t.exposeString('number', {
      description:
        'The phone number with its country code, digits only, for example 5511999999999.',
    }),
    name: t.exposeString('name', { description: 'The name that the tenant gave to the number.' }),
    provider: t.expose('provider', {
      type: ProviderEnum,
      description: 'How the number is connected to WhatsApp.',
    }),
    state: t.expose('state', {
      type: ConnectionStateEnum,
      description: 'Whether the number is connected.',
    }),
    isFullyConnected: t.exposeBoolean('isFullyConnected', {
      description: 'Whether `state` is OPEN.',
    }),
    apiKeys: t.expose('apiKeys', {
      type: [ApiKeyHintType],
      description: 'The valid API keys that are bound to this number.',
    }),
    health: t.expose('health', {
      type: NumberHealthType,
      description: 'Its quality and limits, and whether it can send messages.',
    }),
    meta: t.expose('meta', {
      type: MetaDetailsType,
      nullable: true,
      description:
        'What Meta reports about the number; null if `provider` is not META, or if nothing has been read yet.',
    }),
    portfolio: t.expose('portfolio', {
      type: PortfolioType,
      nullable: true,
      description:
        'The business that owns the account of the number; null if `provider` is not META, or if it is not known yet.',
    }),
    ...toOperationFields(t),
    ...toTimeFields(t),
  }),
});
