// Owns what every command is given: a terminal to speak to and, for as long as its work takes, a gateway.

import type { Gateway } from '../gateway.ts';
import { openMigratedGateway, readCommandConfig } from './opening.ts';
import type { Answer, Terminal } from './terminal.ts';

export interface Session {
  readonly terminal: Terminal;
  readonly answer: Answer;
  /** Somebody asked for JSON, whoever listens. */
  wantsJson(): boolean;
  /** What the command found is wrong; the exit code becomes 1, and the answer is still given. */
  report(code: string, message: string): void;
  /** Worth knowing, and nothing that makes the command fail. */
  remark(code: string, message: string): void;
}

/** Opens a gateway for the work and closes it afterwards, whatever happens. */
export async function withGateway<T>(
  { terminal }: Session,
  work: (gateway: Gateway) => Promise<T>,
): Promise<T> {
  await using opened = await openMigratedGateway(readCommandConfig(terminal), terminal);
  return await work(opened.gateway);
}
