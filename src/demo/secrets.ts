// The secrets of the demo, which the first start generates and stores in DATA_DIR.

import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigurationError, parseConfig, readEnvironment } from '../config.ts';

type Secrets = Pick<Config, 'encryptionKeys' | 'apiKeyPepper'>;

/** Those that the environment does not set come from DATA_DIR; the first start generates them. */
export async function completeSecrets({
  encryptionKeys,
  apiKeyPepper,
  dataDirectory,
}: Config): Promise<Secrets> {
  if (encryptionKeys.length > 0 && apiKeyPepper !== '') return { encryptionKeys, apiKeyPepper };
  const path = join(dataDirectory, 'demo-secrets.json');
  const secrets = parseSecrets(path, (await readFileIfExists(path)) ?? (await createSecrets(path)));
  return {
    encryptionKeys: encryptionKeys.length > 0 ? encryptionKeys : secrets.encryptionKeys,
    apiKeyPepper: apiKeyPepper === '' ? secrets.apiKeyPepper : apiKeyPepper,
  };
}

async function readFileIfExists(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Returns the content of the file. When two processes start at once, both end up with the file that one of them made. */
async function createSecrets(path: string): Promise<string> {
  const directory = join(path, '..');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const secrets = {
    ENCRYPTION_KEYS: `demo:${randomBytes(32).toString('base64')}`,
    API_KEY_PEPPER: randomBytes(32).toString('base64'),
  };
  const draft = `${path}.${randomUUID()}`;
  const text = `${JSON.stringify(secrets, null, 2)}\n`;
  try {
    await writeFile(draft, text, { mode: 0o600, flag: 'wx', flush: true });
    // Unlike a rename, a link does not replace a file that another process created in the meantime.
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return await readFile(path, 'utf8');
}

function parseSecrets(path: string, text: string): Secrets {
  try {
    const { ENCRYPTION_KEYS, API_KEY_PEPPER } = JSON.parse(text) as Record<string, string>;
    const environment = readEnvironment({ ENCRYPTION_KEYS, API_KEY_PEPPER });
    const { encryptionKeys, apiKeyPepper } = parseConfig(environment);
    if (encryptionKeys.length > 0 && apiKeyPepper !== '') return { encryptionKeys, apiKeyPepper };
  } catch {
    // Reported below, without the content of the file.
  }
  throw new ConfigurationError([
    `DATA_DIR contains ${path}, which does not hold the demo's secrets; restore the file, or delete the whole directory to start over`,
  ]);
}
