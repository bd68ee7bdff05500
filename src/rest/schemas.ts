// The JSON schemas and examples of successful REST responses, generated from the tables of Meta's fields and words.

import { type Field, type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import { connectionStates, providers } from '../numbers/provider.ts';
import { vocabularies, type VocabularyName } from '../numbers/vocabulary.ts';
import { changePageExamples } from './change.ts';
import { includedProperties, toIncludedSchemas } from './included.ts';
import { type Json, toNullable, toObject, toText, toTime } from './json-schema.ts';
import { listRestFields } from './numbers.ts';
import { operationProperties } from './operation-schemas.ts';

/** The schema of a success. */
export type ReplyName =
  | 'NumberList'
  | 'NumberDetail'
  | 'NumberStatus'
  | 'OperatedNumber'
  | 'RefreshReceipt'
  | 'FleetPage'
  | 'ChangePage'
  | 'SyncReport'
  | 'IncidentPage'
  | 'Incident'
  | 'OpenApiDocument';

/** By name, for `components.schemas`. */
export function toNumberSchemas(): Json {
  return {
    ...toListSchemas(),
    ...toDetailSchemas(),
    ...toMetaSchemas(),
    ...toIncludedSchemas(),
    OpenApiDocument: { type: 'object', description: 'https://spec.openapis.org/oas/v3.1.1' },
  };
}

function toListSchemas(): Json {
  return {
    NumberList: { type: 'array', items: { $ref: '#/components/schemas/NumberListItem' } },
    NumberListItem: toObject(
      'A number, without its health and its Meta snapshot.',
      toNumberMembers(),
      includedProperties,
    ),
    ApiKeyHint: toObject(
      'An API key that is bound to the number: enough to recognise it, too little to use it.',
      {
        name: toText('The name of the key.'),
        keyPrefix: {
          ...toText('The first characters of the key.'),
          pattern: '^ps_[0-9A-Za-z]{4}$',
        },
        keyLast4: {
          ...toText('The last four characters of the key.'),
          pattern: '^[0-9A-Za-z]{4}$',
        },
      },
    ),
  };
}

function toDetailSchemas(): Json {
  const { id, number, name, provider, state, isFullyConnected, createdAt, updatedAt } =
    toNumberMembers();
  const detail = {
    id,
    number,
    name,
    provider,
    state,
    isFullyConnected,
    createdAt,
    updatedAt,
    health: { $ref: '#/components/schemas/NumberHealth' },
    meta: toNullable('MetaDetails'),
  };
  return {
    NumberDetail: toObject(
      'A number with its health and its Meta snapshot.',
      detail,
      includedProperties,
    ),
    OperatedNumber: toObject('A number with what operators have noted about it.', {
      ...detail,
      ...operationProperties,
    }),
    NumberStatus: toObject(
      'The connection state of a number.',
      { id, state, isFullyConnected },
      includedProperties,
    ),
    NumberHealth: toObject(
      'Whether the number works. The members from Meta are null for a non-Meta number.',
      {
        qualityRating: toFieldSchema(getField('phone', 'qualityRating')),
        messagingLimitTier: toFieldSchema(getField('phone', 'messagingLimitTier')),
        metaStatus: toFieldSchema(getField('phone', 'status')),
        sendable: {
          type: 'boolean',
          description:
            'Whether the number could start conversations when it was last read successfully, however long ago, and nothing newer contradicts that, such as an access token that has expired since. False if that was never known.',
        },
      },
    ),
  };
}

function toMetaSchemas(): Json {
  return {
    MetaDetails: toObject(
      "The last snapshot from Meta's Graph API. Null for a non-Meta number and for a number that was never read; a part that was never read is null.",
      {
        fetchedAt: toTime('When the oldest part of the snapshot was read.'),
        phone: toNullable('MetaPhone'),
        profile: toNullable('MetaProfile'),
        waba: toNullable('MetaWaba'),
      },
    ),
    MetaPhone: toBlockSchema('The number as Meta describes it.', 'phone'),
    MetaProfile: toBlockSchema('The business profile that WhatsApp users see.', 'profile'),
    MetaWaba: toBlockSchema('The WhatsApp Business account that the number belongs to.', 'waba'),
  };
}

function toNumberMembers() {
  return {
    id: toText('Opaque identifier.'),
    instanceName: {
      type: ['string', 'null'],
      description: 'The name of the instance at the session engine.',
    },
    number: { ...toText('Digits only, with the country code.'), pattern: '^[0-9]{5,20}$' },
    name: toText('The name that the tenant gave the number.'),
    provider: {
      type: 'string',
      enum: providers,
      description:
        'META: official, through the Cloud API. PILOT_STATUS: unofficial, connected by QR code.',
    },
    apiKeys: { type: 'array', items: { $ref: '#/components/schemas/ApiKeyHint' } },
    state: {
      type: 'string',
      enum: connectionStates,
      description: 'OPEN: connected. CONNECTING: being connected. CLOSE: disconnected.',
    },
    isFullyConnected: {
      type: 'boolean',
      description: 'Whether the number is connected and fully set up.',
    },
    createdAt: toTime('When the number was added.'),
    updatedAt: toTime(
      'When the number was last changed, or its state, health or profile was last read successfully.',
    ),
  };
}

function toBlockSchema(description: string, block: MetaBlock): Json {
  const members = listRestFields(block).map((field) => [field.name, toFieldSchema(field)]);
  return toObject(description, Object.fromEntries(members));
}

function toFieldSchema(field: Field): Json {
  const description = field.meaning;
  switch (field.kind) {
    case 'text':
      return { type: ['string', 'null'], description };
    case 'texts':
      return { type: ['array', 'null'], items: { type: 'string' }, description };
    case 'boolean':
      return { type: ['boolean', 'null'], description };
    case 'time':
      return { type: ['string', 'null'], format: 'date-time', description };
    case 'health':
    case 'webhookUrl':
    case 'apps':
      // REST returns none of them.
      return { type: ['object', 'null'], description };
    case 'word':
      return toWordSchema(description, field.vocabulary);
  }
}

/** Meta writes these in lower case; our tables have them in upper case. */
const lowerCaseVocabularies: ReadonlySet<VocabularyName> = new Set(['BusinessVerificationStatus']);

// Not an enum, because Meta adds words, and REST returns them as they are.
function toWordSchema(meaning: string, vocabulary: VocabularyName): Json {
  const words = Object.entries(vocabularies[vocabulary].words).map(([word, text]) => ({
    word: lowerCaseVocabularies.has(vocabulary) ? word.toLowerCase() : word,
    text,
  }));
  const list = words.map(({ word, text }) => `- \`${word}\`: ${text}`).join('\n');
  return {
    type: ['string', 'null'],
    description: `${meaning} Meta's own word, unchanged. Known words (Meta may add others):\n\n${list}`,
    examples: words.map(({ word }) => word),
  };
}

function getField(block: MetaBlock, name: string): Field {
  const fields: readonly Field[] = metaBlocks[block];
  const field = fields.find((candidate) => candidate.name === name);
  if (field === undefined) throw new Error(`The table of ${block} has no field ${name}.`);
  return field;
}

const metaNumber = {
  id: 'wa_abc',
  number: '5511999999999',
  name: 'My WhatsApp',
  provider: 'META',
  state: 'OPEN',
  isFullyConnected: true,
  createdAt: '2026-02-24T15:00:00.000Z',
  updatedAt: '2026-06-30T09:18:33.000Z',
  health: {
    qualityRating: 'GREEN',
    messagingLimitTier: 'TIER_2K',
    metaStatus: 'CONNECTED',
    sendable: true,
  },
  meta: {
    fetchedAt: '2026-06-30T09:18:33.000Z',
    phone: {
      displayPhoneNumber: '+55 11 99999-9999',
      verifiedName: 'Acme LTDA',
      qualityRating: 'GREEN',
      messagingLimitTier: 'TIER_2K',
      isPinEnabled: true,
    },
    profile: {
      about: '8h-18h',
      email: 'contato@acme.com',
      websites: ['https://acme.com'],
      vertical: 'RETAIL',
    },
    waba: {
      id: '1029384756',
      name: 'Acme WABA',
      currency: 'BRL',
      businessVerificationStatus: 'verified',
      country: 'BR',
    },
  },
};

/** The examples of the product's page, by the schema of the response. */
export const examples: Readonly<Partial<Record<ReplyName, Json>>> = {
  NumberList: {
    PILOT_STATUS: {
      value: [
        {
          id: 'wa_abc',
          instanceName: 'tenant-5511999999999',
          number: '5511999999999',
          name: 'Suporte',
          provider: 'PILOT_STATUS',
          apiKeys: [{ name: 'Default', keyPrefix: 'ps_abcd', keyLast4: 'wxyz' }],
          state: 'OPEN',
          isFullyConnected: true,
          createdAt: '2026-06-01T11:59:00.000Z',
          updatedAt: '2026-06-01T11:59:00.000Z',
        },
      ],
    },
  },
  NumberDetail: {
    META: { value: metaNumber },
    PILOT_STATUS: {
      value: {
        ...metaNumber,
        provider: 'PILOT_STATUS',
        health: {
          qualityRating: null,
          messagingLimitTier: null,
          metaStatus: null,
          sendable: true,
        },
        meta: null,
      },
    },
  },
  ChangePage: changePageExamples,
  NumberStatus: { OPEN: { value: { id: 'wa_abc', state: 'OPEN', isFullyConnected: true } } },
};
