// A tenant with 10,000 numbers whose lists are requested by a hundred callers at once, half of them compressed, beside a tenant
// with few numbers.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rulesVersion } from '../../src/numbers/phone-reasons.ts';
import { report, toPercentile } from './figures.ts';
import { type LoadResponse, startCallers, startRate, toTally } from './load.ts';
import { type Observed, openStage, type Stage } from './stage.ts';

const loadMs = Number(process.env['LARGE_LISTS_SECONDS'] ?? 20) * 1_000;
const callers = 100;
const numbers = 10_000;

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({ numbers: [1, 5] });
  const [large] = stage.tenants;
  await stage.query(
    `insert into whatsapp_number (tenant_id, number, name, provider, state, phone_number_id, waba_id)
     select $1, '5511' || i, 'Number ' || i, 'META', 'OPEN', (20000000 + i)::text, '700000'
     from generate_series(2, ${numbers}) i`,
    [large!.id],
  );
  await stage.query(
    `insert into number_snapshot (tenant_id, number_id, block, data, observed_at, attempted_at, verdict,
       data_verdict, data_reply_verdict, rules_version, judged_at)
     select tenant_id, id, block, data, now(), now(), case block when 'phone' then 'YES' end,
       case block when 'phone' then 'YES' end, case block when 'phone' then 'YES' end, $3, now()
     from whatsapp_number, jsonb_each($2) as blocks(block, data) where tenant_id = $1`,
    [large!.id, JSON.stringify({ phone: toPhone(), profile: toProfile() }), rulesVersion],
  );
  await stage.query(
    `insert into waba_snapshot (tenant_id, waba_id, data, observed_at, attempted_at)
     values ($1, '700000', $2, now(), now())`,
    [large!.id, JSON.stringify({ id: '700000', name: 'Lucky Shrub', currency: 'USD' })],
  );
  await stage.query('analyze');
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

function toPhone() {
  const entities = ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP'].map((entityType, index) => ({
    entityType,
    id: `50691430765663${index}`,
    canSendMessage: 'AVAILABLE',
    additionalInfo: [],
    errors: [],
  }));
  return {
    displayPhoneNumber: '+55 11 99999-9999',
    verifiedName: 'Lucky Shrub',
    qualityRating: 'GREEN',
    messagingLimitTier: 'TIER_2K',
    isPinEnabled: true,
    status: 'CONNECTED',
    nameStatus: 'APPROVED',
    codeVerificationStatus: 'VERIFIED',
    platformType: 'CLOUD_API',
    throughputLevel: 'STANDARD',
    accountMode: 'LIVE',
    lastOnboardedAt: '2026-07-01T08:30:00.000Z',
    healthStatus: { canSendMessage: 'AVAILABLE', entities },
  };
}

function toProfile() {
  const websites = ['https://shop.example/', 'https://shop.example/help'];
  return { about: 'Hello', vertical: 'RETAIL', websites, email: 'hello@shop.example' };
}

const query = `{ numbers {
  id name health { qualityRating sendability { verdict } freshness { ageSeconds } }
  meta {
    phone { verifiedName status freshness { ageSeconds } }
    profile { about freshness { ageSeconds } }
    waba { name freshness { ageSeconds } }
  }
} }`;

describe(`${callers} callers that list ${numbers} numbers with their ages`, () => {
  test.each([
    { what: 'with the response cache', environment: {} },
    { what: 'without the response cache', environment: { ANSWER_CACHE_MB: '0' } },
  ])('$what', async ({ what, environment }) => {
    await using gateway = await stage.startGateway(environment);
    const [large, small] = stage.tenants;
    const url = `${gateway.url}/graphql`;
    const body = JSON.stringify({ query });
    const others = startRate(20, () => ({ url: `${gateway.url}/v1/numbers`, key: small!.key }));
    const load = startCallers(callers, (index) => ({
      url,
      key: large!.key,
      body,
      ...(index % 2 === 0 && { acceptEncoding: 'br, gzip' }),
    }));
    let [inUse, resident] = [0, 0];
    const endsAt = performance.now() + loadMs;
    while (performance.now() < endsAt && gateway.isAlive()) {
      // oxlint-disable no-await-in-loop -- sampled until the end
      await delay(500);
      if (!gateway.isAlive()) break;
      const memory = await readMemory(gateway.observe());
      [inUse, resident] = [Math.max(inUse, memory.inUse), Math.max(resident, memory.resident)];
      // oxlint-enable no-await-in-loop
    }
    const lists = await load.stop();
    const responses = await others.stop();
    const p95 = toPercentile(
      responses.map(({ durationMs }) => durationMs),
      0.95,
    );
    const failed = responses.filter(({ status }) => status !== 200).length;
    const complete = lists.filter((it) => it.status === 200 && !isRefusal(it));
    const compressed = complete.filter((it) => it.contentEncoding !== null);
    const refused = lists.filter(isRefusal);
    const wrong = lists.length - complete.length - refused.length;
    expect(
      report(
        `${callers} callers list ${numbers} numbers with their ages for ${loadMs / 1_000} s, ${what}: the process survives, each list is answered or refused as UNAVAILABLE, and another tenant has no failure and a p95 below 500 ms`,
        `alive: ${gateway.isAlive()}, ${complete.length} lists answered, ${compressed.length} of them compressed, ${refused.length} refused, ${wrong} otherwise (${toTally(lists)}); other tenant: ${failed} of ${responses.length} failed (${toTally(responses)}), p95 ${Math.round(p95)} ms; memory at most ${toMegabytes(inUse)} MB in use (heap and Buffers), ${toMegabytes(resident)} MB resident`,
        gateway.isAlive() &&
          wrong === 0 &&
          complete.length > compressed.length &&
          compressed.length > 0 &&
          failed === 0 &&
          p95 < 500,
      ),
    ).toBe(true);
  });
});

/** GraphQL reports it in a response with status 200. */
function isRefusal({ status, body }: LoadResponse): boolean {
  return status === 503 || (body.length < 1_000 && body.includes('"code":"UNAVAILABLE"'));
}

const toMegabytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

/** In bytes; 0 when the process ends before it answers. */
async function readMemory(observed: Promise<Observed>) {
  const unknown = { heapUsed: 0, external: 0, rss: 0 };
  const answered = observed.catch(() => unknown);
  const { heapUsed, external, rss } = await Promise.race([answered, delay(5_000, unknown)]);
  return { inUse: heapUsed + external, resident: rss };
}
