// Asks an operator to confirm a command that deletes something.

import { createInterface } from 'node:readline/promises';
import { UsageError } from './arguments.ts';
import type { Session } from './session.ts';
import { toPrintable } from './table.ts';

export interface Confirmation {
  /** What will be deleted, as a sentence. */
  readonly consequence: string;
  /** What has to be typed. */
  readonly answer: string;
  /** Whether `--yes` was given. */
  readonly yes: boolean;
}

/** Throws a UsageError when nobody can be asked. */
export function requireConfirmation({ terminal }: Session, yes: boolean): void {
  if (yes || terminal.stdin.isTTY) return;
  throw new UsageError(
    'Standard input is not a terminal, so nobody can be asked; add --yes to confirm.',
  );
}

/** Asks on standard error, and reports a problem when the answer is another one. */
export async function confirm(
  session: Session,
  { consequence, answer, yes }: Confirmation,
): Promise<boolean> {
  requireConfirmation(session, yes);
  if (yes) return true;
  const { stdin, stderr, signal } = session.terminal;
  using lines = createInterface({ input: stdin, output: stderr, terminal: false });
  const question = `${toPrintable(consequence)}\nType ${toPrintable(answer)} to confirm: `;
  // A question is never answered once the input has ended.
  const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
  const typed = await Promise.race([lines.question(question, { signal }), ended]);
  if (typed.trim() === answer.trim()) return true;
  session.fail('NOT_CONFIRMED', 'The answer is another one, so nothing was removed.');
  return false;
}
