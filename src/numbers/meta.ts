// The fields that are read from Meta, by block: their names at Meta and here, their types and their descriptions. The
// `fields=` list, the decoder, the TypeScript types, the GraphQL types and the REST members all derive from these tables.

import { type JsonObject, toObject } from '../json.ts';
import { decoders, type Kinds } from './meta-values.ts';
import type { VocabularyName } from './vocabulary.ts';

interface FieldBase {
  /** The name here. */
  readonly name: string;
  /** Graph's name, for `fields=`. */
  readonly graph: string;
  /** If Graph wraps the value in an object: the member that holds it. */
  readonly member?: string;
  readonly meaning: string;
  /** Whether REST returns it, in the order of the table. */
  readonly rest?: true;
  /** Known to be denied to some numbers or tokens, which fails the whole request. */
  readonly risky?: true;
}

/** One row of a block's table. */
export type Field = FieldBase &
  (
    | { readonly kind: Exclude<keyof Kinds, 'word'> }
    | { readonly kind: 'word'; readonly vocabulary: VocabularyName }
  );

const phone = [
  {
    name: 'displayPhoneNumber',
    graph: 'display_phone_number',
    kind: 'text',
    rest: true,
    meaning: 'The formatted number, for example +55 11 99999-9999.',
  },
  {
    name: 'verifiedName',
    graph: 'verified_name',
    kind: 'text',
    rest: true,
    meaning: 'The display name of the business. It may not be approved: see the name status.',
  },
  {
    name: 'qualityRating',
    graph: 'quality_rating',
    kind: 'word',
    vocabulary: 'QualityRating',
    rest: true,
    meaning: 'The quality of the messages, judged by the people who receive them.',
  },
  {
    name: 'messagingLimitTier',
    graph: 'whatsapp_business_manager_messaging_limit',
    kind: 'word',
    vocabulary: 'MessagingLimitTier',
    rest: true,
    meaning:
      'How many people the business may start a conversation with in 24 hours, all its numbers together.',
  },
  {
    name: 'isPinEnabled',
    graph: 'is_pin_enabled',
    kind: 'boolean',
    rest: true,
    meaning: 'Whether a PIN for two-step verification is set.',
  },
  {
    name: 'status',
    graph: 'status',
    kind: 'word',
    vocabulary: 'MetaStatus',
    meaning: "Meta's status of the number.",
  },
  {
    name: 'nameStatus',
    graph: 'name_status',
    kind: 'word',
    vocabulary: 'NameStatus',
    meaning: 'The status of the review of the display name.',
  },
  {
    name: 'codeVerificationStatus',
    graph: 'code_verification_status',
    kind: 'word',
    vocabulary: 'CodeVerificationStatus',
    meaning: 'Whether the code that proves ownership of the number was entered.',
  },
  {
    name: 'platformType',
    graph: 'platform_type',
    kind: 'word',
    vocabulary: 'PlatformType',
    meaning: 'The platform that the number is registered on.',
  },
  {
    name: 'throughputLevel',
    graph: 'throughput',
    member: 'level',
    kind: 'word',
    vocabulary: 'ThroughputLevel',
    meaning: 'How many messages a second the number may send.',
  },
  {
    name: 'accountMode',
    graph: 'account_mode',
    kind: 'word',
    vocabulary: 'AccountMode',
    meaning: 'Whether the number is for real traffic or for tests.',
  },
  {
    name: 'lastOnboardedAt',
    graph: 'last_onboarded_time',
    kind: 'time',
    meaning: 'When the number was last connected to the platform.',
  },
  {
    name: 'isOfficialBusinessAccount',
    graph: 'is_official_business_account',
    kind: 'boolean',
    risky: true,
    meaning: 'Whether the number carries the badge of an official business account.',
  },
  {
    name: 'isOnBusinessApp',
    graph: 'is_on_biz_app',
    kind: 'boolean',
    risky: true,
    meaning: 'Whether the number is used in the WhatsApp Business app at the same time.',
  },
  {
    name: 'healthStatus',
    graph: 'health_status',
    kind: 'health',
    risky: true,
    meaning:
      'Whether Meta lets messages through the number, its account, its business and the app.',
  },
  {
    // Events about accounts, names, quality and templates go to no other URL:
    // https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/override
    name: 'webhookUrl',
    graph: 'webhook_configuration',
    member: 'application',
    kind: 'webhookUrl',
    risky: true,
    meaning: 'The URL to which Meta sends what the app is subscribed to.',
  },
] as const satisfies readonly Field[];

const profile = [
  {
    name: 'about',
    graph: 'about',
    kind: 'text',
    rest: true,
    meaning: 'The short line under the name.',
  },
  {
    name: 'email',
    graph: 'email',
    kind: 'text',
    rest: true,
    meaning: 'The e-mail address for customers.',
  },
  {
    name: 'websites',
    graph: 'websites',
    kind: 'texts',
    rest: true,
    meaning: 'Up to two web addresses.',
  },
  {
    name: 'vertical',
    graph: 'vertical',
    kind: 'word',
    vocabulary: 'BusinessVertical',
    rest: true,
    meaning: 'The line of business.',
  },
  { name: 'address', graph: 'address', kind: 'text', meaning: 'The postal address.' },
  { name: 'description', graph: 'description', kind: 'text', meaning: 'What the business does.' },
  {
    name: 'profilePictureUrl',
    graph: 'profile_picture_url',
    kind: 'text',
    meaning:
      'URL of the profile picture. It is signed and expires, so load it right after a live read.',
  },
] as const satisfies readonly Field[];

const waba = [
  { name: 'id', graph: 'id', kind: 'text', rest: true, meaning: "Meta's id of the account." },
  { name: 'name', graph: 'name', kind: 'text', rest: true, meaning: 'The name of the account.' },
  {
    name: 'currency',
    graph: 'currency',
    kind: 'text',
    rest: true,
    meaning: 'The currency of its bills, ISO 4217.',
  },
  {
    name: 'businessVerificationStatus',
    graph: 'business_verification_status',
    kind: 'word',
    vocabulary: 'BusinessVerificationStatus',
    rest: true,
    meaning: 'Whether Meta has verified the business behind the account.',
  },
  {
    name: 'country',
    graph: 'country',
    kind: 'text',
    rest: true,
    meaning: 'The country of the business that owns it, ISO 3166-1 alpha-2.',
  },
  {
    name: 'accountReviewStatus',
    graph: 'account_review_status',
    kind: 'word',
    vocabulary: 'AccountReviewStatus',
    meaning: 'The status of the review of the account.',
  },
  {
    name: 'messagingLimitTier',
    graph: 'whatsapp_business_manager_messaging_limit',
    kind: 'word',
    vocabulary: 'MessagingLimitTier',
    meaning:
      'How many people the business may start a conversation with in 24 hours, all its numbers together.',
  },
  {
    name: 'ownershipType',
    graph: 'ownership_type',
    kind: 'word',
    vocabulary: 'OwnershipType',
    meaning: 'Who owns the account.',
  },
  {
    name: 'ownerBusinessId',
    graph: 'owner_business_info',
    member: 'id',
    kind: 'text',
    meaning: "Meta's id of the business portfolio that owns the account.",
  },
  {
    name: 'ownerBusinessName',
    graph: 'owner_business_info',
    member: 'name',
    kind: 'text',
    meaning: 'The name of the business that owns the account.',
  },
  {
    name: 'timezoneId',
    graph: 'timezone_id',
    kind: 'text',
    meaning: "The account's time zone, a number from Meta's own table.",
  },
  {
    name: 'subscribedApps',
    graph: 'subscribed_apps',
    kind: 'apps',
    risky: true,
    meaning: 'The apps to which Meta sends webhooks about the account.',
  },
] as const satisfies readonly Field[];

/** Each block has its own reads and its own age. */
export const metaBlocks = { phone, profile, waba } as const;

/** `phone`: the number's node. `profile`: its profile edge. `waba`: the account's node. */
export type MetaBlock = keyof typeof metaBlocks;

type Decoded<Fields extends readonly Field[]> = {
  readonly [F in Fields[number] as F['name']]: Kinds[F['kind']] | null;
};

/** Words are in Meta's spelling. Null where Meta gave nothing. */
export type MetaPhone = Decoded<typeof phone>;
export type MetaProfile = Decoded<typeof profile>;
export type MetaWaba = Decoded<typeof waba>;

export interface MetaBlocks {
  readonly phone: MetaPhone;
  readonly profile: MetaProfile;
  readonly waba: MetaWaba;
}

/** The names for `fields=`. */
export function toGraphFields(block: MetaBlock): readonly string[] {
  return [...new Set(metaBlocks[block].map((field) => field.graph))];
}

/**
 * Decodes Graph's JSON object. A value that is missing, null or of an unexpected type becomes null, so a change at Meta
 * costs one member and never the whole block.
 */
export function toMetaBlock<B extends MetaBlock>(block: B, json: JsonObject): MetaBlocks[B] {
  const fields: readonly Field[] = metaBlocks[block];
  const entries = fields.map((field) => {
    const value = json[field.graph];
    const inner = field.member === undefined ? value : toObject(value)?.[field.member];
    return [field.name, decoders[field.kind](inner)];
  });
  // The type derives from the same table.
  return Object.fromEntries(entries) as MetaBlocks[B];
}

/**
 * A block as it was stored, perhaps by another version: members that the table does not have are dropped, and missing ones
 * are null.
 */
export function toStoredBlock<B extends MetaBlock>(block: B, stored: JsonObject): MetaBlocks[B] {
  const fields: readonly Field[] = metaBlocks[block];
  const members: Record<string, unknown> = {};
  for (const { name } of fields) members[name] = stored[name] ?? null;
  // The type derives from the same table.
  return members as unknown as MetaBlocks[B];
}
