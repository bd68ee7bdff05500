// The commands of the model test that create, change and expire keys and credentials.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import { aProcess, lifetimesMs, pick, place, type Scene, toCommand } from './frame.ts';
import type { ModelStage } from './stage.ts';
import { isUsable, type KnownKey, type KnownNumber, type Model, toModelTime } from './state.ts';

const hasKeys = (model: Readonly<Model>) => model.keys.length > 0;

const createKey = fc
  .tuple(aProcess, place, fc.boolean(), fc.option(fc.constantFrom(...lifetimesMs)))
  .map(([process, at, isBound, lifetimeMs]) =>
    toCommand(
      `process ${process} creates a key, ${isBound ? 'bound to' : 'beside'} number ${at}, for ${lifetimeMs} ms`,
      async ({ model, stage, now }) => {
        const number = pick(model.numbers, at);
        const made = await stage.processes[process]!.gateway.access.createKey({
          tenantId: number.tenant.id,
          name: `${number.tenant.marker} key ${model.keys.length}`,
          numberId: isBound ? number.id : null,
          expiresAt: lifetimeMs === null ? null : new Date(now + lifetimeMs),
        });
        addKey(model, number.tenant, isBound ? number : null, made);
      },
    ),
  );

type MadeKey = Awaited<
  ReturnType<ModelStage['processes'][number]['gateway']['access']['createKey']>
>;

function addKey(
  model: Model,
  tenant: KnownKey['tenant'],
  number: KnownNumber | null,
  { id, key, name, expiresAt: end }: MadeKey & { readonly name: string },
): void {
  const expiresAt = end === null ? null : toModelTime(model, end.getTime());
  model.keys.push({ tenant, id, key, name, number, expiresAt, isRevoked: false, isRotated: false });
  tenant.audit.push(`key.created ${id}`);
}

const rotateKey = fc
  .tuple(aProcess, place, fc.constantFrom(...lifetimesMs))
  .map(([process, at, overlapMs]) =>
    toCommand(
      `process ${process} rotates key ${at}, which stays valid for ${overlapMs} ms`,
      (scene) => rotate(scene, process, pick(scene.model.keys, at), overlapMs),
      hasKeys,
    ),
  );

async function rotate(
  { model, stage, now }: Scene,
  process: number,
  old: KnownKey,
  overlapMs: number,
): Promise<void> {
  const rotated = stage.processes[process]!.gateway.access.rotateKey(old.id, overlapMs);
  if (old.isRotated || !isUsable(old, toModelTime(model, now))) {
    await expect(rotated).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    return;
  }
  const made = await rotated;
  expect(made).toMatchObject({ name: old.name, numberId: old.number?.id ?? null });
  expect(made.expiresAt && toModelTime(model, made.expiresAt.getTime())).toBe(old.expiresAt);
  old.tenant.audit.push(`key.rotated ${old.id}`);
  addKey(model, old.tenant, old.number, made);
  old.isRotated = true;
  const end = toModelTime(model, now) + overlapMs;
  old.expiresAt = Math.min(old.expiresAt ?? end, end);
  await expectListed({ model, stage, now }, process, old);
}

/** The listed key is that of the model. It may expire later by the duration of a command. */
async function expectListed(
  { model, stage }: Scene,
  process: number,
  { tenant, id, expiresAt, isRevoked }: KnownKey,
): Promise<void> {
  const listed = await stage.processes[process]!.gateway.access.listKeys(tenant.id);
  const shown = listed.find((key) => key.id === id);
  expect(shown?.revokedAt !== null).toBe(isRevoked);
  const end = shown?.expiresAt ? toModelTime(model, shown.expiresAt.getTime()) : null;
  expect(end).toSatisfy((ms: number | null) =>
    ms === null || expiresAt === null ? ms === expiresAt : Math.abs(ms - expiresAt) < 9_000,
  );
}

const revokeKey = fc.tuple(aProcess, place).map(([process, at]) =>
  toCommand(
    `process ${process} revokes key ${at}`,
    async (scene) => {
      const key = pick(scene.model.keys, at);
      await scene.stage.processes[process]!.gateway.access.revokeKey(key.id);
      if (!key.isRevoked) key.tenant.audit.push(`key.revoked ${key.id}`);
      key.isRevoked = true;
      await expectListed(scene, process, key);
    },
    hasKeys,
  ),
);

const expireKey = place.map((at) =>
  toCommand(
    `an operator lets key ${at} expire in the database`,
    async ({ model, stage, now }) => {
      const key = pick(model.keys, at);
      await stage.query(
        `update api_key set expires_at = clock_timestamp() - interval '1 second' where id = $1`,
        [key.id],
      );
      key.expiresAt = toModelTime(model, now) - 1_000;
      key.tenant.audit.push(`key.expiry-changed ${key.id}`);
    },
    hasKeys,
  ),
);

const replaceToken = fc.tuple(aProcess, place).map(([process, at]) =>
  toCommand(`process ${process} replaces the token of number ${at}`, async ({ model, stage }) => {
    const official = model.numbers.filter(({ provider }) => provider === 'META');
    const { id, tenant } = pick(official, at);
    model.values += 1;
    const { marker } = tenant;
    const credentials = { accessToken: `EAA${marker}${model.values}`, appSecret: `${marker} app` };
    await stage.processes[process]!.gateway.numbers.setCredentials(id, credentials);
    tenant.audit.push(`credentials.replaced ${id}`);
  }),
);

export const keyCommands = [createKey, rotateKey, revokeKey, expireKey, replaceToken];
