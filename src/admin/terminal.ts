// Terminal output of the command line: results as text or JSON, tables, progress bars, and problems on standard error.

import type { Readable, Writable } from 'node:stream';
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import { ConfigurationError } from '../config.ts';
import { GatewayError } from '../errors.ts';
import { redact } from '../telemetry.ts';

/** What a command reads from and writes to. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  /** The variables that configure the gateway; those of the process by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Aborted when the command should stop, by SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Prints the result of a command: `value` as JSON for programs, `format(value)` as text for people. */
export type Print = <T>(value: T, format: (value: T) => string) => void;

/** Prints text on a terminal; one JSON value into a pipe, or where `json` returns true. */
export function createPrinter({ stdout }: Terminal, json: () => boolean): Print {
  return (value, format) => {
    const text = stdout.isTTY && !json() ? format(value) : JSON.stringify(value);
    stdout.write(`${text}\n`);
  };
}

/** A table without borders, so that cells can be copied. `whenEmpty` is returned when there are no rows. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  whenEmpty: string,
): string {
  if (rows.length === 0) return whenEmpty;
  const borders = [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
  ];
  const separators = ['bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  const none = Object.fromEntries([...borders, ...separators].map((part) => [part, '']));
  const table = new Table({
    head: head.map((title) => title.toUpperCase()),
    chars: { ...none, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) table.push(row.map((cell) => toPrintable(cell ?? '-')));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** Replaces control and format characters: names come from callers and must not control the terminal. */
export function toPrintable(text: string): string {
  return text.replaceAll(/\p{Cc}|\p{Cf}/gu, '\u{FFFD}');
}

export interface Progress extends Disposable {
  advance(by: number): void;
  end(): void;
}

/** A progress bar on standard error, if that is a terminal. For example, `action` is "Reading" and `items` "numbers". */
export function openProgress(
  { stderr }: Terminal,
  total: number,
  { action, items }: { readonly action: string; readonly items: string },
): Progress {
  if (!stderr.isTTY || total === 0) {
    return { advance: () => undefined, end: () => undefined, [Symbol.dispose]: () => undefined };
  }
  const bar = new SingleBar(
    { stream: stderr, format: `${action} {bar} {value}/{total} ${items}`, clearOnComplete: true },
    Presets.shades_classic,
  );
  bar.start(total, 0);
  return {
    advance: (by) => bar.increment(by),
    end: () => bar.stop(),
    [Symbol.dispose]: () => bar.stop(),
  };
}

/** Writes `CODE: message` to standard error, with secrets redacted. */
export function reportProblem({ stderr }: Terminal, code: string, message: string): void {
  const lines = redact(`${code}: ${message}`).split('\n');
  stderr.write(`${lines.map(toPrintable).join('\n')}\n`);
}

/** Writes what was thrown to standard error. Unlike a caller of the API, an operator also sees the cause. */
export function reportError(terminal: Terminal, thrown: unknown): void {
  if (thrown instanceof ConfigurationError) {
    reportProblem(terminal, 'CONFIGURATION', thrown.message);
    return;
  }
  const code = thrown instanceof GatewayError ? thrown.code : 'INTERNAL';
  reportProblem(terminal, code, describeError(thrown));
  // Errors of the system and the database have a code; one without is a defect of the gateway.
  if (code === 'INTERNAL' && thrown instanceof Error && !('code' in thrown)) {
    terminal.stderr.write(`${redact(thrown.stack ?? '')}\n`);
  }
}

/** The message of an error, with its cause if it is UNAVAILABLE. */
export function describeError(thrown: unknown): string {
  const message = describeCause(thrown);
  const isUnavailable = thrown instanceof GatewayError && thrown.code === 'UNAVAILABLE';
  return isUnavailable && thrown.cause !== undefined
    ? `${message} (${describeCause(thrown.cause)})`
    : message;
}

/** The message of an error. For a host with several addresses, Node throws an AggregateError without a message. */
export function describeCause(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    return thrown.errors.map(describeCause).join('; ');
  }
  return thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
}
