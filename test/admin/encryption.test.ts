// `keys rotate-encryption` re-encrypts all credentials while the gateway is serving, and can be interrupted at any time.

import { createSecretKey, randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { createGateway } from '../../src/gateway.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { toCredentialPlace } from '../../src/numbers/credentials.ts';
import { credentialTables } from '../../src/admin/store.ts';
import { createVault } from '../../src/secrets.ts';
import { sentinelWabaId } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { type CommandLine, openCommandLine, type RunOptions } from './command-line.ts';

const accessToken = 'EAArotated0123456789abcdefghijk';
const credentials = { accessToken, appSecret: null };
const bytes = { before: randomBytes(32), after: randomBytes(32) };
const toKeys = (...ids: (keyof typeof bytes)[]) =>
  ids.map((id) => ({ id, key: createSecretKey(bytes[id]) }));
const toVariable = (...ids: (keyof typeof bytes)[]) =>
  ids.map((id) => `${id}:${bytes[id].toString('base64')}`).join(',');
const vault = createVault(toKeys('before'));

let line: CommandLine;
let owner: Client;
beforeAll(async () => {
  line = await openCommandLine({ simulator: { tokens: [{ token: accessToken, wabaIds: 'all' }] } });
  owner = new Client({ connectionString: line.database.ownerUrl });
  await owner.connect();
});
afterAll(async () => {
  await owner.end();
  await line[Symbol.asyncDispose]();
});
beforeEach(async () => void (await owner.query('delete from whatsapp_number')));

/** Adds a tenant with this many numbers, whose credentials are encrypted with the former key. */
async function addCredentials(count: number): Promise<string> {
  const tenant = await line.addTenant();
  const ids = Array.from({ length: count }, (_, at) => `${tenant}_${String(at).padStart(4, '0')}`);
  await owner.query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
     select $1, id, '5511999999999', 'Shop', 'META', 'OPEN', 770000000000 + at, $3
     from unnest($2::text[]) with ordinality as n(id, at)`,
    [tenant, ids, sentinelWabaId],
  );
  const sealed = ids.map((id) =>
    vault.seal(JSON.stringify(credentials), toCredentialPlace(tenant, id)),
  );
  await owner.query(
    `insert into number_credential (tenant_id, number_id, sealed)
     select $1, * from unnest($2::text[], $3::text[])`,
    [tenant, ids, sealed],
  );
  return tenant;
}

const rotate = (options: RunOptions = {}, ...keys: (keyof typeof bytes)[]) =>
  line.run('keys rotate-encryption', {
    ...options,
    environment: { ENCRYPTION_KEYS: toVariable(...(keys.length === 0 ? both : keys)) },
  });
const both = ['after', 'before'] as const;

/** Counts the credentials that these keys alone can decrypt. */
async function countDecryptable(...keys: (keyof typeof bytes)[]): Promise<number> {
  const keyring = createVault(toKeys(...keys));
  const { rows } = await owner.query<{ tenant_id: string; number_id: string; sealed: string }>(
    'select * from number_credential',
  );
  return rows.filter(({ tenant_id, number_id, sealed }) => {
    try {
      const text = keyring.open(sealed, toCredentialPlace(tenant_id, number_id));
      return (JSON.parse(text) as typeof credentials).accessToken === accessToken;
    } catch {
      return false;
    }
  }).length;
}

/** Aborts before the batch that follows this many. */
function abortAfter(batches: number): AbortSignal {
  const controller = new AbortController();
  const { signal } = controller;
  let checks = 0;
  const throwIfAborted = () => {
    checks += 1;
    if (checks > batches) controller.abort(new Error('SIGINT'));
    AbortSignal.prototype.throwIfAborted.call(signal);
  };
  return Object.assign(signal, { throwIfAborted });
}

describe('keys rotate-encryption', () => {
  test('re-encrypts the credentials of all tenants, so that the older key can be removed', async () => {
    const tenants = [await addCredentials(120), await addCredentials(3)];
    const result = await rotate();
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.json).toEqual({ rewrapped: 123, alreadyCurrent: 0, failed: 0 });
    expect(Object.keys(result.json)).toEqual(['rewrapped', 'alreadyCurrent', 'failed']);
    expect(await countDecryptable('after')).toBe(123);
    const again = await rotate();
    expect(again.json).toEqual({ rewrapped: 0, alreadyCurrent: 123, failed: 0 });
    const doctor = await line.run<{ checks: { name: string; detail: string }[] }>('doctor', {
      environment: { ENCRYPTION_KEYS: toVariable('after') },
    });
    expect(doctor.json.checks.find(({ name }) => name === 'keys')?.detail).toBe(
      '123 stored credentials can be decrypted',
    );
    const trail = await line.run<{ action: string; details: object }[]>(
      `audit list --tenant ${tenants[1]} --limit 3`,
    );
    expect(trail.json.map(({ action, details }) => [action, details])).toEqual(
      Array.from({ length: 3 }, () => [
        'credentials.rewrapped',
        { encryptionKey: 'after', formerEncryptionKey: 'before' },
      ]),
    );
  });

  test('continues after an interruption; in between, everything can be decrypted', async () => {
    await addCredentials(120);
    // Each tenant of an earlier test has no batch, and is checked once for each table.
    const { rows } = await owner.query<{ others: number }>(
      'select count(*)::int - 1 as others from tenant',
    );
    const others = rows[0]?.others ?? 0;
    const stopped = await rotate({ signal: abortAfter(credentialTables.length * others + 2) });
    expect(stopped).toMatchObject({ code: 1, stdout: '', stderr: 'STOPPED: SIGINT\n' });
    expect(await countDecryptable('after')).toBe(100);
    expect(await countDecryptable(...both)).toBe(120);
    const resumed = await rotate();
    expect(resumed.json).toEqual({ rewrapped: 20, alreadyCurrent: 100, failed: 0 });
    expect(await countDecryptable('after')).toBe(120);
  });

  test('keeps a batch unchanged when the database fails in the middle of it', async () => {
    const tenant = await addCredentials(120);
    await owner.query(
      `create function stop() returns trigger language plpgsql as $$ begin
         if new.number_id = '${tenant}_0070' then raise 'stop' using errcode = '57P01'; end if;
         return new;
       end $$`,
    );
    await owner.query(
      'create trigger stop before update on number_credential for each row execute function stop()',
    );
    const broken = await rotate();
    await owner.query('drop function stop cascade');
    expect(broken.code).toBe(1);
    expect(broken.stderr).toMatch(/^UNAVAILABLE: /);
    expect([await countDecryptable('after'), await countDecryptable(...both)]).toEqual([50, 120]);
    const { rows } = await owner.query<{ count: number }>(
      `select count(*)::int as count from audit where tenant_id = $1 and action = 'credentials.rewrapped'`,
      [tenant],
    );
    expect(rows).toEqual([{ count: 50 }]);
    expect((await rotate()).json).toEqual({ rewrapped: 70, alreadyCurrent: 50, failed: 0 });
  });

  test('reports credentials that cannot be re-encrypted, and re-encrypts the others', async () => {
    const tenant = await addCredentials(3);
    await owner.query(
      `update number_credential set sealed = replace(sealed, 'v1.before.', 'v1.lost.') where number_id = '${tenant}_0001'`,
    );
    const result = await rotate();
    expect(result.code).toBe(1);
    expect(result.json).toEqual({ rewrapped: 2, alreadyCurrent: 0, failed: 1 });
    expect(result.stderr).toMatch(
      new RegExp(
        `^ENCRYPTION: 1 stored .*\\(${tenant}_0001\\).*set-credentials, credential set, or webhook meta add\n$`,
      ),
    );
    // Credentials copied from another row are bound to that row, so they cannot be decrypted.
    await owner.query(
      `update number_credential set sealed = (select sealed from number_credential where number_id = '${tenant}_0000')
       where number_id = '${tenant}_0001'`,
    );
    const moved = await rotate({}, 'before', 'after');
    expect(moved.json).toEqual({ rewrapped: 2, alreadyCurrent: 0, failed: 1 });
  });

  test('shows its progress and a summary on a terminal', async () => {
    await addCredentials(60);
    const result = await rotate({ tty: ['stdout', 'stderr'] });
    expect(result.stdout).toBe(
      'Re-encrypted 60 stored credentials with the first key; 0 already used it. The older keys can be removed.\n',
    );
    expect(result.stderr).toContain(' 0/60 credentials');
    expect(result.stderr).toContain(' 60/60 credentials');
  });
});

test('refreshes and credential updates succeed during rotations, and no credentials are lost', async () => {
  const tenant = await addCredentials(60);
  const ids = Array.from({ length: 60 }, (_, at) => `${tenant}_${String(at).padStart(4, '0')}`);
  for (let at = 1; at <= 60; at += 1) {
    const id = String(770_000_000_000 + at);
    const fields = { status: 'CONNECTED' };
    line.simulator.setPhone({ id, wabaId: sentinelWabaId, fields, profile: null });
  }
  const logLines: string[] = [];
  const environment = { ...line.environment, ENCRYPTION_KEYS: toVariable(...both) };
  await using gateway = await createGateway(parseConfig(readEnvironment(environment)), {
    telemetry: createTelemetry({ level: 'trace', write: (text) => logLines.push(text) }),
  });
  const access = toOperatorAccess(tenant);
  const figures = { rotations: 0, rewrapped: 0, reads: 0, failed: 0, stored: 0 };

  for (let round = 0; round < 3; round += 1) {
    const state = { rotating: true };
    const rotating = async () => {
      for (const keys of [['after', 'before'] as const, ['before', 'after'] as const]) {
        // oxlint-disable-next-line no-await-in-loop -- back and forth
        const result = await rotate({}, ...keys);
        expect(result).toMatchObject({ code: 0, stderr: '', json: { failed: 0 } });
        figures.rotations += 1;
        figures.rewrapped += Number(result.json['rewrapped']);
      }
      state.rotating = false;
    };
    const refreshing = async () => {
      while (state.rotating) {
        const requests = ids.slice(0, 20).map((id) => ({ id, refresh: ['phone'] as const }));
        // oxlint-disable-next-line no-await-in-loop -- one refresh after the other
        const read = await gateway.numbers.getMany(access, requests, AbortSignal.any([]));
        figures.reads += read.length;
        figures.failed += read.filter(
          (it) => it instanceof Error || it.health.freshness?.error !== null,
        ).length;
      }
    };
    const storing = async () => {
      for (const id of ids.slice(20, 40)) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await gateway.numbers.setCredentials(id, credentials);
        figures.stored += 1;
      }
    };
    // oxlint-disable-next-line no-await-in-loop -- one round after the other
    await Promise.all([rotating(), refreshing(), storing()]);
  }

  console.log(`rotation while refreshes run: ${JSON.stringify(figures)}`);
  expect(figures).toMatchObject({ rotations: 6, failed: 0, stored: 60 });
  expect(figures.reads).toBeGreaterThan(0);
  expect(await countDecryptable(...both)).toBe(60);
  expect(logLines.filter((text) => text.includes('cannot be opened'))).toEqual([]);
  expect((await rotate()).json).toMatchObject({ failed: 0 });
  expect(await countDecryptable('after')).toBe(60);
});
