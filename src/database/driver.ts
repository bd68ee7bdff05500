// Owns what the database asks of a driver.

import type { Dialect, Kysely } from 'kysely';
import type { OpenChannel } from './change-feed.ts';
import type { Statement, TextRow } from './statement.ts';
import type { Tables } from './tables.ts';

export interface Driver {
  /** For everything but `read`. */
  readonly dialect: Dialect;
  /** Executes the statements in one transaction and answers the rows of the last one. */
  readonly read: Read;
  /** While `work` runs, statements may take as long as they do; otherwise a connection that is silent is given up. */
  waitFor<T>(work: () => Promise<T>): Promise<T>;
  /** Opens all connections that there may be. Never rejects. */
  warm(): Promise<void>;
  readonly openChannel: OpenChannel;
  release(): Promise<void>;
}

/** Calls `onSend` once it no longer waits for a connection: from then on the database may have answered. */
export type Read = (
  kysely: Kysely<Tables>,
  statements: readonly Statement[],
  onSend: () => void,
) => Promise<readonly TextRow[]>;
