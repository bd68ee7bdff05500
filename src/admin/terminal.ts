// Owns how the command line speaks: who is listening, what a result looks like to a person and to a program, and where
// problems go. What is said is the commands'.

import type { Readable, Writable } from 'node:stream';
import Table from 'cli-table3';
import { ConfigurationError } from '../config.ts';
import { GatewayError } from '../errors.ts';
import { redact } from '../telemetry.ts';

/** Where a command comes from and where its words go. */
export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  /** The variables to configure from; the process's own unless given. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Aborted when the person at the keyboard, or whoever runs the process, wants it to stop. */
  readonly signal: AbortSignal;
}

export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Says what a command found. `value` is for programs, `toText` makes what a person reads. */
export type Answer = <T>(value: T, toText: (value: T) => string) => void;

/** A person at a terminal reads text; a pipe, or a person who asked for it, gets one JSON value. */
export function createAnswer({ stdout }: Terminal, json: () => boolean): Answer {
  return (value, toText) => {
    const text = stdout.isTTY && !json() ? toText(value) : JSON.stringify(value);
    stdout.write(`${text}\n`);
  };
}

/** Rows under a heading, without frames so that cells can be copied; `none` stands for an empty list. */
export function toTable(
  head: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  none: string,
): string {
  if (rows.length === 0) return none;
  const frame = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left'];
  const inside = ['bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  const table = new Table({
    head: head.map((title) => title.toUpperCase()),
    chars: { ...Object.fromEntries([...frame, ...inside].map((part) => [part, ''])), middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) table.push(row.map((cell) => toPrintable(cell ?? '-')));
  const lines = table.toString().split('\n');
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** Names come from others; whatever could steer a terminal is shown as a replacement character. */
export function toPrintable(text: string): string {
  return text.replaceAll(/\p{Cc}|\p{Cf}/gu, '\u{FFFD}');
}

/** One problem, `CODE: message`, on standard error; secrets are taken out wherever they stand. */
export function reportProblem({ stderr }: Terminal, code: string, message: string): void {
  const lines = redact(`${code}: ${message}`).split('\n');
  stderr.write(`${lines.map(toPrintable).join('\n')}\n`);
}

/** Whatever was thrown. An operator may see the cause that a caller of the doors may not. */
export function reportThrown(terminal: Terminal, thrown: unknown): void {
  if (thrown instanceof ConfigurationError) {
    reportProblem(terminal, 'CONFIGURATION', thrown.message);
    return;
  }
  const code = thrown instanceof GatewayError ? thrown.code : 'INTERNAL';
  reportProblem(terminal, code, toReason(thrown));
  // A defect of ours; the system and the database name what went wrong with a code.
  if (code === 'INTERNAL' && thrown instanceof Error && !('code' in thrown)) {
    terminal.stderr.write(`${redact(thrown.stack ?? '')}\n`);
  }
}

/** What happened and, where a caller of the doors is only told that something is down, what is behind it. */
export function toReason(thrown: unknown): string {
  const told = toCauseText(thrown);
  const isDown = thrown instanceof GatewayError && thrown.code === 'UNAVAILABLE';
  return isDown && thrown.cause !== undefined ? `${told} (${toCauseText(thrown.cause)})` : told;
}

/** Node reports a host with several addresses as one error without a message and with many inside. */
export function toCauseText(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    return thrown.errors.map(toCauseText).join('; ');
  }
  return thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
}
