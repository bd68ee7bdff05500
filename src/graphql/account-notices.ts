// Defines the fields of an account that only webhooks of Meta carry: restrictions, bans, violations, disconnections and
// limits.

import type {
  AccountNotices,
  Ban,
  Disconnection,
  Notice,
  Violation,
} from '../numbers/account-notices.ts';
import type { AccountSnapshot } from '../numbers/number.ts';
import type { Restriction } from '../numbers/restriction.ts';
import { toWord } from '../numbers/vocabulary.ts';
import { builder } from './builder.ts';
import { findVocabularyEnum, MetaWabaType, toRawDescription } from './meta.ts';

const reportedAt = 'When Meta announced it.';
const remediation = 'What Meta says to do about it; null if it says nothing.';

const RestrictionType = builder.objectRef<Restriction>('AccountRestriction').implement({
  description:
    'Something that Meta restricts an account from. The reasons of `sendability` say what it means for sending.',
  fields: (t) => ({
    type: t.field({
      type: findVocabularyEnum('RestrictionType'),
      description: 'What the account is restricted from.',
      // It is never null.
      resolve: ({ kind }) => toWord('RestrictionType', kind)!,
    }),
    typeRaw: t.exposeString('kind', { description: toRawDescription('type') }),
    expiresAt: t.expose('expiresAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ends; null if Meta gave no time.',
    }),
    remediation: t.exposeString('remediation', { nullable: true, description: remediation }),
    reportedAt: t.expose('reportedAt', { type: 'DateTime', description: reportedAt }),
  }),
});

const BanType = builder.objectRef<Notice<Ban>>('AccountBan').implement({
  description: 'What Meta announced last about a ban of an account.',
  fields: (t) => ({
    state: t.field({
      type: findVocabularyEnum('BanState'),
      description: 'What was announced.',
      // It is never null.
      resolve: ({ value }) => toWord('BanState', value.state)!,
    }),
    stateRaw: t.string({
      description: toRawDescription('state'),
      resolve: ({ value }) => value.state,
    }),
    date: t.string({
      nullable: true,
      description:
        'The date of the ban as Meta writes it, for example `April 17, 2025`, without a time zone; null if Meta gave none.',
      resolve: ({ value }) => value.date,
    }),
    reportedAt: t.expose('reportedAt', { type: 'DateTime', description: reportedAt }),
  }),
});

const ViolationType = builder.objectRef<Notice<Violation>>('AccountViolation').implement({
  description: "A violation of Meta's policies that Meta has announced.",
  fields: (t) => ({
    type: t.string({
      description: "Meta's word for the violation, for example `ADULT`.",
      resolve: ({ value }) => value.type,
    }),
    remediation: t.string({
      nullable: true,
      description: remediation,
      resolve: ({ value }) => value.remediation,
    }),
    reportedAt: t.expose('reportedAt', { type: 'DateTime', description: reportedAt }),
  }),
});

const DisconnectionType = builder
  .objectRef<Notice<Disconnection>>('AccountDisconnection')
  .implement({
    description: 'That an account was disconnected from the app that sends for it.',
    fields: (t) => ({
      reason: t.field({
        type: findVocabularyEnum('DisconnectionReason'),
        nullable: true,
        description: 'Why; null if Meta does not say.',
        resolve: ({ value }) => toWord('DisconnectionReason', value.reason),
      }),
      reasonRaw: t.string({
        nullable: true,
        description: toRawDescription('reason'),
        resolve: ({ value }) => value.reason,
      }),
      initiatedBy: t.string({
        nullable: true,
        description: "Who disconnected it, in Meta's word, for example `SYSTEM`.",
        resolve: ({ value }) => value.initiatedBy,
      }),
      reportedAt: t.expose('reportedAt', { type: 'DateTime', description: reportedAt }),
    }),
  });

type Limits = Pick<AccountNotices, 'messagingLimitTier' | 'maxPhoneNumbers'>;

const LimitsType = builder.objectRef<Limits>('AccountLimits').implement({
  description: 'The limits that Meta announced last.',
  fields: (t) => ({
    messagingLimitTier: t.field({
      type: findVocabularyEnum('MessagingLimitTier'),
      nullable: true,
      description:
        'How many people the business may start a conversation with in 24 hours, all its numbers together; null if it was not announced.',
      resolve: ({ messagingLimitTier: limit }) =>
        toWord('MessagingLimitTier', limit?.value ?? null),
    }),
    messagingLimitTierRaw: t.string({
      nullable: true,
      description: toRawDescription('messagingLimitTier'),
      resolve: ({ messagingLimitTier: limit }) => limit?.value ?? null,
    }),
    maxPhoneNumbers: t.int({
      nullable: true,
      description: 'How many phone numbers the account may have; null if it was not announced.',
      resolve: ({ maxPhoneNumbers: limit }) => limit?.value ?? null,
    }),
  }),
});

/** MetaDetails has nothing else as its account. */
function toAccount(block: object): AccountSnapshot {
  return block as AccountSnapshot;
}

export function addAnnouncedFields(): void {
  builder.objectFields(MetaWabaType, (t) => ({
    restrictions: t.field({
      type: [RestrictionType],
      description:
        'What Meta restricts the account from at the moment. Only webhooks tell, so without one for the account this is always empty.',
      resolve: (block) => toAccount(block).restrictions,
    }),
    ban: t.field({
      type: BanType,
      nullable: true,
      description: 'What a webhook of Meta said last about a ban; null if none did.',
      resolve: (block) => toAccount(block).notices.ban ?? null,
    }),
    violation: t.field({
      type: ViolationType,
      nullable: true,
      description:
        "The last violation of Meta's policies that a webhook reported; null if none did.",
      resolve: (block) => toAccount(block).notices.violation ?? null,
    }),
    disconnection: t.field({
      type: DisconnectionType,
      nullable: true,
      description:
        'Set if a webhook reported that the account was disconnected from the app that sends for it, and none that it was connected again.',
      resolve: (block) => toDisconnection(toAccount(block).notices),
    }),
    announcedLimits: t.field({
      type: LimitsType,
      nullable: true,
      description: 'The limits that a webhook of Meta announced last; null if none did.',
      resolve: (block) => toLimits(toAccount(block).notices),
    }),
  }));
}

function toDisconnection({ disconnection }: AccountNotices): Notice<Disconnection> | null {
  const value = disconnection?.value ?? null;
  return disconnection === undefined || value === null ? null : { ...disconnection, value };
}

function toLimits(notices: AccountNotices): Limits | null {
  const { messagingLimitTier, maxPhoneNumbers } = notices;
  return messagingLimitTier === undefined && maxPhoneNumbers === undefined ? null : notices;
}
