// Runs the model test: any commands in any order, on new tenants in each run.

import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { createDigits, type DatabaseKind } from '../harness.ts';
import { setUpstream, createCommands, finalCheck } from './commands.ts';
import { type ModelStage, openModelStage } from './stage.ts';
import type { KnownNumber, KnownTenant, Model } from './state.ts';

export interface ModelRunOptions {
  readonly kind: DatabaseKind;
  /** The same seed gives the same commands. */
  readonly seed: number;
  readonly runs: number;
  readonly commandsOfRun: number;
  /** A difference is reported by then, even if a shorter list of commands might still be found. */
  readonly timeLimitMs: number;
}

/**
 * Resolves to the number of commands that were run. Rejects with the difference from the model, and with the shortest list
 * of commands that causes it.
 */
export async function runModel(options: ModelRunOptions): Promise<number> {
  const { kind, seed, runs: numRuns, commandsOfRun, timeLimitMs } = options;
  await using stage = await openModelStage(kind);
  let steps = 0;
  const property = fc.asyncProperty(createCommands(commandsOfRun), async (commands) => {
    const model = await createModel(stage);
    try {
      await fc.asyncModelRun(() => ({ model, real: stage }), commands);
      await finalCheck.run(model, stage);
    } finally {
      if (model.slow !== null) await stage.crash(model.slow.process);
      steps += model.steps;
    }
  });
  await fc.assert(property, { seed, numRuns, interruptAfterTimeLimit: timeLimitMs });
  return steps;
}

/** Two tenants with three numbers each. Two numbers of each tenant belong to one account, which both tenants share. */
async function createModel(stage: ModelStage): Promise<Model> {
  await stage.beginStep();
  const tenants: KnownTenant[] = [];
  const numbers: KnownNumber[] = [];
  const model: Model = {
    tenants,
    numbers,
    keys: [],
    upstream: { values: new Map(), faults: new Map() },
    passed: 0,
    moments: 0,
    values: 0,
    shown: new Map(),
    steps: 0,
    slow: null,
  };
  const wabaId = createDigits();
  for (const name of ['alpha', 'beta']) {
    // oxlint-disable no-await-in-loop -- one after the other
    const tenant = await addTenant(stage, `${name}-${randomBytes(4).toString('hex')}`);
    tenants.push(tenant);
    for (const provider of ['META', 'META', 'PILOT_STATUS'] as const) {
      const number = await addNumber(stage, tenant, provider, wabaId);
      numbers.push({ ...number, stateObservedAt: null });
      setUpstream(model, stage, numbers.at(-1)!, 'GREEN', 'CONNECTED');
    }
    // oxlint-enable no-await-in-loop
  }
  return model;
}

async function addTenant({ processes }: ModelStage, marker: string): Promise<KnownTenant> {
  const { access } = processes[0]!.gateway;
  const { id } = await access.createTenant(marker);
  const root = { tenantId: id, name: `${marker} root`, numberId: null, expiresAt: null };
  const { id: keyId, key: rootKey } = await access.createKey(root);
  const audit = [`key.created ${keyId}`];
  return { id, marker, rootKey, wabas: new Map(), pauses: new Map(), audit };
}

async function addNumber(
  { processes }: ModelStage,
  tenant: KnownTenant,
  provider: KnownNumber['provider'],
  wabaId: string,
): Promise<Omit<KnownNumber, 'stateObservedAt'>> {
  const { marker } = tenant;
  const isMeta = provider === 'META';
  const name = `${marker} number`;
  const instanceName = isMeta ? '' : `${marker}-instance`;
  const phoneNumberId = isMeta ? createDigits() : '';
  const { id, state } = await processes[0]!.gateway.numbers.create({
    tenantId: tenant.id,
    name,
    number: `55${createDigits()}`,
    provider,
    state: 'OPEN',
    instanceName: isMeta ? null : instanceName,
    phoneNumberId: isMeta ? phoneNumberId : null,
    wabaId: isMeta ? wabaId : null,
    // The tokens of a tenant are of one app, and share its budgets.
    credentials: isMeta ? { accessToken: `EAA${marker}`, appSecret: `${marker} app` } : null,
  });
  if (isMeta) tenant.audit.push(`credentials.stored ${id}`);
  const known = { tenant, id, name, provider, phoneNumberId, instanceName, state };
  return { ...known, wabaId: isMeta ? wabaId : '', blocks: new Map() };
}
