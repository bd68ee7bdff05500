// Installs the bench's packages in this folder if they are missing or older than their lock file.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const here = new URL('./', import.meta.url);

/** The output of npm goes to standard error. Throws if the installation fails. */
export async function installPackages(): Promise<void> {
  // npm writes this copy of the lock file last.
  const [installed, locked] = await Promise.all([
    readModifiedTime('node_modules/.package-lock.json'),
    readModifiedTime('package-lock.json'),
  ]);
  if (installed > 0 && installed >= locked) return;
  process.stderr.write('Installing the packages of the bench …\n');
  const npm = spawn('npm', [locked > 0 ? 'ci' : 'install', '--no-audit', '--no-fund'], {
    cwd: fileURLToPath(here),
    stdio: ['ignore', process.stderr, process.stderr],
    // On Windows npm is a command file, which needs a shell.
    shell: process.platform === 'win32',
  });
  const [code] = await once(npm, 'close');
  if (code !== 0)
    throw new Error(`npm could not install the packages of the bench: exit code ${code}`);
}

/** In milliseconds; 0 for a file that does not exist. */
async function readModifiedTime(path: string): Promise<number> {
  const found = await stat(new URL(path, here)).catch(() => null);
  return found?.mtimeMs ?? 0;
}
