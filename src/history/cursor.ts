// Cursors of the feed: a place in the order of a tenant's changes. They hold no secret; row-level security decides what a
// page shows.

import { GatewayError } from '../errors.ts';

export interface FeedCursor {
  /** The database as it was not restored since; see `feed new-epoch`. */
  readonly epoch: string;
  /** Of the last change that was seen; 0 for none. */
  readonly sequence: number;
}

export function encodeCursor({ epoch, sequence }: FeedCursor): string {
  return `c1.${epoch}.${sequence}`;
}

const form = /^c1\.([0-9a-f]{32})\.(0|[1-9]\d{0,15})$/;

/** Throws INVALID_CURSOR for one that is malformed. */
export function decodeCursor(text: string): FeedCursor {
  const [, epoch, digits] = form.exec(text) ?? [];
  const sequence = Number(digits);
  if (epoch === undefined || !Number.isSafeInteger(sequence)) {
    throw new GatewayError(
      'INVALID_CURSOR',
      'The cursor is malformed; send one unchanged from a page of changes, or start without a cursor.',
    );
  }
  return { epoch, sequence };
}

/** What is stored of the order of a tenant's changes. */
export interface FeedPosition {
  readonly epoch: string;
  /** The lowest sequence that is stored. */
  readonly first: number;
  readonly last: number;
}

const restart = 'Read the fleet again, and go on from its feedCursor, so that nothing is missed.';

/** Throws CURSOR_UNKNOWN or CURSOR_EXPIRED when the changes after the cursor cannot be given without a gap. */
export function assertReachable({ epoch, sequence }: FeedCursor, position: FeedPosition): void {
  if (epoch !== position.epoch || sequence > position.last) throw createUnknownCursor();
  if (sequence < position.first - 1) {
    const message = `The changes after this cursor were deleted, because they are too old. ${restart}`;
    throw new GatewayError('CURSOR_EXPIRED', message);
  }
}

export function createUnknownCursor(): GatewayError {
  const message = `The cursor is not one of this database, for example because a backup was restored. ${restart}`;
  return new GatewayError('CURSOR_UNKNOWN', message);
}
