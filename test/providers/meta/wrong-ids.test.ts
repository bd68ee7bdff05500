// Ids of the wrong kind: what a number answers whose ids were taken from the wrong place in Meta's screens.

import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from '../../admin/command-line.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../../harness.ts';
import {
  type IndependentGraph,
  openIndependentGraph,
  recordedBusiness,
  recordedWaba,
  toRecordedPhone,
} from './independent-graph.ts';

const wabaId = '102290129340398';
const phoneNumberId = '106540352242922';
const businessId = '506914307656634';

const blocks = ['phone', 'profile', 'waba'] as const;

interface Case {
  readonly title: string;
  readonly phoneNumberId: string;
  readonly wabaId: string;
  /** The whole texts, by block; a block that is read well has none. */
  readonly says: Readonly<Partial<Record<'phone' | 'profile' | 'waba', string>>>;
  /** Operations at Meta: one for each block, because nothing is tried again. */
  readonly calls: number;
}

const phoneIsWaba =
  'The stored phone number id is the id of a WhatsApp Business account. Look up the phone number id in WhatsApp Manager and store it with: number update --phone-number-id. Check the other id too: the two may be swapped.';
const wabaIsPhone =
  'The stored WhatsApp Business account id is the id of a phone number. Look up the WhatsApp Business account id in WhatsApp Manager and store it with: number update --waba-id. Check the other id too: the two may be swapped.';

const cases: readonly Case[] = [
  {
    title: 'the id of a portfolio as that of the account',
    phoneNumberId,
    wabaId: businessId,
    says: {
      waba: 'The stored WhatsApp Business account id is the id of a business portfolio. Look up the WhatsApp Business account id in WhatsApp Manager and store it with: number update --waba-id.',
    },
    calls: 3,
  },
  {
    title: 'the phone number id as that of the account',
    phoneNumberId,
    wabaId: phoneNumberId,
    says: { waba: wabaIsPhone },
    calls: 3,
  },
  {
    title: "the account's id as phone number id",
    phoneNumberId: wabaId,
    wabaId,
    says: { phone: phoneIsWaba, profile: phoneIsWaba },
    calls: 3,
  },
  {
    title: 'both ids, swapped',
    phoneNumberId: wabaId,
    wabaId: phoneNumberId,
    says: { phone: phoneIsWaba, profile: phoneIsWaba, waba: wabaIsPhone },
    calls: 3,
  },
];

const failure = 'freshness { error { code message transient metaCode retryAt } }';
const query = `query ($id: ID!) { number(id: $id, refresh: true) {
  health { ${failure} }
  meta { phone { ${failure} } profile { ${failure} } waba { ${failure} } } } }`;

type Shown = { readonly freshness: { readonly error: unknown } } | null;
type Refreshed = {
  readonly number: {
    readonly health: NonNullable<Shown>;
    readonly meta: Readonly<Record<'phone' | 'profile' | 'waba', Shown>> | null;
  };
};

describe('on both APIs', () => {
  const made = new AsyncDisposableStack();
  let graph: IndependentGraph;
  let gateway: TestGateway;
  let tenant: TestTenant;
  beforeAll(async () => {
    graph = made.use(await openIndependentGraph());
    addNodes(graph);
    gateway = made.use(
      await openTestGateway({
        fetch: globalThis.fetch,
        environment: { META_GRAPH_URL: graph.url },
      }),
    );
  });
  beforeEach(async () => {
    tenant = await gateway.addTenant();
    graph.calls.splice(0);
  });
  afterAll(() => made.disposeAsync());

  const refresh = async (id: string) => {
    const { body } = await tenant.graphql<Refreshed>(query, { variables: { id } });
    return body.data!.number;
  };
  const addNumber = ({ phoneNumberId: phone, wabaId: waba }: Case) =>
    tenant.addNumber({ phoneNumberId: phone, wabaId: waba });

  test.each(cases)('GraphQL says what was stored instead: $title', async (stored) => {
    const { id } = await addNumber(stored);
    const { health, meta } = await refresh(id);
    expect(health.freshness.error).toEqual(toError(stored.says.phone));
    for (const block of blocks) {
      // Of a number of which nothing was ever read, only the failure of `health` is shown.
      const shown = meta?.[block]?.freshness.error ?? null;
      expect(shown).toEqual(meta === null ? null : toError(stored.says[block]));
    }
    expect(graph.calls).toHaveLength(stored.calls);
  });

  test.each(cases)(
    'REST says so when nothing of the number could be read: $title',
    async (stored) => {
      const { id } = await addNumber(stored);
      const { status, body } = await tenant.rest<Record<string, unknown>>(
        `/v1/numbers/${id}?refresh=1`,
      );
      const isUnreadable = Object.keys(stored.says).length === 3;
      const refusal = { error: stored.says.phone, code: 'META_ACCESS_DENIED' };
      expect(status).toBe(isUnreadable ? 502 : 200);
      expect(body).toMatchObject(isUnreadable ? refusal : { id });
      expect(graph.calls).toHaveLength(stored.calls);
    },
  );

  test('many numbers with such ids are read in a batch, each once', async () => {
    const ids: string[] = [];
    for (let index = 0; index < 6; index += 1) {
      const phone = `10654035224300${index}`;
      graph.nodes.set(phone, toRecordedPhone(phone, wabaId));
      const stored = { phoneNumberId: phone, wabaId: businessId };
      const credentials = { accessToken: 'EAAshared', appSecret: null };
      // oxlint-disable-next-line no-await-in-loop -- one database
      ids.push((await tenant.addNumber({ ...stored, credentials })).id);
    }
    const fields = `meta { phone { ${failure} } waba { ${failure} } }`;
    const { body } = await tenant.graphql(
      `query ($ids: [ID!]) { numbers(ids: $ids, refresh: true) { ${fields} } }`,
      { variables: { ids } },
    );
    expect(JSON.stringify(body)).toContain('is the id of a business portfolio');
    // The shared account once, and each phone once.
    expect(graph.calls).toHaveLength(ids.length + 1);
    expect(graph.calls.every(({ batch }) => batch === 7)).toBe(true);
  });
});

describe('on the command line', () => {
  const made = new AsyncDisposableStack();
  let line: CommandLine;
  let environment: Readonly<Record<string, string>>;
  beforeAll(async () => {
    const graph = made.use(await openIndependentGraph());
    addNodes(graph);
    environment = { META_GRAPH_URL: graph.url };
    line = made.use(await openCommandLine());
  });
  afterAll(() => made.disposeAsync());

  test('a refresh fails with the advice when both ids are swapped', async () => {
    const tenant = await line.addTenant();
    const added = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Shop --number 16315555555 --provider META --phone-number-id ${wabaId} --waba-id ${phoneNumberId} --credentials - --no-check`,
      { stdin: JSON.stringify({ accessToken: 'EAAswapped' }), environment },
    );
    const { code, stderr } = await line.run(`number refresh ${added.json.id}`, {
      environment,
    });
    expect(code).toBe(1);
    expect(stderr).toContain('META_ACCESS_DENIED');
    expect(stderr).toContain('is the id of a WhatsApp Business account. Look up');
    const shown = await line.run(`number show ${added.json.id}`, { environment, tty: ['stdout'] });
    expect(stripVTControlCharacters(shown.stdout).replaceAll(/\s+/g, ' ')).toContain(phoneIsWaba);
  });
});

function addNodes(graph: IndependentGraph): void {
  graph.nodes.set(wabaId, recordedWaba);
  graph.nodes.set(businessId, recordedBusiness);
  graph.nodes.set(phoneNumberId, toRecordedPhone(phoneNumberId, wabaId));
}

function toError(message: string | undefined): unknown {
  if (message === undefined) return null;
  return { code: 'META_ACCESS_DENIED', message, transient: false, metaCode: 100, retryAt: null };
}
