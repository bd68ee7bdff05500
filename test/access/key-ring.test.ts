// Tenants and keys as operators manage them: what is returned, what is refused and what is audited.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMeter } from '../../src/http/request-context.ts';
import { type AccessControl, createAccessControl } from '../../src/access/access.ts';
import { createKey, isKey, toKeyHash } from '../../src/access/key.ts';
import { databases, openTestDatabase, type TestDatabase } from '../harness.ts';

const pepper = 'a pepper of at least thirty-two characters';

describe.each(databases)('on %s', (kind) => {
  let database: TestDatabase;
  let access: AccessControl;
  beforeAll(async () => {
    database = await openTestDatabase(kind);
    access = createAccessControl({ database, pepper });
  });
  afterAll(() => database[Symbol.asyncDispose]());

  const requestMeter = createMeter();
  const authenticate = async (key: string) =>
    await access.authenticate({
      headers: new Headers({ 'x-api-key': key }),
      receivedAt: 7,
      clientAddress: 'unknown',
      meter: requestMeter,
    });
  const countFound = async (key: string, call: string) =>
    (await database.query(`select id from ${call}($1)`, [toKeyHash(key, pepper)])).length;
  const addTenant = async () => (await access.createTenant('Tenant')).id;
  const addKey = async (tenantId: string, expiresAt: Date | null = null) =>
    await access.createKey({ tenantId, name: 'till', numberId: null, expiresAt });
  const addNumber = async (tenantId: string, id: string) =>
    await database.query(
      `insert into whatsapp_number (tenant_id, id, number, name, provider, state)
       values ($1, $2, '5511999999999', 'Number', 'PILOT_STATUS', 'OPEN')`,
      [tenantId, id],
    );

  describe('a tenant', () => {
    test('is listed from its creation on, under a random id or the given one', async () => {
      const [first, second] = [await access.createTenant('One'), await access.createTenant('Two')];
      const third = await access.createTenant('Three', 'ten_three');
      expect([first.id, second.id]).toEqual([
        expect.stringMatching(/^ten_[0-9a-f]{32}$/),
        expect.stringMatching(/^ten_[0-9a-f]{32}$/),
      ]);
      expect(first.id).not.toBe(second.id);
      expect(third).toEqual({ id: 'ten_three', name: 'Three', createdAt: expect.any(Date) });
      expect(await access.getTenant('ten_three')).toEqual(third);
      const listed = await access.listTenants();
      expect(listed).toEqual(expect.arrayContaining([first, second, third]));
      expect(listed.map(({ createdAt }) => createdAt.getTime())).toEqual(
        listed.map(({ createdAt }) => createdAt.getTime()).toSorted((a, b) => a - b),
      );
    });

    test('that does not exist is not found by any command', async () => {
      const missing = expect.objectContaining({
        code: 'TENANT_NOT_FOUND',
        message: 'There is no tenant ten_none; see: tenant list.',
      });
      const request = { tenantId: 'ten_none', name: 'till', numberId: null, expiresAt: null };
      for (const command of [
        () => access.getTenant('ten_none'),
        () => access.listKeys('ten_none'),
        () => access.listAudit('ten_none', 10),
        () => access.createKey(request),
      ]) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await expect(command()).rejects.toEqual(missing);
      }
    });
  });

  describe('a key', () => {
    test('is returned once, and then identified by its first and last characters', async () => {
      const tenantId = await addTenant();
      const numberId = `wa_${tenantId}`;
      await addNumber(tenantId, numberId);
      const expiresAt = new Date('2100-01-02T03:04:05.678Z');
      const { key, ...made } = await access.createKey({
        tenantId,
        name: 'till',
        numberId,
        expiresAt,
      });
      expect(isKey(key)).toBe(true);
      expect(made).toEqual({
        id: expect.stringMatching(/./),
        tenantId,
        numberId,
        scopes: ['read'],
        name: 'till',
        keyPrefix: key.slice(0, 7),
        keyLast4: key.slice(-4),
        createdAt: expect.any(Date),
        expiresAt,
        revokedAt: null,
        lastUsedAt: null,
      });
      expect(await access.listKeys(tenantId)).toEqual([made]);
      const { meter, ...identity } = await authenticate(key);
      expect(identity).toEqual({
        tenantId,
        keyId: made.id,
        numberId,
        scopes: ['read'],
        receivedAt: 7,
      });
      expect(meter).toBe(requestMeter);
    });

    test('can be given by the operator', async () => {
      const tenantId = await addTenant();
      const given = createKey();
      const request = { tenantId, name: 'demo', numberId: null, expiresAt: null, key: given };
      const { key, id } = await access.createKey(request);
      expect(key).toBe(given);
      expect(await authenticate(given)).toMatchObject({ tenantId, keyId: id, numberId: null });
    });

    test('has the scopes that it is created with, once each', async () => {
      const tenantId = await addTenant();
      const { key } = await access.createKey({
        tenantId,
        name: 'relay',
        numberId: null,
        scopes: ['webhooks', 'read', 'webhooks'],
        expiresAt: null,
      });
      // Twice, because the use of a key is recorded with its first verification.
      expect((await authenticate(key)).scopes).toEqual(['read', 'webhooks']);
      expect((await authenticate(key)).scopes).toEqual(['read', 'webhooks']);
    });

    test('that cannot read is not found by the previous release', async () => {
      const tenantId = await addTenant();
      const request = { tenantId, name: 'relay', numberId: null, expiresAt: null };
      const made = [
        await access.createKey(request),
        await access.createKey({ ...request, scopes: ['webhooks'] }),
        await access.createKey({ ...request, scopes: ['read', 'webhooks'] }),
      ];
      for (const call of ['find_api_key', 'use_api_key']) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        const found = await Promise.all(made.map(({ key }) => countFound(key, call)));
        expect([call, ...found]).toEqual([call, 1, 0, 1]);
      }
    });

    test('is refused under another pepper', async () => {
      const { key } = await addKey(await addTenant());
      const others = createAccessControl({ database, pepper: `${pepper}!` });
      const headers = new Headers({ 'x-api-key': key });
      await expect(
        others.authenticate({
          headers,
          receivedAt: 0,
          clientAddress: 'unknown',
          meter: createMeter(),
        }),
      ).rejects.toMatchObject({
        code: 'UNAUTHENTICATED',
        message:
          'Send a valid API key in the x-api-key header, or as a Bearer token: the key is missing, malformed, unknown, expired or revoked.',
      });
    });

    test('cannot be bound to a number that the tenant does not have', async () => {
      const [tenantId, other] = [await addTenant(), await addTenant()];
      await addNumber(other, `wa_${other}`);
      for (const numberId of ['wa_none', `wa_${other}`]) {
        const request = { tenantId, name: 'till', numberId, expiresAt: null };
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await expect(access.createKey(request)).rejects.toMatchObject({
          code: 'NUMBER_NOT_FOUND',
          message: `The tenant has no number ${numberId}; see: number list --tenant ${tenantId}.`,
        });
      }
      expect(await access.listKeys(tenantId)).toEqual([]);
    });

    test('that cannot be stored for another reason is refused with that reason', async () => {
      const tenantId = await addTenant();
      const { key } = await addKey(tenantId);
      const request = { tenantId, name: 'again', numberId: null, expiresAt: null, key };
      await expect(access.createKey(request)).rejects.toMatchObject({ code: '23505' });
    });

    test('is listed in the order of creation', async () => {
      const tenantId = await addTenant();
      const made = [await addKey(tenantId), await addKey(tenantId), await addKey(tenantId)];
      // Keys with the same time of creation are listed in the order of their ids.
      await database.query(
        `update api_key set created_at = '2026-01-01T00:00:00Z'
         where tenant_id = $1 and id <> $2`,
        [tenantId, made[0]!.id],
      );
      const [, ...others] = made.map(({ id }) => id);
      const listed = (await access.listKeys(tenantId)).map(({ id }) => id);
      expect(listed).toEqual([...others.toSorted(), made[0]!.id]);
    });

    test('that is revoked twice keeps the time of the first revocation', async () => {
      const { id, key, tenantId } = await addKey(await addTenant());
      const revoked = await access.revokeKey(id);
      expect(revoked).toMatchObject({ id, tenantId, revokedAt: expect.any(Date) });
      expect(await access.revokeKey(id)).toEqual(revoked);
      expect(await access.listKeys(tenantId)).toEqual([revoked]);
      await expect(authenticate(key)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    });

    test('that does not exist can be neither revoked nor rotated', async () => {
      const missing = {
        code: 'KEY_NOT_FOUND',
        message: 'There is no usable key key_none; see: key list --tenant ID.',
      };
      await expect(access.revokeKey('key_none')).rejects.toMatchObject(missing);
      await expect(access.rotateKey('key_none', 0)).rejects.toMatchObject(missing);
    });
  });

  describe('a rotation', () => {
    test('creates a key with the name, number, scopes and expiry of the old one', async () => {
      const tenantId = await addTenant();
      const numberId = `wa_${tenantId}`;
      await addNumber(tenantId, numberId);
      const expiresAt = new Date(Date.now() + 86_400_000);
      const old = await access.createKey({ tenantId, name: 'till', numberId, expiresAt });
      const before = Date.now();
      const { key, ...made } = await access.rotateKey(old.id, 60_000);
      expect(isKey(key)).toBe(true);
      expect(key).not.toBe(old.key);
      expect(made).toMatchObject({
        tenantId,
        name: 'till',
        numberId,
        scopes: ['read'],
        expiresAt,
        revokedAt: null,
        keyPrefix: key.slice(0, 7),
        keyLast4: key.slice(-4),
      });
      const [ending, next] = await access.listKeys(tenantId);
      expect(next).toEqual(made);
      const overlapMs = ending!.expiresAt!.getTime() - before;
      expect(overlapMs).toBeGreaterThan(59_000);
      expect(overlapMs).toBeLessThan(120_000);
      await authenticate(old.key);
      await authenticate(key);
    });

    test('does not extend the expiry of the old key', async () => {
      const expiresAt = new Date(Date.now() + 60_000);
      const { id, tenantId } = await addKey(await addTenant(), expiresAt);
      await access.rotateKey(id, 3_600_000);
      const listed = await access.listKeys(tenantId);
      expect(listed.map((key) => key.expiresAt)).toEqual([expiresAt, expiresAt]);
    });

    test.each([
      ['is revoked', (id: string) => access.revokeKey(id)],
      [
        'has expired',
        (id: string) => database.query(`update api_key set expires_at = now() where id = $1`, [id]),
      ],
      ['was rotated', (id: string) => access.rotateKey(id, 60_000)],
    ])('creates no key when the old one %s', async (_, end) => {
      const { id, tenantId } = await addKey(await addTenant());
      await end(id);
      const before = await access.listKeys(tenantId);
      await expect(access.rotateKey(id, 60_000)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
      expect(await access.listKeys(tenantId)).toEqual(before);
    });
  });

  test('the audit trail is listed from the newest entry, up to the limit', async () => {
    const { id, tenantId, key } = await addKey(await addTenant());
    const next = await access.rotateKey(id, 60_000);
    await access.revokeKey(next.id);
    const entries = await access.listAudit(tenantId, 10);
    expect(entries.map(({ action, subject }) => `${action} ${subject}`)).toEqual([
      `key.revoked ${next.id}`,
      `key.created ${next.id}`,
      `key.rotated ${id}`,
      `key.created ${id}`,
    ]);
    expect(entries[3]).toEqual({
      id: expect.stringMatching(/^aud_/),
      at: expect.any(Date),
      actor: 'operator',
      action: 'key.created',
      subject: id,
      details: expect.objectContaining({ name: 'till', keyLast4: key.slice(-4) }),
    });
    expect(await access.listAudit(tenantId, 2)).toEqual(entries.slice(0, 2));
    const other = await addKey(await addTenant());
    expect(await access.listAudit(other.tenantId, 10)).toHaveLength(1);
  });
});
