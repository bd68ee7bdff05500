// Owns the bench's own packages: they are installed here when they are missing or older than their lock file, so that
// they never weigh on the project's own installation.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const here = new URL('./', import.meta.url);

/** What npm says goes to standard error. Throws when the packages cannot be had. */
export async function installPackages(): Promise<void> {
  // npm writes its own copy of the lock file last.
  const [installed, locked] = await Promise.all([
    toChangeTime('node_modules/.package-lock.json'),
    toChangeTime('package-lock.json'),
  ]);
  if (installed > 0 && installed >= locked) return;
  process.stderr.write('Installing the packages of the bench …\n');
  const npm = spawn('npm', [locked > 0 ? 'ci' : 'install', '--no-audit', '--no-fund'], {
    cwd: fileURLToPath(here),
    stdio: ['ignore', process.stderr, process.stderr],
    // A command of Windows needs a shell to be found.
    shell: process.platform === 'win32',
  });
  const [code] = await once(npm, 'close');
  if (code !== 0) throw new Error(`npm could not install the packages of the bench: ${code}`);
}

/** 0 for a file that is not there. */
async function toChangeTime(path: string): Promise<number> {
  const found = await stat(new URL(path, here)).catch(() => null);
  return found?.mtimeMs ?? 0;
}
