// Owns how Meta credentials come in: from standard input or a file, checked, and never repeated in a message.

import { open } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { GatewayError } from '../errors.ts';
import type { Credentials } from '../numbers/provider.ts';
import { UsageError } from './arguments.ts';
import type { Terminal } from './terminal.ts';

/** In bytes; credentials are some hundreds. */
const maxInput = 65_536;

/**
 * `source` is a path, or `-` for standard input. Throws INVALID_REQUEST when what stands there are no credentials, and
 * a UsageError when somebody would have to type them: the screen would show them.
 */
export async function readCredentials(source: string, terminal: Terminal): Promise<Credentials> {
  if (source === '-' && terminal.stdin.isTTY) {
    throw new UsageError(
      '--credentials - reads standard input, and typing them here would show them; pipe them in: … --credentials - < credentials.json',
    );
  }
  return parseCredentials(source === '-' ? await readInput(terminal) : await readFile(source));
}

async function readInput({ stdin, signal }: Terminal): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of addAbortSignal(signal, stdin)) {
    const bytes = Buffer.from(chunk as Buffer | string);
    size += bytes.length;
    if (size > maxInput) throw toTooLarge();
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString();
}

async function readFile(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxInput + 1));
    if (bytesRead > maxInput) throw toTooLarge();
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    // The path is not repeated: it may be a token that somebody took for an argument.
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw toInvalid(`the file cannot be read (${code}); give its path, or - for standard input`);
  }
}

/** Nothing of `text` is in what this throws; that is why JSON.parse's own message is not. */
export function parseCredentials(text: string): Credentials {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\u{FEFF}/u, ''));
  } catch {
    throw toInvalid('they are not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw toInvalid('they are not a JSON object');
  }
  const { accessToken, appSecret = null, ...others } = json as Record<string, unknown>;
  const problems: string[] = [];
  if (!isSecret(accessToken)) problems.push('accessToken must be a text without spaces');
  if (appSecret !== null && !isSecret(appSecret)) {
    problems.push('appSecret must be a text without spaces, null or left out');
  }
  if (Object.keys(others).length > 0) {
    problems.push('there must be no members but accessToken and appSecret');
  }
  if (problems.length > 0) throw toInvalid(problems.join('; '));
  return { accessToken: accessToken as string, appSecret: appSecret as string | null };
}

// It goes into a header, so it may hold nothing that a header may not.
function isSecret(value: unknown): boolean {
  return typeof value === 'string' && /^[\x21-\x7e]{1,4096}$/.test(value);
}

function toTooLarge(): GatewayError {
  return toInvalid(`they have more than ${maxInput} bytes`);
}

function toInvalid(problem: string): GatewayError {
  return new GatewayError(
    'INVALID_REQUEST',
    `The credentials cannot be used: ${problem}. Expected is a JSON object with accessToken and, where the app demands proofs, appSecret.`,
  );
}
