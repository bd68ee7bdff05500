// Reads Meta credentials from standard input or a file. Nothing of what was read appears in a message.

import { open } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { GatewayError } from '../errors.ts';
import type { Credentials } from '../numbers/provider.ts';
import { UsageError } from './arguments.ts';
import type { Terminal } from './terminal.ts';

/** Real credentials have a few hundred bytes. */
const maxInputBytes = 65_536;

/** The value of `--credentials`: a path, or `-` for standard input. Rejects the credentials themselves. */
export function parseCredentialsSource(text: string): string {
  if (text === '' || /^\s*[{["]|\0|^EAA/.test(text)) {
    // An InvalidArgumentError would make commander repeat the argument.
    throw new UsageError(
      '--credentials takes the path of a JSON file, or - for standard input. Do not pass the credentials themselves: other users of this machine can see the arguments of a command.',
    );
  }
  return text;
}

export interface CredentialOptions {
  readonly credentials?: string | undefined;
  readonly credential?: string | undefined;
}

/**
 * What `--credentials` names; null when `--credential` names stored ones. Throws a UsageError unless exactly one is given. Use
 * it before the database is opened: reading from a pipe can take long.
 */
export async function readGivenCredentials(
  { credentials, credential }: CredentialOptions,
  terminal: Terminal,
): Promise<Credentials | null> {
  if ((credentials === undefined) === (credential === undefined)) {
    throw new UsageError('Specify either --credentials or --credential.');
  }
  return credentials === undefined ? null : await readCredentials(credentials, terminal);
}

/**
 * `source` is a path, or `-` for standard input. Throws INVALID_REQUEST when the content is not valid, and a UsageError
 * when standard input is a terminal, which would show what is typed.
 */
export async function readCredentials(source: string, terminal: Terminal): Promise<Credentials> {
  return parseCredentials(await readSecretText('--credentials', source, terminal));
}

/** The content of the file or of standard input that the option names. Throws as `readCredentials`. */
export async function readSecretText(
  option: string,
  source: string,
  terminal: Terminal,
): Promise<string> {
  if (source === '-' && terminal.stdin.isTTY) {
    const file = `${option.slice(2)}.json`;
    throw new UsageError(
      `${option} - cannot read from a terminal, which would show the ${option.slice(2)}; redirect a file: … ${option} - < ${file}`,
    );
  }
  return source === '-' ? await readInput(terminal) : await readFile(source);
}

async function readInput({ stdin, signal }: Terminal): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of addAbortSignal(signal, stdin)) {
    const bytes = Buffer.from(chunk as Buffer | string);
    size += bytes.length;
    if (size > maxInputBytes) throw tooLarge();
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString();
}

async function readFile(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxInputBytes + 1));
    if (bytesRead > maxInputBytes) throw tooLarge();
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    // The message leaves out the path, which may be a token passed by mistake.
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw invalid(
      `the file cannot be read (${code}); pass the path of a JSON file, or - for standard input`,
    );
  }
}

/** What this throws contains nothing of `text`, so it leaves out the message of JSON.parse too. */
export function parseCredentials(text: string): Credentials {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\u{FEFF}/u, ''));
  } catch {
    throw invalid('the content is not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw invalid('the content is not a JSON object');
  }
  const { accessToken, appSecret = null, ...others } = json as Record<string, unknown>;
  const problems: string[] = [];
  if (!isSecret(accessToken)) problems.push('accessToken must be a string without spaces');
  if (appSecret !== null && !isSecret(appSecret)) {
    problems.push('appSecret must be a string without spaces, null, or left out');
  }
  if (Object.keys(others).length > 0) {
    problems.push('only the members accessToken and appSecret are allowed');
  }
  if (problems.length > 0) throw invalid(problems.join('; '));
  return { accessToken: accessToken as string, appSecret: appSecret as string | null };
}

// The token is sent in a header, so only characters that a header allows are valid.
function isSecret(value: unknown): boolean {
  return typeof value === 'string' && /^[\x21-\x7e]{1,4096}$/.test(value);
}

function tooLarge(): GatewayError {
  return invalid(`the content has more than ${maxInputBytes} bytes`);
}

function invalid(problem: string): GatewayError {
  return new GatewayError(
    'INVALID_REQUEST',
    `The credentials are not valid: ${problem}. Expected a JSON object with accessToken and, if the app requires proof, appSecret.`,
  );
}
