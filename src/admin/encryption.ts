// Owns the command that brings stored credentials under the first encryption key, while the gateway serves.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Database } from '../database/database.ts';
import { toCredentialPlace } from '../numbers/refresh.ts';
import { createVault, type Vault } from '../secrets.ts';
import { openMigratedGateway, readCommandConfig } from './opening.ts';
import { openProgress, type Progress } from './progress.ts';
import type { Session } from './session.ts';
import {
  countSealedCredentials,
  findSealedCredential,
  listSealedCredentials,
  replaceSealedCredentials,
  type SealedCredentialRow,
} from './store.ts';

export interface Rotation {
  readonly rewrapped: number;
  readonly alreadyCurrent: number;
  readonly failed: number;
}

/** Small enough that a transaction is over in an instant, and that little is done twice after an interruption. */
const batchSize = 50;
/** Somebody else who stores credentials of the same number again and again is not chased for ever. */
const maxTries = 3;

export function addEncryptionCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('keys')
    .summary('the keys that credentials are encrypted with')
    .description('Encryption keys: those of ENCRYPTION_KEYS, that credentials are stored under.')
    .command('rotate-encryption')
    .summary('bring all stored credentials under the first encryption key')
    .description(
      'Wrap the data key of each stored credential anew, under the first key of ENCRYPTION_KEYS; the credentials themselves are not decrypted. Safe while the gateway serves, once every process of it has the new ENCRYPTION_KEYS. Interrupted, it can be run again and goes on where it was. Afterwards the older keys can be taken out.',
    )
    .action(async () => {
      const rotation = await rotate(session);
      session.answer(rotation, toSentence);
    });
}

function toSentence({ rewrapped, alreadyCurrent, failed }: Rotation): string {
  const rest = failed === 0 ? 'the older keys can be taken out' : `${failed} could not be wrapped`;
  return `Wrapped ${rewrapped} stored credentials under the first key, ${alreadyCurrent} were already; ${rest}.`;
}

async function rotate(session: Session): Promise<Rotation> {
  const { terminal } = session;
  await using opened = await openMigratedGateway(readCommandConfig(terminal), terminal);
  const { config, gateway } = opened;
  const { access, database } = gateway;
  const tenants = await access.listTenants();
  let total = 0;
  for (const { id } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- one tenant after the other, to be no burden
    total += await countSealedCredentials(database, id);
  }
  using progress = openProgress(terminal, total, { doing: 'Wrapping', things: 'credentials' });
  const rotator: Rotator = { database, vault: createVault(config.encryptionKeys), progress };
  const done: Outcome = { rewrapped: 0, alreadyCurrent: 0, failed: [] };
  for (const { id } of tenants) {
    // oxlint-disable-next-line no-await-in-loop -- see above
    await rotateTenant(rotator, id, done, terminal.signal);
  }
  progress.end();
  if (done.failed.length > 0) reportFailed(session, done.failed);
  return { ...done, failed: done.failed.length };
}

function reportFailed(session: Session, failed: readonly string[]): void {
  const shown = failed.slice(0, 5).join(', ');
  session.report(
    'ENCRYPTION',
    `${failed.length} stored credentials cannot be wrapped anew (${shown}${failed.length > 5 ? ', …' : ''}); put the key that sealed them back into ENCRYPTION_KEYS, or store them again: number set-credentials`,
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
  /** Ids of numbers. */
  readonly failed: string[];
}

async function rotateTenant(
  rotator: Rotator,
  tenantId: string,
  done: Outcome,
  signal: AbortSignal,
): Promise<void> {
  let after = '';
  for (;;) {
    // Between two batches: what is done is stored, and the rest is found again.
    signal.throwIfAborted();
    const page = { after, limit: batchSize };
    // oxlint-disable-next-line no-await-in-loop -- one batch after the other
    const batch = await listSealedCredentials(rotator.database, tenantId, page);
    const last = batch.at(-1);
    if (last === undefined) return;
    // oxlint-disable-next-line no-await-in-loop -- see above
    await rotateBatch(rotator, tenantId, batch, done);
    rotator.progress.advance(batch.length);
    after = last.number_id;
  }
}

// What somebody else has changed since it was read is read again: it may be under the first key by now, or not.
async function rotateBatch(
  { database, vault }: Rotator,
  tenantId: string,
  batch: readonly SealedCredentialRow[],
  done: Outcome,
): Promise<void> {
  let rows = batch;
  for (let tries = 1; rows.length > 0; tries += 1) {
    const changes = rows.flatMap((row) => {
      const change = toChange(vault, tenantId, row, done);
      return change === null ? [] : [change];
    });
    // oxlint-disable-next-line no-await-in-loop -- one try after the other
    const missed = await replaceSealedCredentials(database, tenantId, changes);
    done.rewrapped += changes.length - missed.length;
    if (tries === maxTries) {
      done.failed.push(...missed);
      return;
    }
    const again = missed.map((numberId) => findSealedCredential(database, tenantId, numberId));
    // oxlint-disable-next-line no-await-in-loop -- see above
    rows = (await Promise.all(again)).filter((row) => row !== undefined);
  }
}

function toChange(vault: Vault, tenantId: string, row: SealedCredentialRow, done: Outcome) {
  if (vault.isCurrent(row.sealed)) {
    done.alreadyCurrent += 1;
    return null;
  }
  try {
    const sealed = vault.rewrap(row.sealed, toCredentialPlace(tenantId, row.number_id));
    return { ...row, resealed: sealed };
  } catch {
    done.failed.push(row.number_id);
    return null;
  }
}
