// Defines the facets of a fleet: how many numbers there are of each kind.

import type { AccountCount, PortfolioCount, WordCount } from '../fleet/facets.ts';
import type { WordFacet } from '../fleet/filter.ts';
import { defaultAccounts, type FleetCounts, maxAccounts } from '../fleet/fleet.ts';
import { builder } from './builder.ts';
import { findVocabularyEnum } from './meta.ts';
import { ConnectionStateEnum, ProviderEnum, VerdictEnum } from './number.ts';

/** The database has the words of each enum. */
type WordEnum = ReturnType<typeof findVocabularyEnum>;

function createCountType(words: object, name: string, what: string) {
  return builder.objectRef<WordCount>(name).implement({
    description: `How many numbers have one ${what}.`,
    fields: (t) => ({
      value: t.expose('value', { type: words as WordEnum, description: `The ${what}.` }),
      count: t.exposeInt('count', { description: 'How many numbers have it.' }),
    }),
  });
}

const VerdictCountType = createCountType(VerdictEnum, 'VerdictCount', 'verdict');
const QualityRatingCountType = createCountType(
  findVocabularyEnum('QualityRating'),
  'QualityRatingCount',
  'quality rating',
);
const MetaStatusCountType = createCountType(
  findVocabularyEnum('MetaStatus'),
  'MetaStatusCount',
  'status at Meta',
);
const MessagingLimitTierCountType = createCountType(
  findVocabularyEnum('MessagingLimitTier'),
  'MessagingLimitTierCount',
  'messaging limit',
);
const StateCountType = createCountType(
  ConnectionStateEnum,
  'ConnectionStateCount',
  'connection state',
);
const ProviderCountType = createCountType(ProviderEnum, 'ProviderCount', 'provider');

const LabelCountType = builder.objectRef<WordCount>('LabelCount').implement({
  description: 'How many numbers have one label.',
  fields: (t) => ({
    value: t.exposeString('value', { description: 'The label, `key=value`.' }),
    count: t.exposeInt('count', { description: 'How many numbers have it.' }),
  }),
});

const WabaCountType = builder.objectRef<AccountCount>('WabaCount').implement({
  description: 'How many numbers belong to one WhatsApp Business account.',
  fields: (t) => ({
    id: t.exposeID('id', { description: "Meta's id of the account." }),
    name: t.exposeString('name', {
      nullable: true,
      description: 'Its name; null until the account has been read.',
    }),
    count: t.exposeInt('count', { description: 'How many numbers belong to it.' }),
  }),
});

const PortfolioCountType = builder.objectRef<PortfolioCount>('PortfolioCount').implement({
  description:
    'How many numbers belong to one business portfolio, and the messaging limit that they share.',
  fields: (t) => ({
    id: t.exposeID('id', { description: "Meta's id of the business." }),
    name: t.exposeString('name', {
      nullable: true,
      description: 'The name of the business; null until one of its accounts has been read.',
    }),
    count: t.exposeInt('count', {
      description: 'How many numbers belong to it, and share the limit.',
    }),
    messagingLimitTier: t.field({
      type: findVocabularyEnum('MessagingLimitTier'),
      nullable: true,
      description:
        'How many different people all numbers of the portfolio together can start a conversation with in 24 hours, as the number that was read last shows it; null if it is not known.',
      resolve: (portfolio) => portfolio.messagingLimitTier,
    }),
  }),
});

type FacetFields = PothosSchemaTypes.ObjectFieldBuilder<
  typeof builder.$inferSchemaTypes,
  FleetCounts
>;

function toWordFacets(t: FacetFields) {
  const toFacet = (facet: WordFacet, type: typeof VerdictCountType, what: string) =>
    t.field({
      type: [type],
      description: `The numbers by ${what}, the most frequent first. Values that no number has are left out.`,
      resolve: (counts) => counts.facets[facet],
    });
  return {
    verdict: toFacet('verdict', VerdictCountType, 'whether they can start conversations'),
    replyVerdict: toFacet('replyVerdict', VerdictCountType, 'whether they can reply'),
    qualityRating: toFacet('qualityRating', QualityRatingCountType, 'quality rating'),
    metaStatus: toFacet('metaStatus', MetaStatusCountType, 'status at Meta'),
    state: toFacet('state', StateCountType, 'connection state'),
    provider: toFacet('provider', ProviderCountType, 'provider'),
    messagingLimitTier: toFacet(
      'messagingLimitTier',
      MessagingLimitTierCountType,
      'messaging limit',
    ),
  };
}

function toGroupFacets(t: FacetFields) {
  return {
    waba: t.field({
      type: [WabaCountType],
      description: 'The accounts with the most numbers, in this order.',
      args: {
        first: t.arg.int({
          required: true,
          defaultValue: defaultAccounts,
          description: `How many accounts to return; at most ${maxAccounts}.`,
        }),
      },
      resolve: (counts, { first }) => counts.wabas.slice(0, first),
    }),
    portfolio: t.field({
      type: [PortfolioCountType],
      description:
        'The business portfolios with the most numbers, in this order, each with the messaging limit that its numbers share.',
      args: {
        first: t.arg.int({
          required: true,
          defaultValue: defaultAccounts,
          description: `How many portfolios to return; at most ${maxAccounts}.`,
        }),
      },
      resolve: (counts, { first }) => counts.portfolios.slice(0, first),
    }),
    label: t.field({
      type: [LabelCountType],
      description: 'The labels with the most numbers, in this order.',
      args: {
        first: t.arg.int({
          required: true,
          defaultValue: defaultAccounts,
          description: `How many labels to return; at most ${maxAccounts}.`,
        }),
      },
      resolve: (counts, { first }) => counts.labels.slice(0, first),
    }),
  };
}

export const FleetFacetsType = builder.objectRef<FleetCounts>('FleetFacets').implement({
  description:
    'How many numbers there are of each kind among those that match the filter. A facet ignores the member of the filter that has its name, such as `labels` for `label`, except in `not`: it shows how many numbers each of its values would select.',
  fields: (t) => ({
    ...toWordFacets(t),
    stale: t.int({
      description: 'How many numbers match the filter `stale: true`.',
      resolve: (counts) => counts.facets.stale,
    }),
    failing: t.int({
      description: 'How many numbers match the filter `failing: true`.',
      resolve: (counts) => counts.facets.failing,
    }),
    restricted: t.int({
      description: 'How many numbers match the filter `restricted: true`.',
      resolve: (counts) => counts.facets.restricted,
    }),
    ...toGroupFacets(t),
  }),
});
