// Authentication against the database: which keys are accepted, when their use is recorded, and what is audited.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMeter } from '../../src/http/request-context.ts';
import { createAccessControl } from '../../src/access/access.ts';
import { createKey, createKeyCache } from '../../src/access/key.ts';
import { databases, openTestDatabase, openTestGateway, type TestDatabase } from '../harness.ts';

const pepper = 'a pepper of at least thirty-two characters';
const refused = expect.objectContaining({ code: 'UNAUTHENTICATED' });

const requestWith = (key: string | null, clientAddress = '203.0.113.7') => ({
  headers: new Headers(key === null ? {} : { 'x-api-key': key }),
  receivedAt: 0,
  clientAddress,
  meter: createMeter(),
});

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;
  beforeAll(async () => {
    // The clock stands still, so the feed stays current however busy the machine is.
    database = await openTestDatabase(kind, { changeFeed: { clock: () => 0 } });
  });
  afterAll(() => database[Symbol.asyncDispose]());

  const clock = { ms: 0 };
  const open = () => createAccessControl({ database, pepper, clock: () => clock.ms });

  async function addKey(expiresAt: Date | null = null) {
    const access = open();
    const { id: tenantId } = await access.createTenant('Keys');
    const made = await access.createKey({ tenantId, name: 'till', numberId: null, expiresAt });
    return { access, ...made };
  }

  const openWithCache = async () => {
    const { changes } = database;
    const keyCache = createKeyCache({ changes, clock: () => clock.ms });
    await changes.catchUp();
    return createAccessControl({ database, pepper, keyCache, clock: () => clock.ms });
  };
  const countStatements = async (work: () => Promise<unknown>): Promise<number> => {
    database.clearStatements();
    await work().catch(() => undefined);
    return database.statements.length;
  };
  const readUse = async (id: string): Promise<number | null> => {
    const [row] = await database.query<{ used: Date | null }>(
      'select last_used_at as used from api_key where id = $1',
      [id],
    );
    return row?.used?.getTime() ?? null;
  };
  const setUsedAMinuteAgo = (id: string) =>
    database.query(
      `update api_key set last_used_at = clock_timestamp() - interval '61 seconds' where id = $1`,
      [id],
    );

  describe('a process', () => {
    test('queries the database once for a well-formed key, and never for a malformed one', async () => {
      const { access, key } = await addKey();
      const changed = `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`;
      database.clearStatements();
      for (const malformed of [
        null,
        '',
        'ps_',
        changed,
        `${key}0`,
        key.toLowerCase(),
        'Bearer x',
      ]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await expect(async () => access.authenticate(requestWith(malformed))).rejects.toEqual(
          refused,
        );
      }
      expect(database.statements).toEqual([]);
      await access.authenticate(requestWith(key));
      await access.authenticate(requestWith(key));
      await expect(async () => access.authenticate(requestWith(createKey()))).rejects.toEqual(
        refused,
      );
      expect(database.statements).toHaveLength(3);
    });

    test('refuses a key with the first request after another process revoked it', async () => {
      const { access, key, id } = await addKey();
      const other = open();
      await access.authenticate(requestWith(key));
      await other.authenticate(requestWith(key));
      await open().revokeKey(id);
      const requests = [access, other].map((it) => it.authenticate(requestWith(key)));
      const outcomes = await Promise.allSettled(requests);
      expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    });

    test('accepts a rotated key until the overlap ends', async () => {
      const { access, key, id } = await addKey();
      const next = await access.rotateKey(id, 3_600_000);
      await access.authenticate(requestWith(key));
      await access.authenticate(requestWith(next.key));
      // The clock of the database decides, so its row is moved into the past.
      await database.query(
        `update api_key set expires_at = expires_at - interval '1 hour' where id = $1`,
        [id],
      );
      await expect(async () => access.authenticate(requestWith(key))).rejects.toEqual(refused);
      await access.authenticate(requestWith(next.key));
    });
  });

  test('a key expires to the millisecond', async () => {
    const [{ now } = { now: new Date() }] = await database.query<{ now: Date }>(
      'select clock_timestamp() as now',
    );
    const expiresAt = new Date(now.getTime() + 1_000);
    const { access, key, id } = await addKey(expiresAt);
    const authenticateBeforeExpiry = async (shift: string) => {
      await database.query(
        `update api_key set expires_at = clock_timestamp() + $2::interval where id = $1`,
        [id, shift],
      );
      return await (async () => access.authenticate(requestWith(key)))().then(
        () => 'accepted',
        () => 'refused',
      );
    };
    expect(await authenticateBeforeExpiry('1 second')).toBe('accepted');
    expect(await authenticateBeforeExpiry('-1 millisecond')).toBe('refused');
    expect(await authenticateBeforeExpiry('-1 second')).toBe('refused');
  });

  describe('a process with a key cache', () => {
    test('queries the database for a key once a minute, to record its use', async () => {
      const { key } = await addKey();
      const access = await openWithCache();
      const statements: number[] = [];
      for (const ms of [0, 1, 59_999, 60_000, 60_001]) {
        clock.ms = ms;
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        statements.push(await countStatements(async () => access.authenticate(requestWith(key))));
      }
      clock.ms = 0;
      expect(statements).toEqual([1, 0, 0, 1, 0]);
    });

    test('accepts a cached key until it expires, without a notification', async () => {
      const { key } = await addKey(new Date(Date.now() + 50_000));
      const access = await openWithCache();
      const authenticate = () => countStatements(async () => access.authenticate(requestWith(key)));
      expect([await authenticate(), await authenticate()]).toEqual([1, 0]);
      clock.ms = 20_000;
      expect(await authenticate()).toBe(0);
      clock.ms = 50_000;
      expect(await authenticate()).toBe(1);
      clock.ms = 0;
    });

    test('refuses a key with the first request after it was revoked here or by any other client of the database', async () => {
      const access = await openWithCache();
      for (const revoke of [
        (id: string) => access.revokeKey(id),
        (id: string) => database.query('update api_key set revoked_at = now() where id = $1', [id]),
        (id: string) => database.query('delete from api_key where id = $1', [id]),
      ]) {
        // oxlint-disable no-await-in-loop -- one after the other
        const { key, id } = await addKey();
        await database.changes.catchUp();
        await access.authenticate(requestWith(key));
        expect(await countStatements(async () => access.authenticate(requestWith(key)))).toBe(0);
        await revoke(id);
        await expect(async () => access.authenticate(requestWith(key))).rejects.toEqual(refused);
        // oxlint-enable no-await-in-loop
      }
    });

    test('refuses a rotated key when the overlap has ended', async () => {
      const access = await openWithCache();
      const { key, id } = await addKey();
      await access.authenticate(requestWith(key));
      const next = await access.rotateKey(id, 0);
      await expect(async () => access.authenticate(requestWith(key))).rejects.toEqual(refused);
      await access.authenticate(requestWith(next.key));
    });
  });

  describe('the use of a key', () => {
    test('is recorded with the first request, in the same statement', async () => {
      const { access, key, id } = await addKey();
      expect(await readUse(id)).toBeNull();
      database.clearStatements();
      await access.authenticate(requestWith(key));
      expect(database.statements).toHaveLength(1);
      expect(await readUse(id)).not.toBeNull();
    });

    test('is recorded once a minute by a process, however often the key is used', async () => {
      const { access, key, id } = await addKey();
      database.clearStatements();
      for (const ms of [0, 1, 59_999, 60_000, 60_001, 119_999, 120_000]) {
        clock.ms = ms;
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await access.authenticate(requestWith(key));
      }
      clock.ms = 0;
      const recorded = database.statements.map((sql) => sql.includes('use_scoped_key'));
      expect(recorded).toEqual([true, false, false, true, false, false, true]);
      expect(await readUse(id)).not.toBeNull();
    });

    test('is recorded once a minute by all processes together', async () => {
      const { key, id } = await addKey();
      await open().authenticate(requestWith(key));
      const first = await readUse(id);
      await open().authenticate(requestWith(key));
      expect(await readUse(id)).toBe(first);
      await setUsedAMinuteAgo(id);
      await open().authenticate(requestWith(key));
      expect(await readUse(id)).toBeGreaterThanOrEqual(first ?? Infinity);
    });

    test('is not recorded for a key that is refused', async () => {
      const { access, key, id } = await addKey();
      await access.revokeKey(id);
      await expect(async () => access.authenticate(requestWith(key))).rejects.toEqual(refused);
      expect(await readUse(id)).toBeNull();
    });

    test('is not audited', async () => {
      const { access, key, tenantId } = await addKey();
      await access.authenticate(requestWith(key));
      expect((await access.listAudit(tenantId, 10)).map(({ action }) => action)).toEqual([
        'key.created',
      ]);
    });
  });

  describe('the audit trail', () => {
    test('is rolled back with the change', async () => {
      const { access, id, tenantId } = await addKey();
      const rollback = new Error('rollback');
      const revoking = database.withTenant(tenantId, async (transaction) => {
        await transaction
          .updateTable('api_key')
          .set({ revoked_at: new Date() })
          .where('id', '=', id)
          .execute();
        const seen = await transaction.selectFrom('audit').select('action').execute();
        expect(seen.map(({ action }) => action).toSorted()).toEqual(['key.created', 'key.revoked']);
        throw rollback;
      });
      await expect(revoking).rejects.toBe(rollback);
      expect(await access.listAudit(tenantId, 10)).toHaveLength(1);
    });

    test('records changes by other clients of the database', async () => {
      const { access, id, tenantId } = await addKey();
      const statements = [
        `update api_key set expires_at = '2100-01-02T03:04:05Z' where id = $1`,
        'delete from api_key where id = $1',
      ];
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      for (const statement of statements) await database.query(statement, [id]);
      const trail = await access.listAudit(tenantId, 10);
      expect(trail.map(({ action }) => action)).toEqual([
        'key.deleted',
        'key.expiry-changed',
        'key.created',
      ]);
      expect(trail[1]?.details).toMatchObject({ expiresAt: '2100-01-02T03:04:05.000Z' });
    });
  });
});

describe('two gateways on one PostgreSQL', () => {
  test('both refuse a key with the first request after its revocation was committed', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    const environment = { API_KEY_PEPPER: pepper };
    await using one = await openTestGateway({ database, environment });
    await using other = await openTestGateway({ database, environment });
    const tenant = await one.addTenant();
    const requestBoth = async () => {
      const responses = [one, other].map((it) => it.rest('/v1/numbers', { key: tenant.key }));
      return (await Promise.all(responses)).map(({ status }) => status);
    };
    expect(await requestBoth()).toEqual([200, 200]);
    const started = performance.now();
    await one.access.revokeKey(tenant.keyId);
    expect(await requestBoth()).toEqual([401, 401]);
    const ms = performance.now() - started;
    console.log(`revoked by one gateway, refused by both after ${ms.toFixed(1)} ms (bar: 1000 ms)`);
    expect(ms).toBeLessThan(1_000);
  });

  test('a request does not wait for a transaction that changes its key', async () => {
    await using database = await openTestDatabase('PostgreSQL');
    await using gateway = await openTestGateway({ database });
    const { id, key, keyId } = await gateway.addTenant();
    const status = await database.withTenant(id, async (transaction) => {
      await transaction
        .selectFrom('api_key')
        .select('id')
        .where('id', '=', keyId)
        .forUpdate()
        .execute();
      return (await gateway.rest('/v1/numbers', { key })).status;
    });
    expect(status).toBe(200);
  });
});

describe('credentials', () => {
  test('are audited when they are stored and when they are replaced, without the secrets', async () => {
    await using gateway = await openTestGateway();
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const credentials = { accessToken: 'EAAanother0123456789abcdef', appSecret: null };
    await gateway.numbers.setCredentials(id, credentials);
    const trail = await gateway.access.listAudit(tenant.id, 10);
    expect(trail.map(({ action, subject, details }) => ({ action, subject, details }))).toEqual([
      {
        action: 'credentials.replaced',
        subject: id,
        details: { encryptionKey: 'test', formerEncryptionKey: 'test' },
      },
      { action: 'credentials.stored', subject: id, details: { encryptionKey: 'test' } },
      expect.objectContaining({ action: 'key.created' }),
    ]);
  });
});
