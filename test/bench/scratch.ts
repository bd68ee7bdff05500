// Temporary files for the processes that the bench starts; they are removed when it ends.

import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let directory: string | undefined;

/** Resolves to the path; replaces an existing file of this name. */
export async function writeScratch(name: string, text: string): Promise<string> {
  directory ??= openDirectory();
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

function openDirectory(): string {
  const opened = mkdtempSync(join(tmpdir(), 'numbers-gateway-bench-'));
  process.once('exit', () => rmSync(opened, { recursive: true, force: true }));
  return opened;
}
