// The schema of the schema-first peers: the part of the gateway's schema that the requests use.

export const sdl = `
  enum Provider { META PILOT_STATUS }
  enum ConnectionState { OPEN CONNECTING CLOSE }
  enum QualityRating { GREEN YELLOW RED UNKNOWN NA }
  enum MessagingLimitTier { TIER_50 TIER_250 TIER_1K TIER_2K TIER_10K TIER_100K TIER_UNLIMITED UNTIERED }
  enum MetaStatus {
    CONNECTED DISCONNECTED PENDING FLAGGED RESTRICTED RATE_LIMITED BANNED DELETED MIGRATED UNVERIFIED UNKNOWN
  }
  type Query {
    numbers: [WhatsAppNumber!]!
    number(id: ID!): WhatsAppNumber
  }
  type WhatsAppNumber {
    id: ID!
    instanceName: String
    number: String!
    name: String!
    provider: Provider!
    state: ConnectionState!
    isFullyConnected: Boolean!
    createdAt: String!
    updatedAt: String!
    apiKeys: [ApiKeyHint!]!
    health: NumberHealth!
    meta: MetaDetails
  }
  type ApiKeyHint { name: String! keyPrefix: String! keyLast4: String! }
  type NumberHealth {
    qualityRating: QualityRating
    messagingLimitTier: MessagingLimitTier
    metaStatus: MetaStatus
    sendable: Boolean!
  }
  type MetaDetails { fetchedAt: String! phone: MetaPhone profile: MetaProfile waba: MetaWaba }
  type MetaPhone {
    displayPhoneNumber: String
    verifiedName: String
    qualityRating: QualityRating
    messagingLimitTier: MessagingLimitTier
    isPinEnabled: Boolean
  }
  type MetaProfile { about: String email: String websites: [String!] vertical: String }
  type MetaWaba { id: String name: String currency: String businessVerificationStatus: String country: String }
`;
