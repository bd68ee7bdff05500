// What people have reported in public about WhatsApp numbers, each as what its upstream sends and what callers must see.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway, type TestNumberOptions } from '../harness.ts';
import {
  type IndependentEngine,
  openIndependentEngine,
  recorded,
  type RecordedAnswer,
} from './independent-engine.ts';
import {
  type IndependentGraph,
  openIndependentGraph,
  type RawResponse,
} from './meta/independent-graph.ts';

type Json = Readonly<Record<string, unknown>>;

let graph: IndependentGraph;
let engine: IndependentEngine;
let gateway: TestGateway;
beforeAll(async () => {
  graph = await openIndependentGraph();
  engine = await openIndependentEngine();
  gateway = await openTestGateway({
    fetch: globalThis.fetch,
    environment: { META_GRAPH_URL: graph.url, SESSION_ENGINE_URL: engine.url },
  });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await graph[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const wabaId = '102290129340398';

/** A phone number that can send, with these differences. */
function toPhone(differences: Json = {}) {
  return {
    verified_name: 'Lucky Shrub',
    code_verification_status: 'VERIFIED',
    display_phone_number: '+1 631-555-5555',
    quality_rating: 'GREEN',
    platform_type: 'CLOUD_API',
    throughput: { level: 'STANDARD' },
    status: 'CONNECTED',
    name_status: 'APPROVED',
    health_status: toHealth(),
    id: '{id}',
    ...differences,
  };
}

/** A health_status in which all entities are available, but for the differences of some. */
function toHealth(differences: Readonly<Record<string, Json>> = {}, ...more: readonly Json[]) {
  const ids = { PHONE_NUMBER: '{id}', WABA: wabaId, BUSINESS: '506914307656634', APP: '6349746' };
  const entities = Object.entries(ids).map(([entity_type, id]) =>
    Object.assign({ entity_type, id, can_send_message: 'AVAILABLE' }, differences[entity_type]),
  );
  return { can_send_message: 'AVAILABLE', entities: [...entities, ...more] };
}

const healthyProfile = { data: [{ about: 'Hello', messaging_product: 'whatsapp' }] };
const healthyWaba = { name: 'Lucky Shrub', currency: 'BRL', id: wabaId };

/** What Graph sends, by block; a block that is left out is healthy. */
interface Sent {
  readonly phone?: RawResponse;
  readonly profile?: RawResponse;
  readonly waba?: RawResponse;
}

function respond({ phoneNumberId, wabaId: waba }: Ids, sent: Sent): void {
  graph.responses.set(phoneNumberId, sent.phone ?? { body: toPhone() });
  graph.responses.set(
    `${phoneNumberId}/whatsapp_business_profile`,
    sent.profile ?? { body: healthyProfile },
  );
  graph.responses.set(waba, sent.waba ?? { body: healthyWaba });
}

interface Ids {
  readonly phoneNumberId: string;
  readonly wabaId: string;
}

const freshness = 'freshness { source error { code message transient metaCode metaSubcode } }';
const query = `query ($id: ID!) { number(id: $id, refresh: true) { state health { metaStatus qualityRating
  messagingLimitTier sendable sendability { verdict replyVerdict reasons { entity field value code effect text solution } } ${freshness} }
  meta { phone { displayPhoneNumber nameStatus codeVerificationStatus platformType isOnBusinessApp ${freshness} }
    profile { about websites vertical ${freshness} } waba { id name ${freshness} } } } }`;

/** The number over both protocols, after a refresh by each. */
async function refresh(
  id: string,
  tenant: { graphql: TestGateway['graphql']; rest: TestGateway['rest'] },
) {
  const { body } = await tenant.graphql<{ number: Shown }>(query, { variables: { id } });
  const rest = await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  expect(body.errors).toBeUndefined();
  return { shown: body.data!.number, rest };
}

interface Shown {
  readonly health: {
    readonly sendability: {
      readonly reasons: readonly Readonly<Record<string, string | null>>[];
    };
  };
  readonly meta: Readonly<Record<string, { readonly freshness: { readonly error: Json | null } }>>;
}

/** Reads a healthy number, and then reads it again when Graph sends this. */
async function refreshWhen(sent: Sent, options: TestNumberOptions = {}) {
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber({ wabaId, ...options });
  respond(number, {});
  const before = await refresh(number.id, tenant);
  expect(before.rest.body).toMatchObject({ health: { sendable: true } });
  respond(number, sent);
  const seen = await refresh(number.id, tenant);
  const path = `/v1/numbers/${number.id}?include=sendability,freshness`;
  return { ...seen, stored: await tenant.rest(path) };
}

interface Reading {
  readonly what: string;
  readonly link: string;
  /** The digits that were typed. */
  readonly number?: string;
  readonly sent: Sent;
  readonly verdict: string;
  /** As `verdict` if absent. */
  readonly replyVerdict?: string;
  readonly sendable: boolean;
  /** Effect, entity and field of each, and a part of its text or solution. */
  readonly reasons: readonly (readonly [kind: string, says: RegExp])[];
  /** More of the number over GraphQL, and over REST. */
  readonly shown?: Json;
  readonly rest?: Json;
}

/** Titles are cut when they are read from the report. */
function toCases<Report extends { readonly what: string; readonly link: string }>(
  reports: readonly Report[],
) {
  return reports.map((report) => [report.what, report.link, report] as const);
}

const sends = { verdict: 'YES', sendable: true, reasons: [] } as const;

const readings: readonly Reading[] = [
  {
    what: 'a verification that has expired long after registration',
    link: 'https://github.com/shridarpatil/whatomate/issues/390',
    sent: { phone: { body: toPhone({ code_verification_status: 'EXPIRED' }) } },
    ...sends,
    shown: { meta: { phone: { codeVerificationStatus: 'EXPIRED' } } },
  },
  {
    what: 'a number of the WhatsApp Business app, whose code was never entered here',
    link: 'https://github.com/chatwoot/chatwoot/pull/15462',
    sent: {
      phone: { body: toPhone({ code_verification_status: 'NOT_VERIFIED', is_on_biz_app: true }) },
    },
    ...sends,
    shown: { meta: { phone: { isOnBusinessApp: true } } },
  },
  {
    what: 'a display name that nobody has reviewed',
    link: 'https://github.com/chatwoot/chatwoot/pull/15550',
    sent: {
      phone: {
        body: toPhone({
          name_status: 'AVAILABLE_WITHOUT_REVIEW',
          health_status: toHealth({
            PHONE_NUMBER: {
              can_send_message: 'LIMITED',
              additional_info: ['Your display name has not been approved yet.'],
            },
          }),
        }),
      },
    },
    ...sends,
    reasons: [['INFORMS PHONE_NUMBER can_send_message', /display name/]],
    shown: { meta: { phone: { nameStatus: 'AVAILABLE_WITHOUT_REVIEW' } } },
  },
  {
    what: 'a number that waits for its display name after its account was connected again',
    link: 'https://github.com/chatwoot/chatwoot/pull/13911',
    sent: {
      phone: {
        body: toPhone({
          name_status: 'PENDING_REVIEW',
          platform_type: 'NOT_APPLICABLE',
          throughput: { level: 'NOT_APPLICABLE' },
          status: undefined,
        }),
      },
    },
    verdict: 'NO',
    sendable: false,
    reasons: [
      ['BLOCKS PHONE_NUMBER platform_type', /Register the number/],
      ['INCONCLUSIVE PHONE_NUMBER status', /missing/],
    ],
    shown: { state: 'CONNECTING' },
    rest: { state: 'CONNECTING' },
  },
  {
    what: 'a number in review',
    link: 'https://github.com/chatwoot/chatwoot/issues/13154',
    sent: { phone: { body: toPhone({ status: 'PENDING', name_status: 'PENDING_REVIEW' }) } },
    verdict: 'NO',
    sendable: false,
    reasons: [['BLOCKS PHONE_NUMBER status', /Finish verification/]],
    shown: { state: 'CONNECTING' },
    rest: { state: 'CONNECTING', health: { metaStatus: 'PENDING' } },
  },
  {
    what: 'a low quality, and a limit that is used up',
    link: 'https://github.com/glific/glific-frontend/issues/1826',
    sent: { phone: { body: toPhone({ status: 'RESTRICTED', quality_rating: 'RED' }) } },
    verdict: 'NO',
    replyVerdict: 'YES',
    sendable: false,
    reasons: [['BLOCKS PHONE_NUMBER status', /replies still go out/]],
    shown: { state: 'OPEN', health: { qualityRating: 'RED' } },
    rest: { state: 'OPEN', health: { metaStatus: 'RESTRICTED' } },
  },
  {
    what: 'a Brazilian number that Meta shows without its ninth digit',
    link: 'https://github.com/megaapp977/stack/issues/576',
    number: '5564999998888',
    sent: { phone: { body: toPhone({ display_phone_number: '+55 64 9999-8888' }) } },
    ...sends,
    rest: { number: '5564999998888', meta: { phone: { displayPhoneNumber: '+55 64 9999-8888' } } },
  },
  {
    what: 'a Mexican number that Meta shows without the 1 of mobile numbers',
    link: 'https://github.com/daviddrysdale/python-phonenumbers/issues/306',
    number: '5215541637145',
    sent: { phone: { body: toPhone({ display_phone_number: '+52 55 4163 7145' }) } },
    ...sends,
  },
  {
    what: 'an Argentinian number that Meta shows without the 9 of mobile numbers',
    link: 'https://github.com/chatwoot/chatwoot/issues/13932',
    number: '5491123456789',
    sent: { phone: { body: toPhone({ display_phone_number: '+54 11 2345-6789' }) } },
    ...sends,
  },
  {
    what: 'a number of one account that was stored with another account',
    link: 'https://github.com/shridarpatil/whatomate/pull/55',
    sent: {
      phone: { body: toPhone({ health_status: toHealth({ WABA: { id: '2290129349999' } }) }) },
    },
    ...sends,
    reasons: [['INFORMS WABA health_status.entities.id', /2290129349999/]],
  },
  {
    what: 'a template that is blocked beside a number that is limited',
    link: 'https://partner-docs.splashifypro.com/api-reference/whatsapp/health-status',
    sent: {
      phone: {
        body: toPhone({
          health_status: toHealth(
            {
              PHONE_NUMBER: {
                can_send_message: 'LIMITED',
                errors: [{ error_code: 130_472, error_description: 'Quality rating is LOW' }],
              },
            },
            {
              entity_type: 'MESSAGE_TEMPLATE',
              id: '964823735155832',
              can_send_message: 'BLOCKED',
              errors: [{ error_code: 135_000, error_description: 'Template paused' }],
            },
          ),
        }),
      },
    },
    ...sends,
    reasons: [
      ['INFORMS PHONE_NUMBER can_send_message', /Quality rating is LOW/],
      ['INFORMS MESSAGE_TEMPLATE can_send_message', /Template paused/],
    ],
  },
  {
    what: 'a limit that has moved to a new field, and is null in the old one',
    link: 'https://github.com/david-lev/pywa/issues/221',
    sent: {
      phone: {
        body: toPhone({
          messaging_limit_tier: null,
          whatsapp_business_manager_messaging_limit: 'TIER_100K',
        }),
      },
    },
    ...sends,
    shown: { health: { messagingLimitTier: 'TIER_100K' } },
    rest: { health: { messagingLimitTier: 'TIER_100K' } },
  },
  {
    what: 'a profile one level deeper than Meta sends it elsewhere',
    link: 'https://github.com/gabrieldwight/Whatsapp-Business-Cloud-Api-Net/issues/187',
    sent: {
      profile: {
        body: {
          data: [
            {
              business_profile: {
                messaging_product: 'whatsapp',
                about: 'profile-about-text',
                websites: ['https://website-1', 'https://website-2'],
                vertical: 'business-industry',
              },
            },
          ],
        },
      },
    },
    ...sends,
    shown: {
      meta: {
        profile: {
          about: 'profile-about-text',
          websites: ['https://website-1', 'https://website-2'],
          vertical: 'UNRECOGNIZED',
        },
      },
    },
    rest: { meta: { profile: { about: 'profile-about-text', vertical: 'business-industry' } } },
  },
  {
    what: 'a usage header that is a percentage instead of JSON',
    link: 'https://github.com/restfb/restfb/issues/736',
    sent: {
      phone: {
        headers: { 'x-app-usage': '95', 'x-business-use-case-usage': '{"app_id_util_pct"' },
        body: toPhone({ quality_rating: 'YELLOW' }),
      },
    },
    ...sends,
    shown: { health: { qualityRating: 'YELLOW' } },
    rest: { health: { qualityRating: 'YELLOW' } },
  },
  {
    what: 'ids above 2^53 without quotes',
    link: 'https://github.com/sooluh/adonisjs-whatsapp/issues/1',
    sent: {
      phone: {
        // A double has 122097329108006500 in the place of this id.
        body: JSON.stringify(toPhone({ quality_rating: 'YELLOW' })).replaceAll('"{id}"', '{id}'),
      },
    },
    ...sends,
    shown: { health: { qualityRating: 'YELLOW' } },
    rest: { health: { qualityRating: 'YELLOW' } },
  },
];

describe('readings', () => {
  test.each(toCases(readings))('%s (%s)', async (_what, _link, report) => {
    const { number = '16315555555', sent, verdict, replyVerdict = verdict, sendable } = report;
    const { reasons, shown = {}, rest = {} } = report;
    const seen = await refreshWhen(sent, { number, phoneNumberId: '122097329108006499' });
    expect(seen.shown).toMatchObject(shown);
    const { sendability } = seen.shown.health;
    expect(seen.shown).toMatchObject({
      health: {
        sendable,
        sendability: { verdict, replyVerdict },
        freshness: { source: 'LIVE', error: null },
      },
    });
    expect(sendability.reasons.map((it) => `${it.effect} ${it.entity} ${it.field}`)).toEqual(
      reasons.map(([kind]) => kind),
    );
    for (const [index, [, says]] of reasons.entries()) {
      const { text, solution } = sendability.reasons[index]!;
      expect(`${text} ${solution}`).toMatch(says);
    }
    expect(seen.rest).toMatchObject({ status: 200, body: { health: { sendable } } });
    expect(seen.rest.body).toMatchObject(rest);
  });
});

interface Refusal {
  readonly what: string;
  readonly link: string;
  readonly block: 'phone' | 'profile' | 'waba';
  readonly response: RawResponse;
  /** Of the block, over GraphQL. */
  readonly error: Json;
  /** What the text must and must not advise. */
  readonly says: RegExp;
  readonly saysNot?: RegExp;
  readonly verdict: string;
  readonly sendable: boolean;
}

const refusals: readonly Refusal[] = [
  {
    what: "a business portfolio's id stored as that of the account",
    link: 'https://github.com/PipedreamHQ/pipedream/issues/9004',
    block: 'waba',
    response: toRefusal(
      '(#100) Tried accessing nonexisting field (message_templates) on node type (Business)',
      100,
    ),
    error: { code: 'META_ACCESS_DENIED', transient: false },
    says: /business portfolio/i,
    saysNot: /META_GRAPH_VERSION/,
    verdict: 'YES',
    sendable: true,
  },
  {
    what: 'an app that may not call for the owner of the token',
    link: 'https://github.com/SocialiteProviders/Providers/issues/659',
    block: 'phone',
    response: toRefusal('(#200) Cannot call API for app 634974 on behalf of user 1043', 200),
    error: { code: 'META_ACCESS_DENIED', transient: false },
    says: /\bapp\b/,
    saysNot: /whatsapp_business_management/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an app that Meta has cut off',
    link: 'https://github.com/pxdl/fbpages-telegram-bot/issues/9',
    block: 'phone',
    response: toRefusal(
      '(#200) Access to this data is temporarily disabled for non-active accounts due to changes we are making to the Facebook Platform',
      200,
    ),
    error: { code: 'META_ACCESS_DENIED', transient: false },
    says: /\bapp\b/,
    saysNot: /whatsapp_business_management/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an app that has been deleted',
    link: 'https://github.com/metacpan/metacpan-web/issues/2076',
    block: 'phone',
    response: toRefusal('Error validating application. Application has been deleted.', 101),
    error: { code: 'META_ACCESS_DENIED', transient: false, metaCode: 101 },
    says: /\bapp\b/,
    saysNot: /report the Meta error code/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an app without the product that the read belongs to',
    link: 'https://github.com/facebook/facebook-php-business-sdk/issues/363',
    block: 'phone',
    response: toRefusal('(#3) Application does not have the capability to make this API call.', 3),
    error: { code: 'META_ACCESS_DENIED', transient: false, metaCode: 3 },
    says: /\bapp\b/,
    saysNot: /store a token that has it/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an owner of the token who has to confirm the account, after which the token works again',
    link: 'https://github.com/pipeboard-co/meta-ads-mcp/pull/134',
    block: 'phone',
    response: toRefusal(
      'Error validating access token: You cannot access the app till you log in to www.facebook.com and follow the instructions given.',
      190,
      459,
    ),
    error: { code: 'META_ACCESS_DENIED', metaCode: 190, metaSubcode: 459 },
    says: /log in/,
    saysNot: /(then|and) store a new token/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'a token that nobody has used for 90 days',
    link: 'https://github.com/MrSwitch/hello.js/issues/548',
    block: 'phone',
    response: toRefusal(
      "The access token is invalid since the user hasn't engaged the app in longer than 90 days.",
      190,
      493,
    ),
    error: { code: 'META_ACCESS_DENIED', metaCode: 190, metaSubcode: 493 },
    says: /system user/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an owner of the token who has changed the password',
    link: 'https://github.com/facebookarchive/php-graph-sdk/issues/937',
    block: 'phone',
    response: toRefusal(
      'Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.',
      190,
      460,
    ),
    error: { code: 'META_ACCESS_DENIED', metaCode: 190, metaSubcode: 460 },
    says: /password/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'an owner of the token who is blocked for calling too fast, while the account is not',
    link: 'https://github.com/facebookarchive/php-graph-sdk/issues/693',
    block: 'phone',
    response: toRefusal(
      'It looks like you were misusing this feature by going too fast. You’ve been blocked from using it.',
      368,
      1_390_008,
    ),
    error: { metaCode: 368, metaSubcode: 1_390_008 },
    says: /owner of the access token/,
    saysNot: /restricted or disabled the account/,
    verdict: 'YES',
    sendable: true,
  },
  {
    what: 'an app that requires a proof made with its secret',
    link: 'https://github.com/amazon-connect/amazon-connect-message-streaming-examples/pull/29',
    block: 'phone',
    response: toRefusal('API calls from the server require an appsecret_proof argument', 100),
    error: { code: 'META_ACCESS_DENIED', transient: false },
    says: /secret/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: 'a number that has moved to another account under new ids',
    link: 'https://github.com/chatwoot/chatwoot/issues/10615',
    block: 'phone',
    response: toRefusal(
      "Unsupported get request. Object with ID '{id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation.",
      100,
      33,
    ),
    error: { code: 'META_ACCESS_DENIED', metaCode: 100, metaSubcode: 33 },
    says: /phone number id/,
    verdict: 'UNKNOWN',
    sendable: false,
  },
  {
    what: "Facebook's error page",
    link: 'https://github.com/huandu/facebook/issues/163',
    block: 'phone',
    response: toPage(500),
    error: { code: 'META_UNAVAILABLE', transient: true },
    says: /try again later/i,
    verdict: 'YES',
    sendable: true,
  },
  {
    what: "Facebook's error page with status 200",
    link: 'https://github.com/facebookarchive/php-graph-sdk/issues/856',
    block: 'phone',
    response: toPage(200),
    error: { code: 'META_UNAVAILABLE', transient: true },
    says: /try again later/i,
    verdict: 'YES',
    sendable: true,
  },
  {
    what: 'an error without type and trace, for an answer that Graph finds too large',
    link: 'https://github.com/facebook/facebook-python-business-sdk/issues/470',
    block: 'waba',
    response: {
      status: 500,
      body: {
        error: {
          message: "Please reduce the amount of data you're asking for, then retry your request",
          code: 1,
        },
      },
    },
    error: { code: 'META_UNAVAILABLE', transient: true, metaCode: 1 },
    says: /try again later/i,
    verdict: 'YES',
    sendable: true,
  },
  {
    what: 'error data that is JSON within a string',
    link: 'https://github.com/facebook/facebook-python-business-sdk/pull/573',
    block: 'profile',
    response: toRefusal('Invalid parameter', 100, 1_815_629, { error_data: '"null"' }),
    error: { metaCode: 100, metaSubcode: 1_815_629 },
    says: /report/i,
    verdict: 'YES',
    sendable: true,
  },
];

function toRefusal(message: string, code: number, subcode?: number, more: Json = {}): RawResponse {
  const error = { message, type: 'OAuthException', code, error_subcode: subcode, ...more };
  return { status: 400, body: { error: { ...error, fbtrace_id: 'AZwsqIu9s-AdksGdQXIH5hs' } } };
}

function toPage(status: number): RawResponse {
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: '<!DOCTYPE html><html lang="en" id="facebook"><head><title>Facebook | Error</title></head></html>',
  };
}

describe('refusals', () => {
  test.each(toCases(refusals))('%s (%s)', async (_what, _link, report) => {
    const { block, response, error, says, saysNot = /^$/, verdict, sendable } = report;
    const { shown, stored } = await refreshWhen({ [block]: response });
    const given = shown.meta[block]!.freshness.error;
    expect(given).toMatchObject(error);
    expect(given!['message']).toMatch(says);
    expect(given!['message']).not.toMatch(saysNot);
    const sendability = { verdict, replyVerdict: verdict };
    expect(shown).toMatchObject({ health: { sendable, sendability } });
    expect(stored).toMatchObject({
      status: 200,
      body: {
        health: { sendable },
        sendability,
        freshness: { [block]: { error: { message: expect.stringMatching(says) } } },
      },
    });
  });
});

type EngineReport = readonly [
  what: string,
  link: string,
  answer: RecordedAnswer,
  shown: { readonly state: string; readonly verdict: string; readonly sendable: boolean },
];

const evolutionApi = 'https://github.com/evolution-foundation/evolution-api/issues';

const closed = { state: 'CLOSE', verdict: 'NO', sendable: false };

const engineReadings: readonly EngineReport[] = [
  [
    'an instance that the manager lists and the engine does not know',
    `${evolutionApi}/1462`,
    recorded.evolutionMissing,
    closed,
  ],
  [
    'the words of the manager: connected',
    'https://github.com/evolution-foundation/evolution-manager/issues/12',
    recorded.evolution('connected'),
    { state: 'OPEN', verdict: 'YES', sendable: true },
  ],
  [
    'the words of the manager: disconnected',
    'https://github.com/evolution-foundation/evolution-manager/issues/12',
    recorded.evolution('disconnected'),
    closed,
  ],
  [
    'a session that another client has replaced',
    `${evolutionApi}/765`,
    {
      status: 200,
      body: '{"instance":{"instanceName":"{name}","state":"close","statusReason":440}}',
    },
    closed,
  ],
  [
    'an instance that stays connecting after its code was read',
    'https://github.com/evolution-foundation/evolution-api-lite/issues/12',
    recorded.evolution('connecting'),
    { state: 'CONNECTING', verdict: 'NO', sendable: false },
  ],
  [
    'a session that is logged out because the number is on the Cloud API too',
    'https://github.com/devlikeapro/waha/issues/1448',
    recorded.evolution('FAILED'),
    closed,
  ],
];

interface EngineFailure {
  readonly code: string;
  /** Of the reply over REST to a request for a live read. */
  readonly status: number;
  readonly verdict: string;
  readonly sendable: boolean;
  readonly says: RegExp;
}

const wrongUrl: EngineFailure = {
  code: 'ENGINE_INVALID_RESPONSE',
  status: 502,
  verdict: 'UNKNOWN',
  sendable: false,
  says: /SESSION_ENGINE_URL/,
};

const engineFailures: readonly (readonly [
  what: string,
  link: string,
  answer: RecordedAnswer,
  expected: EngineFailure,
])[] = [
  [
    'a URL under which the engine has no such path',
    `${evolutionApi}/2216`,
    recorded.evolutionUnknownPath,
    wrongUrl,
  ],
  [
    'an engine of another make',
    'https://github.com/devlikeapro/waha/issues/1838',
    recorded.wahaUnknownPath,
    wrongUrl,
  ],
  [
    'a proxy that redirects http to https',
    'https://github.com/traefik/traefik/issues/1819',
    recorded.redirect,
    wrongUrl,
  ],
  [
    'an error that the engine sends with status 200',
    `${evolutionApi}/2210`,
    { status: 200, body: '{"error":true,"message":"[object Object]"}' },
    wrongUrl,
  ],
  [
    'a state that is null',
    'https://github.com/wwebjs/whatsapp-web.js/issues/139899',
    recorded.nullState,
    { ...wrongUrl, says: /no connection state/ },
  ],
  [
    'a key that the engine refuses for some minutes',
    `${evolutionApi}/2356`,
    recorded.evolutionKeyRefused,
    {
      code: 'ENGINE_ACCESS_DENIED',
      status: 502,
      verdict: 'UNKNOWN',
      sendable: false,
      says: /SESSION_ENGINE_KEY/,
    },
  ],
  [
    'an engine that fails in its own code',
    `${evolutionApi}/2210`,
    {
      status: 500,
      body: '{"status":500,"error":"Internal Server Error","message":["TypeError: Cannot read properties of undefined (reading \'state\')"]}',
    },
    {
      code: 'UNAVAILABLE',
      status: 503,
      verdict: 'YES',
      sendable: true,
      says: /try again later/i,
    },
  ],
];

/** Reads a number that is OPEN, and then reads it again when its engine gives this answer. */
async function refreshWhenEngine(answer: RecordedAnswer) {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'CLOSE' });
  engine.answer(recorded.open);
  const before = await refresh(id, tenant);
  expect(before.rest.body).toMatchObject({ state: 'OPEN', health: { sendable: true } });
  engine.answer(answer);
  const seen = await refresh(id, tenant);
  return { ...seen, stored: await tenant.rest(`/v1/numbers/${id}`) };
}

describe('session engines', () => {
  test.each(engineReadings)('%s (%s)', async (_what, _link, answer, expected) => {
    const { state, verdict, sendable } = expected;
    const { shown, rest, stored } = await refreshWhenEngine(answer);
    expect(shown).toMatchObject({
      state,
      health: {
        sendable,
        sendability: { verdict, replyVerdict: verdict },
        freshness: { source: 'LIVE', error: null },
      },
    });
    expect(rest).toMatchObject({ status: 200, body: { state, health: { sendable } } });
    expect(stored).toMatchObject({ status: 200, body: { state, health: { sendable } } });
  });

  test.each(engineFailures)('%s (%s)', async (_what, _link, answer, expected) => {
    const { code, status, verdict, sendable, says } = expected;
    const { shown, rest, stored } = await refreshWhenEngine(answer);
    const error = { code, message: expect.stringMatching(says) };
    expect(shown).toMatchObject({
      state: 'OPEN',
      health: {
        sendable,
        sendability: { verdict, replyVerdict: verdict },
        freshness: { source: 'SNAPSHOT', error },
      },
    });
    expect(rest).toMatchObject({ status, body: { code, error: expect.stringMatching(says) } });
    expect(stored).toMatchObject({ status: 200, body: { state: 'OPEN', health: { sendable } } });
  });
});
