// The command `keys rotate-encryption`, which re-encrypts stored credentials while the gateway is serving.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { toAlertEndpointPlace } from '../alerts/attempt.ts';
import type { Database } from '../database/database.ts';
import { toCredentialPlace, toSharedCredentialPlace } from '../numbers/credentials.ts';
import { createVault, type Vault } from '../secrets.ts';
import { toEndpointPlace } from '../webhooks/webhooks.ts';
import { openMigratedGateway, readCommandConfig, type Session } from './session.ts';
import {
  type CredentialName,
  countSealedCredentials,
  credentialTables,
  type CredentialTable,
  findSealedCredential,
  listSealedCredentials,
  replaceSealedCredentials,
  type SealedCredentialRow,
} from './store.ts';
import { openProgress, type Progress } from './terminal.ts';

export interface Rotation {
  readonly rewrapped: number;
  readonly alreadyCurrent: number;
  readonly failed: number;
}

/** Small, so that transactions are short and an interruption loses little. */
const batchSize = 50;
/** For credentials that others change at the same time. */
const maxAttempts = 3;

export function addEncryptionCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('keys')
    .summary('manage encryption keys')
    .description('Manage the keys in ENCRYPTION_KEYS, which encrypt the stored credentials.')
    .command('rotate-encryption')
    .summary('re-encrypt all stored credentials with the first encryption key')
    .description(
      'Re-encrypt all stored credentials with the first key of ENCRYPTION_KEYS. Only their data keys are rewrapped; the credentials themselves are not decrypted. It is safe to run this while the gateway is serving, once all its processes have the new ENCRYPTION_KEYS. After an interruption, run it again to continue. When it has succeeded, the older keys can be removed.',
    )
    .action(async () => {
      const rotation = await rotate(session);
      session.print(rotation, formatRotation);
    });
}

function formatRotation({ rewrapped, alreadyCurrent, failed }: Rotation): string {
  const counts = `Re-encrypted ${rewrapped} stored credentials with the first key; ${alreadyCurrent} already used it.`;
  return failed === 0
    ? `${counts} The older keys can be removed.`
    : `${counts} ${failed} failed; keep the older keys.`;
}

async function rotate(session: Session): Promise<Rotation> {
  const { terminal } = session;
  await using opened = await openMigratedGateway(readCommandConfig(terminal), terminal);
  const { config, gateway } = opened;
  const { access, database } = gateway;
  const tenants = await access.listTenants();
  let total = 0;
  for (const { id } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one tenant at a time, to limit the load
    total += await countSealedCredentials(database, id);
  }
  using progress = openProgress(terminal, total, { action: 'Re-encrypting', items: 'credentials' });
  const rotator: Rotator = { database, vault: createVault(config.encryptionKeys), progress };
  const outcome: Outcome = { rewrapped: 0, alreadyCurrent: 0, failed: [] };
  for (const { id } of tenants) {
    for (const table of credentialTables) {
      // oxlint-disable-next-line no-await-in-loop -- see above
      await rotateTenant(rotator, { tenantId: id, table }, outcome, terminal.signal);
    }
  }
  progress.end();
  if (outcome.failed.length > 0) reportFailed(session, outcome.failed);
  return { ...outcome, failed: outcome.failed.length };
}

function reportFailed(session: Session, failed: readonly string[]): void {
  const shown = failed.slice(0, 5).join(', ');
  session.fail(
    'ENCRYPTION',
    `${failed.length} stored credentials cannot be re-encrypted (${shown}${failed.length > 5 ? ', …' : ''}); put the key that encrypted them back into ENCRYPTION_KEYS, or replace them with: number set-credentials, credential set, or webhook meta add`,
  );
}

interface Rotator {
  readonly database: Database;
  readonly vault: Vault;
  readonly progress: Progress;
}

interface Outcome {
  rewrapped: number;
  alreadyCurrent: number;
  /** Ids of numbers, of shared credentials and of webhook endpoints. */
  readonly failed: string[];
}

async function rotateTenant(
  rotator: Rotator,
  { tenantId, table }: { readonly tenantId: string; readonly table: CredentialTable },
  outcome: Outcome,
  signal: AbortSignal,
): Promise<void> {
  let after = '';
  for (;;) {
    // Between two batches everything that was re-encrypted is stored, so a later run continues from here.
    signal.throwIfAborted();
    const page = { after, limit: batchSize };
    // oxlint-disable-next-line no-await-in-loop -- one batch after the other
    const batch = await listSealedCredentials(rotator.database, tenantId, table, page);
    const last = batch.at(-1);
    if (last === undefined) return;
    // oxlint-disable-next-line no-await-in-loop -- see above
    await rotateBatch(rotator, tenantId, batch, outcome);
    rotator.progress.advance(batch.length);
    after = last.id;
  }
}

// Credentials that changed since they were read are read and tried again.
async function rotateBatch(
  { database, vault }: Rotator,
  tenantId: string,
  batch: readonly SealedCredentialRow[],
  outcome: Outcome,
): Promise<void> {
  let rows = batch;
  for (let attempt = 1; rows.length > 0; attempt += 1) {
    const changes = rows.flatMap((row) => {
      const change = rewrap(vault, tenantId, row, outcome);
      return change === null ? [] : [change];
    });
    // oxlint-disable-next-line no-await-in-loop -- one attempt after the other
    const missed = await replaceSealedCredentials(database, tenantId, changes);
    outcome.rewrapped += changes.length - missed.length;
    if (attempt === maxAttempts) {
      outcome.failed.push(...missed.map(({ id }) => id));
      return;
    }
    const again = missed.map((row) => findSealedCredential(database, tenantId, row));
    // oxlint-disable-next-line no-await-in-loop -- see above
    rows = (await Promise.all(again)).filter((row) => row !== undefined);
  }
}

/** Returns null when there is nothing to store, and counts why. */
function rewrap(vault: Vault, tenantId: string, row: SealedCredentialRow, outcome: Outcome) {
  if (vault.isCurrent(row.sealed)) {
    outcome.alreadyCurrent += 1;
    return null;
  }
  try {
    const sealed = vault.rewrap(row.sealed, toPlace(tenantId, row));
    return { ...row, resealed: sealed };
  } catch {
    outcome.failed.push(row.id);
    return null;
  }
}

/** What the encrypted credentials are bound to. */
export function toPlace(tenantId: string, { table, id }: CredentialName) {
  switch (table) {
    case 'number_credential':
      return toCredentialPlace(tenantId, id);
    case 'credential':
      return toSharedCredentialPlace(tenantId, id);
    case 'webhook_endpoint':
      return toEndpointPlace(tenantId, id);
    case 'alert_endpoint':
      return toAlertEndpointPlace(tenantId, id);
  }
}
