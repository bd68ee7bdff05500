// Terminal output of the command line: results as text or JSON, progress bars, and problems on standard error.

import type { Readable, Writable } from 'node:stream';
import { Presets, SingleBar } from 'cli-progress';
import { ConfigurationError } from '../config.ts';
import { GatewayError } from '../errors.ts';
import { redact } from '../telemetry.ts';
import { type Column, createStyle, formatTable, toLayout, toPrintable } from './table.ts';

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

/** Prints a list: as JSON for programs, as a table for people. Its cells are made of the JSON, so JSON never has less. */
export type PrintTable = <Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  whenEmpty: string,
) => void;

export function createTablePrinter({ stdout }: Terminal, print: Print): PrintTable {
  return (rows, columns, whenEmpty) =>
    print(rows, () =>
      rows.length === 0 ? whenEmpty : formatTable(rows, columns, toLayout(stdout)),
    );
}

const ignore = () => undefined;

export interface Progress extends Disposable {
  advance(by: number): void;
  /** Shows a text after the bar. */
  note(text: string): void;
  end(): void;
}

/** A progress bar on standard error, if that is a terminal. For example, `action` is "Reading" and `items` "numbers". */
export function openProgress(
  { stderr }: Terminal,
  total: number,
  { action, items }: { readonly action: string; readonly items: string },
): Progress {
  if (!stderr.isTTY || total === 0) {
    return { advance: ignore, note: ignore, end: ignore, [Symbol.dispose]: ignore };
  }
  const format = `${action} {bar} {value}/{total} ${items}{note}`;
  const options = { stream: stderr, format, barsize: 20, clearOnComplete: true };
  const bar = new SingleBar(options, Presets.shades_classic);
  bar.start(total, 0, { note: '' });
  return {
    advance: (by) => bar.increment(by),
    note: (text) => bar.update({ note: text === '' ? '' : `, ${text}` }),
    end: () => bar.stop(),
    [Symbol.dispose]: () => bar.stop(),
  };
}

/** Writes `CODE: message` to standard error, with secrets redacted. */
export function reportProblem({ stderr }: Terminal, code: string, message: string): void {
  const lines = redact(message).split('\n');
  const label = createStyle(stderr)(['bold', 'red'], `${code}:`);
  stderr.write(`${label} ${lines.map(toPrintable).join('\n')}\n`);
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
