// Fields that Graph refuses: each costs itself alone, on every node, and the requests that find it out are made once an hour.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  createRefusedFields,
  type FieldReader,
} from '../../../src/providers/meta/refused-fields.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../../harness.ts';
import {
  type IndependentGraph,
  openIndependentGraph,
  recorded,
  recordedWaba,
  type RecordedNode,
  toRecordedPhone,
} from './independent-graph.ts';

const wabaId = '102290129340398';
const phoneNumberId = '106540352242922';

const error = 'freshness { error { code metaCode message } }';
const query = `query ($id: ID!) { number(id: $id, refresh: true) { meta {
  phone { displayPhoneNumber verifiedName qualityRating isPinEnabled metaStatus: status nameStatus accountMode
    lastOnboardedAt isOfficialBusinessAccount isOnBusinessApp ${error} }
  profile { about email websites vertical address description ${error} }
  waba { id name currency country businessVerificationStatus ownerBusinessName timezoneId ${error} } } } }`;

/** All that the query asks for. */
const everything = {
  phone: {
    displayPhoneNumber: '+1 631-555-5555',
    verifiedName: "Jasper's Market",
    qualityRating: 'GREEN',
    isPinEnabled: true,
    metaStatus: 'CONNECTED',
    nameStatus: 'APPROVED',
    accountMode: 'LIVE',
    lastOnboardedAt: '2026-07-01T08:30:00.000Z',
    isOfficialBusinessAccount: false,
    isOnBusinessApp: false,
    freshness: { error: null },
  },
  profile: {
    about: 'Hey there! I am using WhatsApp.',
    email: 'user@server.com',
    websites: ['https://example.org/'],
    vertical: 'PROF_SERVICES',
    address: '123 Main St',
    description: 'Business Description',
    freshness: { error: null },
  },
  waba: {
    id: wabaId,
    name: 'Lucky Shrub',
    currency: 'USD',
    country: 'US',
    businessVerificationStatus: 'VERIFIED',
    ownerBusinessName: 'Lucky Shrub Inc',
    timezoneId: '1',
    freshness: { error: null },
  },
};

type Block = keyof typeof everything;

interface Case {
  readonly title: string;
  readonly block: Block;
  /** Makes the node refuse fields. */
  readonly change: (node: RecordedNode) => RecordedNode;
  /** The members that are null because of it. */
  readonly lost: readonly string[];
  /** Operations of the first read of the block. */
  readonly calls: number;
}

const withoutFields =
  (...names: readonly string[]) =>
  (node: RecordedNode): RecordedNode => ({ ...node, fields: without(node.fields, names) });

const denying =
  (deniedError: (typeof recorded)['fieldDenied' | 'ownerDenied'], ...fields: readonly string[]) =>
  (node: RecordedNode): RecordedNode => ({ ...node, denied: { fields, error: deniedError } });

const cases: readonly Case[] = [
  {
    title: 'one field that the phone does not have',
    block: 'phone',
    change: withoutFields('is_on_biz_app'),
    lost: ['isOnBusinessApp'],
    calls: 2,
  },
  {
    title: 'two fields, one of them of the core',
    block: 'phone',
    change: withoutFields('is_pin_enabled', 'is_official_business_account'),
    lost: ['isPinEnabled', 'isOfficialBusinessAccount'],
    calls: 3,
  },
  {
    title: 'three fields of the core',
    block: 'phone',
    change: withoutFields('status', 'name_status', 'account_mode'),
    lost: ['metaStatus', 'nameStatus', 'accountMode'],
    calls: 4,
  },
  {
    title: 'two fields that the account does not have',
    block: 'waba',
    change: withoutFields('country', 'owner_business_info'),
    lost: ['country', 'ownerBusinessName'],
    calls: 3,
  },
  {
    title: 'two fields that the profile does not have',
    block: 'profile',
    change: (node) => ({ ...node, profile: without(node.profile ?? {}, ['email', 'vertical']) }),
    lost: ['email', 'vertical'],
    calls: 3,
  },
  {
    title: 'a permission that is missing for a risky field, which Graph does not say',
    block: 'phone',
    change: denying(recorded.fieldDenied, 'is_official_business_account'),
    lost: ['isOfficialBusinessAccount'],
    // All; a probe; core and risky; each of the four risky ones.
    calls: 8,
  },
  {
    title: 'a permission that is missing for a field of the core and a risky one',
    block: 'phone',
    change: denying(recorded.fieldDenied, 'is_on_biz_app', 'account_mode'),
    lost: ['isOnBusinessApp', 'accountMode'],
    // As above; and the core, of 12 fields, in halves of 6, 3, 2 and 1.
    calls: 16,
  },
  {
    title: 'a permission that is missing for the owner of the account, which Graph names',
    block: 'waba',
    change: denying(recorded.ownerDenied, 'owner_business_info'),
    lost: ['ownerBusinessName'],
    calls: 2,
  },
  {
    title: 'a permission that is missing for the verification and the owner of the account',
    block: 'waba',
    change: denying(recorded.fieldDenied, 'business_verification_status', 'owner_business_info'),
    lost: ['businessVerificationStatus', 'ownerBusinessName'],
    // All; a probe; core and the risky one; of the core 5 and 5; of both, 3 and 2; of both pairs, each field.
    calls: 14,
  },
  {
    title: 'a permission that is missing for the e-mail address of the profile',
    block: 'profile',
    change: (node) => ({ ...node, denied: { fields: ['email'], error: recorded.fieldDenied } }),
    lost: ['email'],
    calls: 8,
  },
];

describe('on both APIs', () => {
  const made = new AsyncDisposableStack();
  let graph: IndependentGraph;
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    graph = made.use(await openIndependentGraph());
    gateway = made.use(
      await openTestGateway({
        fetch: globalThis.fetch,
        environment: { META_GRAPH_URL: graph.url },
      }),
    );
  });
  beforeEach(async () => {
    tenant = await gateway.addTenant();
    graph.nodes.clear();
    graph.nodes.set(wabaId, recordedWaba);
    graph.nodes.set(phoneNumberId, toRecordedPhone(phoneNumberId, wabaId));
    graph.calls.splice(0);
  });
  afterAll(() => made.disposeAsync());

  /** Makes a node refuse fields. */
  const refuse = ({ block, change }: Case): void => {
    const id = block === 'waba' ? wabaId : phoneNumberId;
    graph.nodes.set(id, change(graph.nodes.get(id)!));
  };
  const read = async (id: string): Promise<Record<Block, Record<string, unknown>>> => {
    const { body } = await tenant.graphql<{
      number: { meta: Record<Block, Record<string, unknown>> };
    }>(query, { variables: { id } });
    return body.data!.number.meta;
  };
  const countCalls = (block: Block): number =>
    graph.calls.filter(({ id, edge }) => toBlock(id, edge) === block).length;

  test.each(cases)('GraphQL shows all but the refused members: $title', async (refusal) => {
    refuse(refusal);
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    const lost = Object.fromEntries(refusal.lost.map((name) => [name, null]));
    const expected = {
      ...everything,
      [refusal.block]: { ...everything[refusal.block], ...lost },
    };
    expect(await read(id)).toEqual(expected);
    expect(countCalls(refusal.block)).toBe(refusal.calls);

    graph.calls.splice(0);
    expect(await read(id)).toEqual(expected);
    // What was refused is remembered.
    expect(graph.calls).toHaveLength(3);
  });

  test.each(cases)('REST shows all but the refused members: $title', async (refusal) => {
    refuse(refusal);
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    const { status, body } = await tenant.rest<{ meta: Record<Block, Record<string, unknown>> }>(
      `/v1/numbers/${id}?refresh=1`,
    );
    expect(status).toBe(200);
    const shown = Object.entries(body.meta[refusal.block]);
    expect(shown.filter(([, value]) => value === null).map(([name]) => name)).toEqual(
      refusal.lost.filter((name) => restMembers[refusal.block].includes(name)),
    );
  });

  test('another number of the token costs no extra calls, and another token finds out for itself', async () => {
    graph.nodes.set(
      phoneNumberId,
      withoutFields('health_status')(toRecordedPhone(phoneNumberId, wabaId)),
    );
    const other = '106540352242923';
    graph.nodes.set(other, withoutFields('health_status')(toRecordedPhone(other, wabaId)));
    const add = async (phone: string, accessToken: string) =>
      (
        await tenant.addNumber({
          phoneNumberId: phone,
          wabaId,
          credentials: { accessToken, appSecret: null },
        })
      ).id;
    await read(await add(phoneNumberId, 'EAAshared'));
    graph.calls.splice(0);
    await read(await add(other, 'EAAshared'));
    expect(countCalls('phone')).toBe(1);
    const stranger = await gateway.addTenant();
    graph.calls.splice(0);
    tenant = stranger;
    await read(await add(phoneNumberId, 'EAAother'));
    expect(countCalls('phone')).toBe(2);
  });

  test('numbers that refuse different fields share their batches, and each loses its own', async () => {
    const fields = ['is_pin_enabled', 'status', 'throughput', 'account_mode', 'is_on_biz_app'];
    const ids: string[] = [];
    for (const [index, field] of fields.entries()) {
      const phone = `10654035224400${index}`;
      graph.nodes.set(phone, denying(recorded.fieldDenied, field)(toRecordedPhone(phone, wabaId)));
      const credentials = { accessToken: 'EAAbatch', appSecret: null };
      // oxlint-disable-next-line no-await-in-loop -- one database
      ids.push((await tenant.addNumber({ phoneNumberId: phone, wabaId, credentials })).id);
    }
    const { body } = await tenant.graphql<{
      numbers: { meta: { phone: Record<string, unknown> } }[];
    }>(
      `query ($ids: [ID!]) { numbers(ids: $ids, refresh: true) { meta { phone {
         isPinEnabled status throughputLevel accountMode isOnBusinessApp verifiedName } } } }`,
      { variables: { ids } },
    );
    const lost = body.data!.numbers.map(({ meta }) =>
      Object.entries(meta.phone).flatMap(([name, value]) => (value === null ? [name] : [])),
    );
    expect(lost).toEqual([
      ['isPinEnabled'],
      ['status'],
      ['throughputLevel'],
      ['accountMode'],
      ['isOnBusinessApp'],
    ]);
    // All fields of the five phones, then five probes.
    expect(graph.calls.slice(0, 5).every(({ batch }) => batch === 5)).toBe(true);
    expect(graph.calls.slice(5, 10)).toMatchObject(
      Array.from({ length: 5 }, () => ({ fields: ['id'], batch: 5 })),
    );
  });

  test('a node that denies everything is asked twice, and fails with the reason', async () => {
    const denied = { ...recordedWaba, error: recorded.permissionDenied };
    graph.nodes.set(wabaId, denied);
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    const { waba } = await read(id);
    expect(waba).toMatchObject({
      name: null,
      freshness: { error: { code: 'META_ACCESS_DENIED', metaCode: 200 } },
    });
    expect(countCalls('waba')).toBe(2);
  });

  test('an app that Meta has blocked is asked once for each block', async () => {
    for (const node of [wabaId, phoneNumberId]) {
      graph.nodes.set(node, { ...graph.nodes.get(node)!, error: recorded.blocked });
    }
    const { id } = await tenant.addNumber({ phoneNumberId, wabaId });
    const { body } = await tenant.rest<{ error: string }>(`/v1/numbers/${id}?refresh=1`);
    expect(body.error).toBe(
      "Meta has blocked the app of the access token, or its owner. A new token of the app does not help. Open the app in Meta's App Dashboard and complete what is required there, or store a token of another app.",
    );
    expect(graph.calls).toHaveLength(3);
  });
});

describe('what is remembered', () => {
  afterEach(() => void vi.useRealTimers());

  const reader: FieldReader = {
    block: 'phone',
    id: phoneNumberId,
    wabaId,
    credentials: { accessToken: 'EAAtoken', appSecret: null },
  };
  const other: FieldReader = { ...reader, id: '106540352242923' };
  const elsewhere: FieldReader = { ...other, wabaId: '102290129340399' };
  const fields = ['status', 'health_status'];

  test('ends after an hour', () => {
    vi.useFakeTimers({ now: 0, toFake: ['Date'] });
    const refused = createRefusedFields();
    refused.refuse(reader, 'health_status', 'NONEXISTENT');
    vi.setSystemTime(3_599_999);
    expect(refused.listAllowed(reader, fields)).toEqual(['status']);
    vi.setSystemTime(3_600_000);
    expect(refused.listAllowed(reader, fields)).toEqual(fields);
  });

  test('a field that does not exist is left out for all nodes of the type, not of others', () => {
    const refused = createRefusedFields();
    refused.refuse(reader, 'health_status', 'NONEXISTENT');
    expect(refused.listAllowed(elsewhere, fields)).toEqual(['status']);
    expect(refused.listAllowed({ ...reader, block: 'waba' }, fields)).toEqual(fields);
  });

  test('a denied field is left out for all nodes of the account, not of others', () => {
    const refused = createRefusedFields();
    refused.refuse(reader, 'health_status', 'DENIED');
    expect(refused.listAllowed(other, fields)).toEqual(['status']);
    expect(refused.listAllowed(elsewhere, fields)).toEqual(fields);
  });

  test.each(['NONEXISTENT', 'DENIED'] as const)(
    'a field that another node has given is left out for one node alone: %s',
    (refusal) => {
      const refused = createRefusedFields();
      refused.accept(other, fields);
      refused.refuse(reader, 'health_status', refusal);
      expect(refused.listAllowed(reader, fields)).toEqual(['status']);
      expect(refused.listAllowed(other, fields)).toEqual(fields);
    },
  );

  test('other credentials are asked for everything', () => {
    const refused = createRefusedFields();
    refused.refuse(reader, 'health_status', 'NONEXISTENT');
    const credentials = { accessToken: 'EAAother', appSecret: null };
    expect(refused.listAllowed({ ...reader, credentials }, fields)).toEqual(fields);
  });

  test('when all fields were refused, all are asked for', () => {
    const refused = createRefusedFields();
    for (const field of fields) refused.refuse(reader, field, 'DENIED');
    expect(refused.listAllowed(reader, fields)).toEqual(fields);
  });
});

/** The members of REST, by block. */
const restMembers: Readonly<Record<Block, readonly string[]>> = {
  phone: [
    'displayPhoneNumber',
    'verifiedName',
    'qualityRating',
    'messagingLimitTier',
    'isPinEnabled',
  ],
  profile: ['about', 'email', 'websites', 'vertical'],
  waba: ['id', 'name', 'currency', 'businessVerificationStatus', 'country'],
};

function toBlock(id: string, edge: string | null): Block {
  if (edge !== null) return 'profile';
  return id === wabaId ? 'waba' : 'phone';
}

function without(
  fields: Readonly<Record<string, string>>,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}
