// Starts the gateway as `npm start` does: a process in demo mode, on a free port of the loopback interface.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startArgs } from '../npm-start.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface DemoProcess extends AsyncDisposable {
  readonly url: string;
  readonly key: string;
}

export async function startDemo(
  environment: Readonly<Record<string, string>> = {},
): Promise<DemoProcess> {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-clients-'));
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const child = spawn(process.execPath, [...startArgs, 'src/main.ts', 'serve'], {
    cwd: root,
    env: {
      PATH: process.env['PATH'] ?? '',
      DATA_DIR: directory,
      PORT: '0',
      SYNC: 'off',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  made.defer(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  while (!stdout.includes('Ctrl-C')) {
    // oxlint-disable-next-line no-await-in-loop -- waits for the next chunk
    const end = await Promise.race([once(child.stdout, 'data'), closed.then(() => null)]);
    if (end === null) throw new Error(`The gateway ended: ${stdout}${stderr}`);
  }
  const [, url = ''] = /demo: (\S+)/.exec(stdout) ?? [];
  const [key = ''] = /ps_\w{49}/.exec(stdout) ?? [];
  const kept = made.move();
  return { url, key, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
