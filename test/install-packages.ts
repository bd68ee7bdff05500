// Installs the packages of a folder that has a package file of its own, if they are missing or older than its lock file.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** `folder` ends with a slash. The output of npm goes to standard error. Throws if the installation fails. */
export async function installPackages(folder: URL): Promise<void> {
  const path = fileURLToPath(folder);
  // npm writes this copy of the lock file last.
  const [installed, locked] = await Promise.all([
    readModifiedTime(new URL('node_modules/.package-lock.json', folder)),
    readModifiedTime(new URL('package-lock.json', folder)),
  ]);
  if (installed > 0 && installed >= locked) return;
  process.stderr.write(`Installing the packages of ${path} …\n`);
  const npm = spawn('npm', [locked > 0 ? 'ci' : 'install', '--no-audit', '--no-fund'], {
    cwd: path,
    stdio: ['ignore', process.stderr, process.stderr],
    // On Windows npm is a command file, which needs a shell.
    shell: process.platform === 'win32',
  });
  const [code] = await once(npm, 'close');
  if (code !== 0)
    throw new Error(`npm could not install the packages of ${path}: exit code ${code}`);
}

/** In milliseconds; 0 for a file that does not exist. */
async function readModifiedTime(file: URL): Promise<number> {
  const found = await stat(file).catch(() => null);
  return found?.mtimeMs ?? 0;
}
