// Owns the folder of the embedded database: that it is there, and that one process at a time has it.

import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from '../config.ts';

/**
 * Makes the folder if it is not there, and gives back what ends the hold. Throws a ConfigurationError while another
 * process holds it: two of them in one PGlite folder would destroy it, and PGlite itself does not notice.
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, 'process.id');
  const draft = `${path}.${randomUUID()}`;
  const found = await readFile(path, 'utf8').catch(() => null);
  if (found !== null) {
    const holder = Number(found);
    if (holder !== process.pid && isRunning(holder)) throw toInUse(directory, holder);
    await removeStale(path, found);
  }
  // Written first and linked then, so that nobody ever reads half of it; of two that do so at once one fails.
  await writeFile(draft, String(process.pid));
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw toInUse(directory, null);
  } finally {
    await rm(draft, { force: true });
  }
  return () => rm(path, { force: true });
}

// Moved away before it is removed: what was moved may by now be the file of somebody who was quicker.
async function removeStale(path: string, stale: string): Promise<void> {
  const moved = `${path}.${randomUUID()}`;
  await rename(path, moved).catch(() => undefined);
  const content = await readFile(moved, 'utf8').catch(() => stale);
  if (content !== stale) await link(moved, path);
  await rm(moved, { force: true });
}

function toInUse(directory: string, holder: number | null): ConfigurationError {
  const by = holder === null ? 'another process' : `process ${holder}`;
  return new ConfigurationError([
    `DATA_DIR ${directory} is in use by ${by}; stop it, choose another folder, or set DATABASE_URL to share one database`,
  ]);
}

function isRunning(processId: number): boolean {
  if (!Number.isSafeInteger(processId) || processId <= 0) return false;
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    // Somebody else's process is running too.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
