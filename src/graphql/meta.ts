// Owns Meta's part of the schema. Its types, their fields and their descriptions come from the tables of numbers/meta.ts
// and numbers/vocabulary.ts; a new row there is a new field here.

import { type Field, type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import type { Freshness, MetaDetails, Snapshot } from '../numbers/number.ts';
import type { UpstreamFailure } from '../numbers/provider.ts';
import { toWord, vocabularies, type VocabularyName } from '../numbers/vocabulary.ts';
import { builder, createEnum } from './builder.ts';

const UpstreamFailureType = builder.objectRef<UpstreamFailure>('UpstreamFailure').implement({
  description:
    'Why the last attempt to read something live failed. The values shown beside it are those of the last success.',
  fields: (t) => ({
    code: t.exposeString('code', {
      description:
        'META_UNAVAILABLE: Meta could not be reached or answered nonsense. META_ACCESS_DENIED: the access token is dead or lacks a permission. META_TIMEOUT: Meta was too slow. META_RATE_LIMITED: Meta throttles the account. UNAVAILABLE: the session engine of a non-Meta number did not answer. Others may be added.',
    }),
    message: t.exposeString('message', { description: 'What happened and what to do about it.' }),
    transient: t.exposeBoolean('transient', {
      description: 'Whether the same attempt may succeed later without anybody changing anything.',
    }),
    retryAt: t.expose('retryAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When to try again; null when nobody said.',
    }),
    metaCode: t.exposeInt('metaCode', {
      nullable: true,
      description: "Meta's own error code, to be looked up in Meta's documentation.",
    }),
    metaSubcode: t.exposeInt('metaSubcode', {
      nullable: true,
      description: "Meta's own error subcode, which narrows the code down.",
    }),
    fbtraceId: t.exposeString('fbtraceId', {
      nullable: true,
      description: "Meta's name for the failed request; its support asks for it.",
    }),
  }),
});

const FreshnessSource = createEnum('FreshnessSource', 'Where the values beside it come from.', {
  LIVE: 'They were read for this very request.',
  SNAPSHOT: 'They were stored by an earlier reading.',
});

export const FreshnessType = builder.objectRef<Freshness>('Freshness').implement({
  description: 'How old the values beside it are, and how the last attempt to renew them went.',
  fields: (t) => ({
    observedAt: t.expose('observedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the values were true; null if they were never read successfully.',
    }),
    attemptedAt: t.expose('attemptedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When a live reading was last tried, well or badly; null if none ever was.',
    }),
    ageSeconds: t.exposeInt('ageSeconds', {
      nullable: true,
      description: 'Whole seconds since `observedAt`.',
    }),
    source: t.expose('source', {
      type: FreshnessSource,
      description: 'Whether the values were read for this very request.',
    }),
    stale: t.exposeBoolean('stale', {
      description:
        'Whether the values are too old to rely on, or were never read. Ask with `refresh: true` for new ones.',
    }),
    error: t.expose('error', {
      type: UpstreamFailureType,
      nullable: true,
      description: 'Why the last attempt failed; null when it did not.',
    }),
  }),
});

function createVocabularyEnum(name: VocabularyName) {
  const { meaning, words } = vocabularies[name];
  return createEnum<string>(name, meaning, {
    ...words,
    UNRECOGNIZED: 'A word that Meta introduced later; the field ending in `Raw` has it as it came.',
  });
}

// Each table once, whatever the number of fields that use it.
const enums = new Map<VocabularyName, ReturnType<typeof createVocabularyEnum>>();

/** The enum of Meta's words of this kind, its last value UNRECOGNIZED. */
export function toVocabularyEnum(name: VocabularyName): ReturnType<typeof createVocabularyEnum> {
  const found = enums.get(name) ?? createVocabularyEnum(name);
  enums.set(name, found);
  return found;
}

/** The description of the field that has a word as it came. */
export function toRawDescription(name: string): string {
  return `\`${name}\` as Meta wrote it, whether we know the word or not.`;
}

/** A block with its freshness; the fields of its value come from its table. */
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
        description:
          'How old these values are. They are all null if there was no good reading yet.',
      }),
    }),
  });
}

function toMembers(t: BlockFields, field: Field) {
  const { name, meaning: description } = field;
  // The decoder gives each kind of field its type, and null where there is nothing.
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
      const type = toVocabularyEnum(field.vocabulary);
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
      // The verdict on sending is made of it, see Sendability.
      return {};
  }
}

const MetaPhoneType = createBlockType(
  'phone',
  'MetaPhone',
  'What Meta says about the number itself.',
);
const MetaProfileType = createBlockType(
  'profile',
  'MetaProfile',
  'The business profile: what people see when they open the business in WhatsApp.',
);
const MetaWabaType = createBlockType(
  'waba',
  'MetaWaba',
  'The WhatsApp Business account (WABA) that the number belongs to. Several numbers may share one.',
);

export const MetaDetailsType = builder.objectRef<MetaDetails>('MetaDetails').implement({
  description:
    'What Meta last told about a number, in three blocks that are read, stored and aged on their own. A block is null if nobody has tried to read it yet.',
  fields: (t) => ({
    fetchedAt: t.expose('fetchedAt', {
      type: 'DateTime',
      description: 'When the oldest of the blocks was read.',
    }),
    phone: t.expose('phone', {
      type: MetaPhoneType,
      nullable: true,
      description: 'The number itself: its display name, quality, limits and status.',
    }),
    profile: t.expose('profile', {
      type: MetaProfileType,
      nullable: true,
      description: 'The business profile that people see.',
    }),
    waba: t.expose('waba', {
      type: MetaWabaType,
      nullable: true,
      description: 'The WhatsApp Business account that the number belongs to.',
    }),
  }),
});
