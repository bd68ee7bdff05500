// Tests that stored verdicts count only for the data and the rules that they were made of, also while two releases run at once.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countVerdictsAcrossTenants } from '../../src/numbers/verdict-store.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** A number that Meta calls FLAGGED, which the first edition of the rules called NO. */
async function addFlagged(): Promise<{ readonly tenant: TestTenant; readonly id: string }> {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ phone: { status: 'FLAGGED' } });
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  return { tenant, id };
}

async function read(tenant: TestTenant, id: string) {
  const { body: rest } = await tenant.rest<Record<string, any>>(`/v1/numbers/${id}`);
  const { body } = await tenant.graphql<Record<string, any>>('{ numbers { health { sendable } } }');
  const [summary] = body.data!['numbers'];
  const { body: full } = await tenant.graphql<Record<string, any>>(
    `{ number(id: "${id}") { health { sendable sendability { verdict replyVerdict } } } }`,
  );
  const { sendable, sendability } = full.data!['number'].health;
  expect([rest['health'].sendable, summary.health.sendable]).toEqual([sendable, sendable]);
  return { sendable, ...sendability };
}

const canSend = { sendable: true, verdict: 'YES', replyVerdict: 'YES' };

/** The columns that the previous release knows, as its upsert writes them. */
async function writeAsPreviousRelease(id: string, status: string, verdict: string | null) {
  await gateway.database.query(
    `update number_snapshot set data = data || jsonb_build_object('status', $2::text),
       observed_at = observed_at + interval '1 second', attempted_at = attempted_at + interval '1 second',
       recorded_at = clock_timestamp(), failure = null, verdict = coalesce($3, verdict)
     where number_id = $1 and block = 'phone'`,
    [id, status, verdict],
  );
}

describe('a verdict that is stored', () => {
  test.each([
    ['without a version', 'rules_version = null, judged_at = null, data_verdict = null'],
    ['by older rules', `rules_version = 1, data_verdict = 'NO'`],
    ['by later rules', `rules_version = 3, data_verdict = 'NO'`],
  ])('%s is computed again from the evidence', async (_, changes) => {
    const { tenant, id } = await addFlagged();
    await gateway.database.query(
      `update number_snapshot set verdict = 'NO', ${changes} where number_id = $1`,
      [id],
    );
    expect(await read(tenant, id)).toEqual(canSend);
  });

  test('for data that the previous release has replaced is computed again', async () => {
    const { tenant, id } = await addFlagged();
    await writeAsPreviousRelease(id, 'RESTRICTED', 'NO');
    expect(await read(tenant, id)).toEqual({ sendable: false, verdict: 'NO', replyVerdict: 'YES' });
    await writeAsPreviousRelease(id, 'FLAGGED', 'NO');
    expect(await read(tenant, id)).toEqual(canSend);
  });

  test('by the rules of this release is not computed again for a summary', async () => {
    const { tenant, id } = await addFlagged();
    await gateway.database.query(
      `update number_snapshot set verdict = 'NO' where number_id = $1 and block = 'phone'`,
      [id],
    );
    gateway.clearStatements();
    const { body } = await tenant.graphql<Record<string, any>>(
      '{ numbers { health { sendable } } }',
    );
    expect(body.data!['numbers']).toEqual([{ health: { sendable: false } }]);
  });

  test('stays the last one that was supported when the previous release reads no evidence', async () => {
    const { tenant, id } = await addFlagged();
    await writeAsPreviousRelease(id, 'UNKNOWN', null);
    expect(await read(tenant, id)).toEqual({
      sendable: true,
      verdict: 'UNKNOWN',
      replyVerdict: 'UNKNOWN',
    });
  });
});

test('until this release has read them, numbers are counted as the previous release judged them', async () => {
  await using own = await openTestGateway();
  const tenant = await own.addTenant();
  for (const status of ['CONNECTED', 'FLAGGED']) {
    // oxlint-disable no-await-in-loop -- one after the other
    const { id } = await tenant.addNumber({ phone: { status } });
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    // oxlint-enable no-await-in-loop
  }
  const both = { YES: 2, NO: 0, UNKNOWN: 0 };
  expect(await countVerdictsAcrossTenants(own.database, false)).toEqual({
    verdict: both,
    replyVerdict: both,
  });
  await own.database.query(
    `update number_snapshot set rules_version = null, data_verdict = null, data_reply_verdict = null, judged_at = null,
       verdict = case data ->> 'status' when 'FLAGGED' then 'NO' else 'YES' end where block = 'phone'`,
  );
  expect(await countVerdictsAcrossTenants(own.database, false)).toEqual({
    verdict: { YES: 1, NO: 1, UNKNOWN: 0 },
    replyVerdict: { YES: 1, NO: 0, UNKNOWN: 1 },
  });
});
