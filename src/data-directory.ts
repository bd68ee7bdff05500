// Owns the folder of the embedded database: that it is there, and that one process at a time has it.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from './config.ts';

/**
 * Makes the folder if it is not there, and gives back what ends the hold. Throws a ConfigurationError while another
 * process holds it: two of them in one PGlite folder would destroy it, and PGlite itself does not notice.
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, 'process.id');
  const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
  if (holder !== 0 && holder !== process.pid && isRunning(holder)) throw toInUse(directory, holder);
  if (holder !== 0) await rm(path, { force: true });
  // Of two that start at the same moment one finds the file there.
  await writeFile(path, String(process.pid), { flag: 'wx' }).catch(() => {
    throw toInUse(directory, null);
  });
  return () => rm(path, { force: true });
}

function toInUse(directory: string, holder: number | null): ConfigurationError {
  const by = holder === null ? 'another process' : `process ${holder}`;
  return new ConfigurationError([
    `DATA_DIR ${directory} is in use by ${by}; stop it, choose another folder, or set DATABASE_URL to share one database`,
  ]);
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    // Somebody else's process is running too.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
