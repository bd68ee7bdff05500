// What happens at the simulated Meta while it runs, through the gateway: what is announced is accepted and has its effect, and
// what is not announced is found by the next read.

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  addPhone,
  alertAccount,
  announceAccount,
  banAccount,
  changeLimit,
  changePhone,
  changePin,
  changeProfile,
  changeSession,
  changeThroughput,
  changeToken,
  changeWaba,
  combine,
  decideName,
  flag,
  type FleetChange,
  removePhone,
  restrictAccount,
  reviewAccount,
  unflag,
} from '../../src/simulator/changes.ts';
import { createWebhookSender, type WebhookSender } from '../../src/simulator/webhooks.ts';
import {
  createDigits,
  openTestGateway,
  type TestGateway,
  type TestNumber,
  type TestTenant,
  toHealthyPhone,
} from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
  // A second event of an account within two seconds is read later, by the job.
  gateway.gateway.startJobs();
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Opened extends AsyncDisposable {
  readonly tenant: TestTenant;
  readonly sender: WebhookSender;
  readonly number: TestNumber;
  /** The portfolio of the number's account. */
  readonly businessId: string;
  /** Makes the change, and sends what Meta announces of it. Returns the words of the announcements. */
  announce(change: FleetChange): Promise<readonly string[]>;
}

/** A tenant with one number, which was read, and an endpoint for webhooks. */
async function open(): Promise<Opened> {
  const tenant = await gateway.addTenant();
  const businessId = createDigits();
  const number = await tenant.addNumber({
    waba: { owner_business_info: { id: businessId, name: 'Acme' } },
  });
  await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
  const { path } = await gateway.gateway.webhooks.add({
    tenantId: tenant.id,
    proof: 'SIGNED',
    appSecrets: [appSecret],
  });
  const sender = createWebhookSender({
    url: `http://gateway.test${path}`,
    appSecret,
    fetch: gateway.fetch,
  });
  return {
    tenant,
    sender,
    number,
    businessId,
    async announce(change) {
      const events = gateway.simulator.change(change);
      await sender.send(events);
      expect(sender.countWaiting()).toBe(0);
      return events.map(({ field, value }) =>
        [field, value['event'] ?? value['decision'] ?? ''].join(' ').trim(),
      );
    },
    [Symbol.asyncDispose]: () => sender[Symbol.asyncDispose](),
  };
}

const document = `query ($id: ID!) { number(id: $id) {
  state
  health { qualityRating metaStatus messagingLimitTier sendability { verdict } freshness { error { code } } }
  meta {
    phone { verifiedName nameStatus isPinEnabled throughputLevel }
    profile { about }
    waba { name accountReviewStatus }
  }
} }`;

type Facts = Readonly<Record<string, unknown>>;

/** What the gateway has stored of the number, in one object. */
async function readFacts(tenant: TestTenant, id: string): Promise<Facts> {
  const { body } = await tenant.graphql<{ number: any }>(document, { variables: { id } });
  const { health, meta, state } = body.data?.number ?? {};
  const { sendability, freshness, ...words } = health;
  const { verdict } = sendability;
  const error = freshness?.error?.code ?? null;
  return { state, ...words, verdict, error, ...meta?.phone, ...meta?.profile, ...meta?.waba };
}

const later = new Date('2026-12-04T14:00:00Z');

/** A change, the words of its announcements, and what is stored afterwards. */
type Step = readonly [change: FleetChange, words: readonly string[], stored: Facts];

interface Ids extends TestNumber {
  readonly businessId: string;
}

const yellow = ({ phoneNumberId }: TestNumber) =>
  changePhone(phoneNumberId, { quality_rating: 'YELLOW' });

describe('what Meta announces is accepted, and read', () => {
  test.concurrent.each<readonly [string, (ids: Ids) => readonly Step[]]>([
    [
      'a phone is flagged, and recovers',
      ({ phoneNumberId }) => [
        [
          flag(phoneNumberId),
          ['phone_number_quality_update FLAGGED'],
          { qualityRating: 'RED', metaStatus: 'FLAGGED' },
        ],
        [
          unflag(phoneNumberId),
          ['phone_number_quality_update UNFLAGGED'],
          { qualityRating: 'GREEN', metaStatus: 'CONNECTED' },
        ],
      ],
    ],
    [
      'the throughput of a phone is raised, and lowered',
      ({ phoneNumberId }) => [
        [
          changeThroughput(phoneNumberId, 'HIGH'),
          ['phone_number_quality_update THROUGHPUT_UPGRADE'],
          { throughputLevel: 'HIGH' },
        ],
        [
          changeThroughput(phoneNumberId, 'STANDARD'),
          ['phone_number_quality_update THROUGHPUT_DOWNGRADE'],
          { throughputLevel: 'STANDARD' },
        ],
      ],
    ],
    [
      'a name is in review, and approved',
      ({ phoneNumberId }) => [
        [
          decideName(phoneNumberId, { name: 'Café Çınar', decision: 'DEFERRED' }),
          ['phone_number_name_update DEFERRED'],
          { verifiedName: 'Lucky Shrub', nameStatus: 'PENDING_REVIEW' },
        ],
        [
          decideName(phoneNumberId, { name: 'Café Çınar', decision: 'APPROVED' }),
          ['phone_number_name_update APPROVED'],
          { verifiedName: 'Café Çınar', nameStatus: 'APPROVED' },
        ],
      ],
    ],
    [
      'a name is rejected',
      ({ phoneNumberId }) => [
        [
          decideName(phoneNumberId, {
            name: '!!!',
            decision: 'REJECTED',
            reason: 'NAME_FORMAT_UNACCEPTABLE',
          }),
          ['phone_number_name_update REJECTED'],
          { verifiedName: 'Lucky Shrub', nameStatus: 'DECLINED' },
        ],
      ],
    ],
    [
      'a PIN is removed, and set',
      ({ phoneNumberId }) => [
        [
          combine(
            changePin(phoneNumberId, 'PIN_RESET_REQUEST', 'Somebody'),
            changePin(phoneNumberId, 'PIN_REQUEST_SUCCESS'),
          ),
          ['security PIN_RESET_REQUEST', 'security PIN_REQUEST_SUCCESS'],
          { isPinEnabled: false },
        ],
        [changePin(phoneNumberId, 'PIN_CHANGED'), ['security PIN_CHANGED'], { isPinEnabled: true }],
      ],
    ],
    [
      'the limit of a portfolio is raised',
      ({ businessId }) => [
        [
          changeLimit(businessId, 'TIER_100K'),
          ['business_capability_update'],
          { messagingLimitTier: 'TIER_100K' },
        ],
      ],
    ],
    [
      'an account is rejected in its review',
      ({ wabaId }) => [
        [
          reviewAccount(wabaId, 'REJECTED'),
          ['account_review_update REJECTED'],
          { accountReviewStatus: 'REJECTED' },
        ],
      ],
    ],
    [
      'an account is disabled, and reinstated',
      ({ wabaId }) => [
        [
          banAccount(wabaId, 'DISABLE', 'April 17, 2025'),
          ['account_update DISABLED_UPDATE'],
          { verdict: 'NO', error: 'META_ACCESS_DENIED' },
        ],
        [
          banAccount(wabaId, 'REINSTATE', 'April 18, 2025'),
          ['account_update DISABLED_UPDATE'],
          { verdict: 'YES', error: null },
        ],
      ],
    ],
    [
      'an account is restricted, and violates a policy',
      (ids) => [
        [
          combine(
            restrictAccount(ids.wabaId, [
              { type: 'RESTRICTED_ADD_PHONE_NUMBER_ACTION', expiresAt: later },
            ]),
            yellow(ids),
          ),
          ['account_update ACCOUNT_RESTRICTION'],
          { qualityRating: 'YELLOW' },
        ],
        [
          combine(
            announceAccount(ids.wabaId, {
              event: 'ACCOUNT_VIOLATION',
              violation_info: { violation_type: 'ADULT' },
            }),
            changeWaba(ids.wabaId, { name: 'Renamed' }),
          ),
          ['account_update ACCOUNT_VIOLATION'],
          { name: 'Renamed' },
        ],
      ],
    ],
    [
      'there is an alert about a phone, and one about a portfolio',
      (ids) => [
        [
          combine(
            alertAccount(ids.wabaId, {
              type: 'PROFILE_PICTURE_LOST',
              description: 'The picture was removed.',
              phoneId: ids.phoneNumberId,
            }),
            yellow(ids),
          ),
          ['account_alerts'],
          { qualityRating: 'YELLOW' },
        ],
        [
          combine(
            alertAccount(ids.wabaId, {
              type: 'INCREASED_CAPABILITIES_ELIGIBILITY_DEFERRED',
              description: 'Not enough conversations yet.',
            }),
            changeWaba(ids.wabaId, { name: 'Renamed' }),
          ),
          ['account_alerts'],
          { name: 'Renamed' },
        ],
      ],
    ],
  ])('%s', async (_, toSteps) => {
    await using opened = await open();
    const { tenant, number, businessId } = opened;
    for (const [change, words, stored] of toSteps({ ...number, businessId })) {
      // oxlint-disable no-await-in-loop -- one after the other
      expect(await readFacts(tenant, number.id)).not.toMatchObject(stored);
      expect(await opened.announce(change)).toEqual(words);
      const isStored = async () => expect(await readFacts(tenant, number.id)).toMatchObject(stored);
      await vi.waitFor(isStored, { timeout: 10_000 });
      // oxlint-enable no-await-in-loop
    }
  });

  test('a phone is added, which the gateway does not know: those of its account are read', async () => {
    await using opened = await open();
    const { tenant, number } = opened;
    const fields = { display_phone_number: '+55 11 91234-5678' };
    const added = addPhone(toHealthyPhone(createDigits(), number.wabaId, fields));
    const changed = yellow(number);
    expect(await opened.announce(combine(added, changed))).toEqual([
      'phone_number_quality_update ONBOARDING',
    ]);
    const isRead = async () =>
      expect(await readFacts(tenant, number.id)).toMatchObject({ qualityRating: 'YELLOW' });
    await vi.waitFor(isRead, { timeout: 10_000 });
  });
});

describe('what nobody announces is found by the next read', () => {
  test('a quality, a profile, and a phone that is removed', async () => {
    await using opened = await open();
    const { tenant, number } = opened;
    const read = async () => {
      await tenant.rest(`/v1/numbers/${number.id}?refresh=1`);
      return await readFacts(tenant, number.id);
    };
    const { phoneNumberId } = number;
    const changed = combine(
      changePhone(phoneNumberId, { quality_rating: 'YELLOW', status: 'RATE_LIMITED' }),
      changeProfile(phoneNumberId, { about: 'Closed on Mondays' }),
    );
    expect(await opened.announce(changed)).toEqual([]);
    expect(await read()).toMatchObject({
      qualityRating: 'YELLOW',
      metaStatus: 'RATE_LIMITED',
      about: 'Closed on Mondays',
    });
    expect(await opened.announce(removePhone(phoneNumberId))).toEqual([]);
    expect(await read()).toMatchObject({ error: 'META_ACCESS_DENIED', qualityRating: 'YELLOW' });
  });

  test('a token that is refused, and repaired', async () => {
    await using other = await openTestGateway({
      simulator: { tokens: [{ token: 'a-token-of-the-tests', wabaIds: 'all' }] },
    });
    const tenant = await other.addTenant();
    const credentials = { accessToken: 'a-token-of-the-tests', appSecret: null };
    const { id } = await tenant.addNumber({ credentials });
    const read = async (state: 'valid' | 'invalid') => {
      expect(other.simulator.change(changeToken(credentials.accessToken, state))).toEqual([]);
      await tenant.rest(`/v1/numbers/${id}?refresh=1`);
      return (await readFacts(tenant, id))['error'];
    };
    expect(await read('invalid')).toBe('META_ACCESS_DENIED');
    expect(await read('valid')).toBeNull();
    expect(() => other.simulator.change(changeToken('another', 'valid'))).toThrow('no such token');
  });

  test('a session that disconnects and reconnects', async () => {
    const tenant = await gateway.addTenant();
    const { id, instanceName } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    const read = async (state: string) => {
      expect(gateway.simulator.change(changeSession(instanceName, state))).toEqual([]);
      await tenant.rest(`/v1/numbers/${id}?refresh=1`);
      const { state: stored, verdict } = await readFacts(tenant, id);
      return [stored, verdict];
    };
    expect(await read('close')).toEqual(['CLOSE', 'NO']);
    expect(await read('connecting')).toEqual(['CONNECTING', 'NO']);
    expect(await read('open')).toEqual(['OPEN', 'YES']);
  });

  test('nothing of a fleet that lacks it', () => {
    const { simulator } = gateway;
    for (const [change, message] of [
      [flag('404'), 'The simulator has no phone 404.'],
      [removePhone('404'), 'The simulator has no phone 404.'],
      [reviewAccount('404', 'APPROVED'), 'The simulator has no account 404.'],
      [changeLimit('404', 'TIER_2K'), 'The simulator has no account of 404.'],
    ] as const) {
      expect(() => simulator.change(change)).toThrow(message);
    }
  });
});
