// The JSON schemas of a page of the fleet.

import { defaultAccounts } from '../fleet/fleet.ts';
import { connectionStates, providers } from '../numbers/provider.ts';
import { verdicts } from '../numbers/reason.ts';
import { vocabularies, type VocabularyName } from '../numbers/vocabulary.ts';
import { type Json, toNullableText, toObject, toText } from './json-schema.ts';

/** The values that a fleet is filtered and counted by, as in GraphQL. */
export function wordsOf(name: VocabularyName): readonly string[] {
  return [...Object.keys(vocabularies[name].words), 'UNRECOGNIZED'];
}

/** By name, for `components.schemas`. */
export function toFleetSchemas(): Json {
  const counts = (words: readonly string[], description: string): Json => ({
    type: 'array',
    description: `${description} The most frequent come first; values that no number has are left out.`,
    items: toObject('A value and how many numbers have it.', {
      value: { type: 'string', enum: words },
      count: countSchema,
    }),
  });
  const page = {
    data: { type: 'array', items: { $ref: '#/components/schemas/NumberListItem' } },
    total: { type: 'integer', description: 'How many numbers match, on all pages.' },
    next: toNullableText('The cursor of the next page; null on the last one.'),
  };
  return {
    FleetPage: toObject('A page of numbers.', page, {
      facets: { $ref: '#/components/schemas/FleetFacets' },
    }),
    FleetFacets: toObject('How many numbers there are of each kind, on all pages.', {
      provider: counts(providers, 'By provider.'),
      state: counts(connectionStates, 'By connection state.'),
      verdict: counts(verdicts, 'By whether they can start conversations.'),
      replyVerdict: counts(verdicts, 'By whether they can reply.'),
      qualityRating: counts(wordsOf('QualityRating'), 'By quality rating.'),
      metaStatus: counts(wordsOf('MetaStatus'), 'By status at Meta.'),
      messagingLimitTier: counts(wordsOf('MessagingLimitTier'), 'By messaging limit.'),
      label: {
        type: 'array',
        description: `The ${defaultAccounts} labels with the most numbers.`,
        items: toObject('A label and how many numbers have it.', {
          value: toText('The label, `key=value`.'),
          count: countSchema,
        }),
      },
      stale: countSchema,
      failing: countSchema,
      restricted: countSchema,
      waba: toAccountsSchema(`The ${defaultAccounts} accounts with the most numbers.`, {}),
      portfolio: toAccountsSchema(
        `The ${defaultAccounts} business portfolios with the most numbers.`,
        {
          messagingLimitTier: toNullableText('The messaging limit that its numbers share.'),
        },
      ),
    }),
  };
}

const countSchema = { type: 'integer', description: 'How many numbers.' };

function toAccountsSchema(description: string, more: Json): Json {
  const members = { id: toText("Meta's id."), name: toNullableText('Its name.'), ...more };
  return {
    type: 'array',
    description,
    items: toObject('How many numbers belong to it.', { ...members, count: countSchema }),
  };
}
