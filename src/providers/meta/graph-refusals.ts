// What each error of the Graph API means and what to do about it, by its code, its subcode or the topic of its message.
// https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
// https://developers.facebook.com/docs/graph-api/guides/error-handling

import type { MetaBlock } from '../../numbers/meta.ts';
import type { UpstreamFailure } from '../../numbers/provider.ts';

/** What an error means, whichever request it answers. */
export type Meaning = Pick<UpstreamFailure, 'code' | 'transient' | 'message' | 'solution'>;

function denied(message: string, solution: string): Meaning {
  return { code: 'META_ACCESS_DENIED', transient: false, message, solution };
}

function unavailable(message: string, solution = 'Try again later.'): Meaning {
  return { code: 'META_UNAVAILABLE', transient: true, message, solution };
}

/** Nothing that a tenant stores is wrong: the gateway asks for something that Meta does not have. */
function misconfigured(message: string): Meaning {
  const solution = "Ask the gateway's operator to check META_GRAPH_VERSION and META_GRAPH_URL.";
  return { code: 'META_UNAVAILABLE', transient: false, message, solution };
}

export const throttled: Meaning = {
  code: 'META_RATE_LIMITED',
  transient: true,
  message: 'Meta is throttling reads of this account.',
  solution: 'Try again later.',
};
export const invalidResponse = unavailable('Meta returned an invalid response.');

export const rejected = (transient: boolean): Meaning => ({
  code: 'META_UNAVAILABLE',
  transient,
  message: "Meta rejected the gateway's request.",
  solution: "Report the Meta error code to the gateway's operator.",
});

export const unknownField = misconfigured('Meta does not have a field that the gateway requests.');

const unknownApp = denied(
  "Meta does not know the access token's app.",
  "Check in Meta's App Dashboard that the app exists, and store a token of an app that does.",
);

const missingPermission = denied(
  'The access token lacks a permission.',
  'Grant it whatsapp_business_management for this account, or store a token that has it.',
);

const throttlingCodes: ReadonlySet<number> = new Set([4, 17, 32, 341, 613, 130_429]);

/** Null for a code that the gateway does not know. */
export function findMeaning(code: number, subcode: number | null): Meaning | null {
  if (code === 190 || code === 102) {
    return (subcode === null ? undefined : tokenMeanings[subcode]) ?? codeMeanings[code] ?? null;
  }
  if (throttlingCodes.has(code) || (code >= 80_000 && code <= 80_099)) return throttled;
  if (code >= 200 && code <= 299) return missingPermission;
  return codeMeanings[code] ?? null;
}

const temporaryError = unavailable('Meta reported a temporary error.');

const codeMeanings: Readonly<Record<number, Meaning>> = {
  [-1]: temporaryError,
  0: denied('Meta could not authenticate the access token.', 'Store a new one.'),
  1: temporaryError,
  2: temporaryError,
  3: denied(
    'The app lacks a capability that reading this needs; another token of the app has the same limits.',
    "In Meta's App Dashboard, check that the app is of the type Business and has the product WhatsApp.",
  ),
  5: denied(
    "The app does not accept requests from the gateway's IP address.",
    "Add the address to the server IP allowlist of the app in Meta's App Dashboard.",
  ),
  10: missingPermission,
  33: {
    code: 'META_NUMBER_MISSING',
    transient: false,
    message: 'The number was deleted at Meta.',
    solution:
      'Remove it with: number remove. If another one has replaced it, store its id with: number update --phone-number-id.',
  },
  101: unknownApp,
  102: denied('The session of the access token has ended.', 'Store a new token.'),
  104: denied('Meta requires a valid access token.', 'Store a new one.'),
  190: denied('Meta rejected the access token.', 'Store a new one.'),
  368: denied(
    'Meta has restricted or disabled the account for violating its policies.',
    "Appeal in Meta's Business Support Home.",
  ),
  2500: misconfigured("Meta cannot parse the gateway's request."),
  2635: misconfigured('Meta has retired the Graph API version that the gateway requests.'),
  130_497: denied(
    'Meta keeps the account from messaging people in certain countries; messages to other countries may still go out.',
    "See Meta's WhatsApp Business Messaging Policy for the countries that are open to the category of the business.",
  ),
  131_000: temporaryError,
  131_005: missingPermission,
  131_016: unavailable('The WhatsApp service of Meta is temporarily unavailable.'),
  131_031: denied(
    'Meta has locked the account.',
    'WhatsApp Manager shows why, and how to unlock it.',
  ),
  131_042: denied(
    'Meta could not charge the account for its messages.',
    'Correct the payment method in WhatsApp Manager.',
  ),
  131_045: denied(
    'The number is not registered on the Cloud API.',
    'Register it with its PIN, as for any new number.',
  ),
  131_057: unavailable(
    'Meta has put the account into maintenance mode, for example to raise its throughput.',
    'Try again in some minutes.',
  ),
  133_004: unavailable('The registration service of Meta is temporarily unavailable.'),
  133_005: denied('The PIN of the number is wrong.', 'Correct or reset it in WhatsApp Manager.'),
  133_006: denied(
    'The number has to be verified again.',
    'Request a verification code, enter it, and register the number.',
  ),
  133_008: denied(
    'A wrong PIN was entered too often.',
    'Wait for the time that WhatsApp Manager shows, then register the number again.',
  ),
  133_010: denied(
    'The number is not registered on the Cloud API.',
    'Register it with its PIN; a number that still is in the WhatsApp app has to be deleted or connected there first.',
  ),
  133_015: denied(
    'The number was deleted a moment ago, and the deletion has not ended.',
    'Wait five minutes, then register the number again.',
  ),
  133_016: denied(
    'The number was registered and deregistered too often.',
    'Wait until Meta lifts the limit, at most 72 hours.',
  ),
};

const loginRequired = denied(
  'Meta has stopped the owner of the access token at a security check.',
  'The owner has to log in to Meta and complete the check; the token then works again.',
);

const unusedToken = denied(
  'The access token ended because its owner has not used the app for a long time.',
  'Store a new one, preferably of a system user.',
);

/** By the subcodes of code 190. https://gist.github.com/MauricioKruijer/7663113 has those that Meta does not list. */
const tokenMeanings: Readonly<Record<number, Meaning>> = {
  452: denied('The session of the access token has ended.', 'Store a new token.'),
  456: denied('The access token is malformed.', 'Copy it again, as a whole, and store it.'),
  458: denied(
    'The owner of the access token has removed the app.',
    'Connect the app again and store a new token.',
  ),
  459: loginRequired,
  460: denied('The owner of the access token has changed their password.', 'Store a new token.'),
  461: denied(
    'The owner of the access token has installed the app again, which ended the token.',
    'Store a new token.',
  ),
  463: denied(
    'The access token has expired.',
    'Store a new one, preferably of a system user, which need not expire.',
  ),
  464: loginRequired,
  465: denied(
    'The owner of the access token no longer exists at Meta.',
    'Store a token of another user, preferably of a system user.',
  ),
  466: denied('The access token was revoked.', 'Store a new one.'),
  467: denied(
    'The access token was invalidated: its owner logged out, or it was revoked.',
    'Store a new one, preferably of a system user, which never logs out.',
  ),
  468: unusedToken,
  490: loginRequired,
  492: denied(
    'The owner of the access token has no role on the business.',
    'Assign one, or store a token of a user who has one.',
  ),
  493: unusedToken,
};

/** What only the message of an error tells. */
export type Topic = keyof typeof topicMeanings;

export const topicMeanings = {
  'app blocked': denied(
    'Meta has blocked the app of the access token, or its owner. A new token of the app does not help.',
    "Open the app in Meta's App Dashboard and complete what is required there, or store a token of another app.",
  ),
  'app deleted': denied(
    'The app of the access token was deleted.',
    'Store a token of an app that exists.',
  ),
  'app unknown': unknownApp,
  'app inactive': denied(
    'The app of the access token is not active.',
    "Switch it to live mode in Meta's App Dashboard, and complete the data use checkup if it asks for that.",
  ),
  'app not authorized': denied(
    'The app may not act for the owner of the access token.',
    "Check in Meta's App Dashboard that the app is in live mode, connect the app again as this owner, and store the new token.",
  ),
  'owner blocked': {
    code: 'META_RATE_LIMITED',
    transient: true,
    message:
      'Meta has blocked the owner of the access token for some time, after too many or unusual requests.',
    solution: 'Wait some hours, or store the token of a system user.',
  },
  'proof required': denied(
    'The app requires a proof made with its secret, and the proof was missing or wrong.',
    "Store the app's secret with the access token.",
  ),
  'token missing': denied(
    'Meta received no access token that belongs to an app.',
    'Store the token of a system user of the business, not an app id or a secret.',
  ),
  'token malformed': denied(
    'The access token is malformed or incomplete.',
    'Copy it again, as a whole, and store it.',
  ),
  'token of wrong type': denied(
    'The access token is of a type that may not read WhatsApp accounts, for example of an app or a page.',
    'Store the token of a system user of the business.',
  ),
  'version unknown': misconfigured(
    'Meta does not have the Graph API version or the path that the gateway requests.',
  ),
  'permission missing': missingPermission,
} as const satisfies Readonly<Record<string, Meaning>>;

/** Meta's wording of each topic, and the codes that it comes with. The first that matches counts. */
const topicPatterns: readonly (readonly [Topic, readonly number[], RegExp])[] = [
  [
    'app blocked',
    [10, 190, 200],
    /\bAPI access (is |was |has been )?(blocked|deactivated|disabled|disrupted)/i,
  ],
  ['app deleted', [101, 190, 200], /application has been deleted/i],
  ['app unknown', [101, 190, 200], /error validating application|invalid application id/i],
  [
    'app inactive',
    [10, 190, 200],
    /\bapp (is )?not active|non-active (apps|accounts)|app is currently not accessible/i,
  ],
  ['app not authorized', [10, 190, 200], /cannot call api for app|has not authorized application/i],
  // The same code without these words is about the WhatsApp Business account.
  ['owner blocked', [368], /you.ve been blocked|you have been temporarily blocked/i],
  ['proof required', [100], /appsecret_proof/i],
  ['token missing', [200, 2500], /provide valid app id|active access token must be used/i],
  ['token malformed', [190], /cannot parse access token|malformed access token|bad signature/i],
  ['token of wrong type', [10, 190, 200], /must be called with an? .{0,30}access token/i],
  ['version unknown', [100, 2500], /^unknown path components/i],
  ['permission missing', [100], /^(\(#100\) )?(need|requires?|missing) .{0,60}permission/i],
];

export function findTopic(code: number | null, message: string): Topic | null {
  if (code === null) return null;
  const found = topicPatterns.find(
    ([, codes, pattern]) => codes.includes(code) && pattern.test(message),
  );
  return found === undefined ? null : found[0];
}

/** What is read: a block of a number, or what a token can see. */
export type GraphNode = MetaBlock | 'business' | 'user' | 'token';

/** What a node of Graph is. */
export type NodeKind = 'phone' | 'waba' | 'business' | 'app' | 'user' | 'page';

/** By Graph's names of node types; those of a phone differ between versions. */
const nodeKinds: Readonly<Record<string, NodeKind>> = {
  WhatsAppBusinessPhoneNumber: 'phone',
  WhatsAppBusinessAccountToNumberCurrentStatus: 'phone',
  WhatsAppBusinessAccount: 'waba',
  Business: 'business',
  Application: 'app',
  User: 'user',
  SystemUser: 'user',
  Page: 'page',
};

/** Null for a type that the gateway does not know: it may be a later name of a known kind. */
export function findNodeKind(nodeType: string): NodeKind | null {
  return Object.hasOwn(nodeKinds, nodeType) ? (nodeKinds[nodeType] ?? null) : null;
}

export const kindNames: Readonly<Record<NodeKind, string>> = {
  phone: 'a phone number',
  waba: 'a WhatsApp Business account',
  business: 'a business portfolio',
  app: 'an app',
  user: 'a user',
  page: 'a page',
};

/** The name of the id of a node, and the option that stores it; null for one that is not stored. */
export const idNames = {
  phone: ['phone number id', '--phone-number-id'],
  profile: ['phone number id', '--phone-number-id'],
  waba: ['WhatsApp Business account id', '--waba-id'],
  business: ['business portfolio id', null],
  user: ['user id', null],
  token: ['access token', null],
} as const satisfies Readonly<Record<GraphNode, readonly [name: string, option: string | null]>>;

/** The stored id is that of another kind of node. */
export function toWrongKindMeaning(node: GraphNode, kind: NodeKind): Meaning {
  const [name, option] = idNames[node];
  if (option === null) {
    return denied(`The ${name} is the id of ${kindNames[kind]}.`, `Look up the ${name}.`);
  }
  const isSwapped = kind === 'phone' || kind === 'waba';
  const swap = isSwapped ? ' Check the other id too: the two may be swapped.' : '';
  return denied(
    `The stored ${name} is the id of ${kindNames[kind]}.`,
    `Look up the ${name} in WhatsApp Manager and store it with: number update ${option}.${swap}`,
  );
}

const phoneUnknown = denied(
  'Meta does not know this phone number id, or the token may not read it.',
  'Check that it is the phone number id, not the WhatsApp Business account id or the number itself, and that the token has access to it. Correct it with: number update --phone-number-id.',
);

/** Meta answers alike for ids that do not exist, are of another kind or must not be read; the texts name common mistakes. */
export const unknownObjects: Readonly<Record<GraphNode, Meaning>> = {
  phone: phoneUnknown,
  profile: phoneUnknown,
  waba: denied(
    'Meta does not know this WhatsApp Business account id, or the token may not read it.',
    "Check that it is the account's id, not a phone number id or a business portfolio's id, and that the token has access to it. Correct it with: number update --waba-id.",
  ),
  business: denied(
    'Meta does not know this business portfolio id, or the token may not read it.',
    'Check the id, and that the token has the permission business_management for it.',
  ),
  user: denied('Meta does not know the owner of the access token.', 'Use another token.'),
  token: denied('Meta does not inspect this access token.', 'Use the token of a system user.'),
};
