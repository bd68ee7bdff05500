// Tests that any response of Meta is decoded to exactly the members of the tables, and that a new value is no failure.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Field,
  type MetaBlock,
  metaBlocks,
  toGraphFields,
  toMetaBlock,
  toStoredBlock,
} from '../../src/numbers/meta.ts';
import { toWord, vocabularies, type VocabularyName } from '../../src/numbers/vocabulary.ts';

const blocks = Object.keys(metaBlocks) as MetaBlock[];
const fieldsOf = (block: MetaBlock): readonly Field[] => metaBlocks[block];
const namesOf = (block: MetaBlock) => fieldsOf(block).map(({ name }) => name);

/** A JSON object with Graph's names and any values. */
const anyReply = (block: MetaBlock) =>
  fc.dictionary(
    fc.oneof(fc.constantFrom(...toGraphFields(block), '__proto__', 'constructor'), fc.string()),
    fc.jsonValue(),
  );

describe.each(blocks)('the block %s', (block) => {
  test('has exactly the members of its table, whatever Meta sends', () => {
    fc.assert(
      fc.property(anyReply(block), (json) => {
        expect(Object.keys(toMetaBlock(block, json as Record<string, unknown>))).toEqual(
          namesOf(block),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  test('has values of the declared kinds only, whatever Meta sends', () => {
    const isOfKind: Record<Field['kind'], (value: unknown) => boolean> = {
      text: (value) => typeof value === 'string',
      texts: (value) => Array.isArray(value) && value.every((text) => typeof text === 'string'),
      boolean: (value) => typeof value === 'boolean',
      time: (value) => new Date(value as string).toISOString() === value,
      word: (value) => typeof value === 'string' && value !== '',
      health: (value) => Array.isArray((value as { entities: unknown }).entities),
      webhookUrl: (value) => URL.canParse(value as string),
      apps: (value) => Array.isArray(value) && value.every((id) => typeof id === 'string'),
    };
    fc.assert(
      fc.property(anyReply(block), (json) => {
        const decoded: Record<string, unknown> = { ...toMetaBlock(block, json as never) };
        for (const { name, kind } of fieldsOf(block)) {
          expect(decoded[name] === null || isOfKind[kind](decoded[name])).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('survives being stored and read again', () => {
    fc.assert(
      fc.property(anyReply(block), (json) => {
        const decoded = toMetaBlock(block, json as never);
        expect(toStoredBlock(block, JSON.parse(JSON.stringify(decoded)))).toEqual(decoded);
      }),
    );
  });

  test('that an older version stored has the members of this version, and no others', () => {
    const names = namesOf(block);
    expect(toStoredBlock(block, { [names[0] ?? '']: 'kept', gone: 'dropped' })).toEqual({
      ...Object.fromEntries(names.map((name) => [name, null])),
      [names[0] ?? '']: 'kept',
    });
  });

  test('asks for each field once, by a name that Graph can have', () => {
    const asked = toGraphFields(block);
    expect(new Set(asked).size).toBe(asked.length);
    for (const name of asked) expect(name).toMatch(/^[a-z_]+$/);
    expect(new Set(namesOf(block)).size).toBe(namesOf(block).length);
  });

  test('describes every field in a sentence', () => {
    for (const { meaning } of fieldsOf(block)) expect(meaning).toMatch(/^[A-Z].*\.$/);
  });
});

test('empty web addresses are left out', () => {
  const websites = ['', 'https://example.org/', ' '];
  expect(toMetaBlock('profile', { websites }).websites).toEqual(['https://example.org/']);
  expect(toMetaBlock('profile', { websites: [''] }).websites).toEqual([]);
});

test('a limit that is not set is a word that is known', () => {
  expect(toWord('MessagingLimitTier', 'TIER_NOT_SET')).toBe('TIER_NOT_SET');
});

test('a missing value and a null are the same', () => {
  const names = toGraphFields('phone');
  const nulls = Object.fromEntries(names.map((name) => [name, null]));
  expect(toMetaBlock('phone', nulls)).toEqual(toMetaBlock('phone', {}));
});

test('a complete phone is decoded to the names used here', () => {
  expect(
    toMetaBlock('phone', {
      display_phone_number: '+55 11 99999-9999',
      verified_name: 'Lucky Shrub',
      quality_rating: 'GREEN',
      whatsapp_business_manager_messaging_limit: 'TIER_250',
      is_pin_enabled: true,
      status: 'CONNECTED',
      name_status: 'APPROVED',
      code_verification_status: 'VERIFIED',
      platform_type: 'CLOUD_API',
      throughput: { level: 'STANDARD' },
      account_mode: 'LIVE',
      last_onboarded_time: '2026-07-01T08:30:00+0000',
      is_official_business_account: false,
      is_on_biz_app: true,
      webhook_configuration: {
        phone_number: 'https://messages.example/inbox',
        application: 'https://user:secret@hooks.example/in?token=secret#secret',
      },
      health_status: {
        can_send_message: 'LIMITED',
        entities: [
          {
            entity_type: 'PHONE_NUMBER',
            id: '106540352242922',
            can_send_message: 'LIMITED',
            can_receive_call_sip: 'AVAILABLE',
            additional_info: ['Your display name has not been approved yet.'],
            errors: null,
          },
          {
            entity_type: 'BUSINESS',
            id: 506914307656634,
            can_send_message: 'BLOCKED',
            errors: [
              {
                error_code: 141010,
                error_description: 'Not verified',
                possible_solution: 'Verify',
              },
              { error_code: '141006' },
              'not an error',
            ],
          },
        ],
      },
      id: '106540352242922',
    }),
  ).toEqual({
    displayPhoneNumber: '+55 11 99999-9999',
    verifiedName: 'Lucky Shrub',
    qualityRating: 'GREEN',
    messagingLimitTier: 'TIER_250',
    isPinEnabled: true,
    status: 'CONNECTED',
    nameStatus: 'APPROVED',
    codeVerificationStatus: 'VERIFIED',
    platformType: 'CLOUD_API',
    throughputLevel: 'STANDARD',
    accountMode: 'LIVE',
    lastOnboardedAt: '2026-07-01T08:30:00.000Z',
    isOfficialBusinessAccount: false,
    isOnBusinessApp: true,
    webhookUrl: 'https://hooks.example/in',
    healthStatus: {
      canSendMessage: 'LIMITED',
      entities: [
        {
          entityType: 'PHONE_NUMBER',
          id: '106540352242922',
          canSendMessage: 'LIMITED',
          additionalInfo: ['Your display name has not been approved yet.'],
          errors: [],
        },
        {
          entityType: 'BUSINESS',
          id: '506914307656634',
          canSendMessage: 'BLOCKED',
          additionalInfo: [],
          errors: [
            { code: 141010, description: 'Not verified', possibleSolution: 'Verify' },
            { code: 141006, description: null, possibleSolution: null },
          ],
        },
      ],
    },
  });
});

test('a complete profile and account are decoded, with nested and numeric values', () => {
  expect(
    toMetaBlock('profile', {
      about: 'Hello',
      email: 'user@example.com',
      websites: ['https://example.org/', null, 7],
      vertical: '',
      messaging_product: 'whatsapp',
    }),
  ).toMatchObject({ about: 'Hello', websites: ['https://example.org/', '7'], vertical: null });
  expect(
    toMetaBlock('waba', {
      id: '102290129340398',
      business_verification_status: 'not_verified',
      owner_business_info: { id: '1', name: 'Lucky Shrub Inc' },
      timezone_id: 1,
    }),
  ).toMatchObject({
    id: '102290129340398',
    businessVerificationStatus: 'not_verified',
    ownerBusinessName: 'Lucky Shrub Inc',
    timezoneId: '1',
  });
});

test.each([
  ['2023-08-22T19:05:53+0000', '2023-08-22T19:05:53.000Z'],
  ['2023-08-22T19:05:53-0330', '2023-08-22T22:35:53.000Z'],
  ['2023-08-22T19:05:53+02:00', '2023-08-22T17:05:53.000Z'],
  ['2023-08-22T19:05:53Z', '2023-08-22T19:05:53.000Z'],
  ['yesterday', null],
  ['', null],
  [1_692_731_153, null],
])('the time %o is %o', (last_onboarded_time, expected) => {
  expect(toMetaBlock('phone', { last_onboarded_time }).lastOnboardedAt).toBe(expected);
});

test.each([
  ['throughput', 'throughputLevel', 'STANDARD'],
  ['throughput', 'throughputLevel', ['STANDARD']],
  ['throughput', 'throughputLevel', {}],
  ['health_status', 'healthStatus', 'AVAILABLE'],
  ['health_status', 'healthStatus', [{ entities: [] }]],
] as const)('%s of an unexpected shape is null', (graph, name, value) => {
  expect(toMetaBlock('phone', { [graph]: value })[name]).toBeNull();
});

describe('a word', () => {
  const vocabularyNames = Object.keys(vocabularies) as VocabularyName[];

  test.each(vocabularyNames)('of %s is known in upper and in lower case', (vocabulary) => {
    for (const word of Object.keys(vocabularies[vocabulary].words)) {
      expect(toWord(vocabulary, word)).toBe(word);
      expect(toWord(vocabulary, word.toLowerCase())).toBe(word);
    }
  });

  test.each(vocabularyNames)('that %s does not have is UNRECOGNIZED', (vocabulary) => {
    const known = new Set(Object.keys(vocabularies[vocabulary].words));
    const unknown = fc.oneof(fc.string(), fc.constantFrom('constructor', '__proto__', 'toString'));
    fc.assert(
      fc.property(unknown, (raw) => {
        fc.pre(!known.has(raw.toUpperCase()));
        expect(toWord(vocabulary, raw)).toBe('UNRECOGNIZED');
      }),
    );
  });

  test('that Meta did not give is null', () => {
    expect(toWord('QualityRating', null)).toBeNull();
  });

  test('NA and UNKNOWN are different values', () => {
    const ratings = ['NA', 'UNKNOWN'].map((word) => toWord('QualityRating', word));
    expect(ratings).toEqual(['NA', 'UNKNOWN']);
  });

  test('is a valid GraphQL name, and never UNRECOGNIZED', () => {
    for (const { words, meaning } of Object.values(vocabularies)) {
      expect(meaning).toMatch(/^[A-Z].*\.$/);
      for (const [word, sentence] of Object.entries(words)) {
        expect(word).toMatch(/^[A-Z][A-Z0-9_]*$/);
        expect(word).not.toBe('UNRECOGNIZED');
        expect(sentence).toMatch(/^[A-Z].*\.$/);
      }
    }
  });
});
