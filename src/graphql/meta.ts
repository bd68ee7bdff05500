// Defines the types of what Meta reports. Their fields and descriptions derive from the tables in numbers/meta.ts.

import { type Field, type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import type { Freshness, MetaDetails, Snapshot } from '../numbers/number.ts';
import { toFailureText, type UpstreamFailure } from '../numbers/provider.ts';
import { toWord, vocabularies, type VocabularyName } from '../numbers/vocabulary.ts';
import { builder, createEnum } from './builder.ts';

const UpstreamFailureType = builder.objectRef<UpstreamFailure>('UpstreamFailure').implement({
  description:
    'Why the last attempt to read new values failed. The values next to it are those of the last successful read.',
  fields: (t) => ({
    code: t.exposeString('code', {
      description:
        "META_UNAVAILABLE: Meta could not be reached, or its response was invalid. META_ACCESS_DENIED: Meta refused, for example because of the access token, a permission or a wrong id. META_NUMBER_MISSING: the number is no longer at Meta, or no longer in its account. META_TIMEOUT: Meta did not respond in time. META_RATE_LIMITED: Meta limits the requests for this account. ENGINE_ACCESS_DENIED: the session engine refused the gateway's key. ENGINE_INVALID_RESPONSE: the session engine answered without a connection state. UNAVAILABLE: the session engine did not respond. More values may be added.",
    }),
    message: t.string({
      description: 'What happened and what to do about it, in English.',
      resolve: toFailureText,
    }),
    transient: t.exposeBoolean('transient', {
      description: 'Whether a later attempt may succeed without any change.',
    }),
    retryAt: t.expose('retryAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When to try again; null if that is unknown.',
    }),
    metaCode: t.exposeInt('metaCode', {
      nullable: true,
      description:
        "Meta's error code, see https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes; null if there is none.",
    }),
    metaSubcode: t.exposeInt('metaSubcode', {
      nullable: true,
      description:
        "Meta's error subcode, which is more specific than the code; null if there is none.",
    }),
    fbtraceId: t.exposeString('fbtraceId', {
      nullable: true,
      description:
        "The id of the failed request at Meta, for Meta's support; null if there is none.",
    }),
  }),
});

const FreshnessSource = createEnum('FreshnessSource', 'Where values come from.', {
  LIVE: 'They were read from WhatsApp for this request.',
  SNAPSHOT: 'They were stored by an earlier read.',
});

export const FreshnessType = builder.objectRef<Freshness>('Freshness').implement({
  description:
    'How old the values next to it are, and whether the last attempt to read new ones succeeded.',
  fields: (t) => ({
    observedAt: t.expose('observedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the values were read from WhatsApp; null if no read has succeeded yet.',
    }),
    attemptedAt: t.expose('attemptedAt', {
      type: 'DateTime',
      nullable: true,
      description:
        'When the last attempt to read new values was made, successful or not; null before the first attempt.',
    }),
    ageSeconds: t.exposeInt('ageSeconds', {
      nullable: true,
      description: 'Whole seconds since `observedAt`; null if `observedAt` is null.',
    }),
    source: t.expose('source', {
      type: FreshnessSource,
      description: 'Whether the values were read for this request, or by an earlier one.',
    }),
    stale: t.exposeBoolean('stale', {
      description:
        'Whether the values are more than an hour old, or were never read. Query the number with `refresh: true` to read new ones.',
    }),
    error: t.expose('error', {
      type: UpstreamFailureType,
      nullable: true,
      description: 'Why the last attempt failed; null if it succeeded.',
    }),
    nextSyncAt: t.expose('nextSyncAt', {
      type: 'DateTime',
      nullable: true,
      description:
        'When the values are read next without being asked for; in the past while they are due, and null if nothing is planned. They are also read when something shows that they changed; `sync` says how often that is looked for.',
    }),
  }),
});

function createVocabularyEnum(name: VocabularyName) {
  const { meaning, words } = vocabularies[name];
  return createEnum<string>(name, meaning, {
    ...words,
    UNRECOGNIZED:
      'A value that this API does not know. The field whose name ends in `Raw` has it unchanged.',
  });
}

const enums = new Map<VocabularyName, ReturnType<typeof createVocabularyEnum>>();

/** The enum of one of Meta's vocabularies; its last value is UNRECOGNIZED. All fields of a vocabulary share one enum. */
export function findVocabularyEnum(name: VocabularyName): ReturnType<typeof createVocabularyEnum> {
  const found = enums.get(name) ?? createVocabularyEnum(name);
  enums.set(name, found);
  return found;
}

/** The description of the field with the unchanged value, which every field with an enum of Meta's values has next to it. */
export function toRawDescription(name: string): string {
  return `The value of \`${name}\` exactly as Meta sent it.`;
}

type Block = Snapshot<object>;
type BlockFields = PothosSchemaTypes.ObjectFieldBuilder<typeof builder.$inferSchemaTypes, Block>;

function createBlockType(block: MetaBlock, name: string, description: string) {
  const table: readonly Field[] = metaBlocks[block];
  return builder.objectRef<Block>(name).implement({
    description,
    fields: (t) => ({
      ...Object.fromEntries(table.flatMap((field) => Object.entries(toMembers(t, field)))),
      freshness: t.expose('freshness', {
        type: FreshnessType,
        description: 'How old these values are. All of them are null if no read has succeeded yet.',
      }),
    }),
  });
}

function toMembers(t: BlockFields, field: Field) {
  const { name, meaning: description } = field;
  // The decoder in numbers/meta.ts guarantees the type for each kind of field, or null.
  const read = <T>({ value }: Block): T | null =>
    ((value as Readonly<Record<string, unknown>> | null)?.[name] as T | undefined) ?? null;
  const shared = { nullable: true, description } as const;
  switch (field.kind) {
    case 'text':
      return { [name]: t.string({ ...shared, resolve: read<string> }) };
    case 'texts':
      return { [name]: t.stringList({ ...shared, resolve: read<readonly string[]> }) };
    case 'boolean':
      return { [name]: t.boolean({ ...shared, resolve: read<boolean> }) };
    case 'time':
      return { [name]: t.field({ ...shared, type: 'DateTime', resolve: read<string> }) };
    case 'word': {
      const type = findVocabularyEnum(field.vocabulary);
      const word = t.field({
        ...shared,
        type,
        resolve: (block) => toWord(field.vocabulary, read<string>(block)),
      });
      const raw = t.string({
        nullable: true,
        description: toRawDescription(name),
        resolve: read<string>,
      });
      return { [name]: word, [`${name}Raw`]: raw };
    }
    case 'health':
      // It is part of Sendability.
      return {};
    case 'webhookUrl':
    case 'apps':
      // They are part of WebhookRoute.
      return {};
  }
}

const MetaPhoneType = createBlockType(
  'phone',
  'MetaPhone',
  'What Meta reports about the number itself.',
);
const MetaProfileType = createBlockType(
  'profile',
  'MetaProfile',
  'The business profile, which people see when they open the business in WhatsApp.',
);
export const MetaWabaType = createBlockType(
  'waba',
  'MetaWaba',
  'The WhatsApp Business account (WABA) that the number belongs to. Several numbers can belong to one account.',
);

export const MetaDetailsType = builder.objectRef<MetaDetails>('MetaDetails').implement({
  description:
    'What Meta reports about a number, in three parts that are read and stored separately, so each has its own `freshness`. A part is null before the first attempt to read it.',
  fields: (t) => ({
    fetchedAt: t.expose('fetchedAt', {
      type: 'DateTime',
      description: 'When the oldest of the three parts was read.',
    }),
    phone: t.expose('phone', {
      type: MetaPhoneType,
      nullable: true,
      description: 'The number itself: its display name, quality, limits and status.',
    }),
    profile: t.expose('profile', {
      type: MetaProfileType,
      nullable: true,
      description: 'The business profile that people see in WhatsApp.',
    }),
    waba: t.expose('waba', {
      type: MetaWabaType,
      nullable: true,
      description: 'The WhatsApp Business account that the number belongs to.',
    }),
  }),
});
