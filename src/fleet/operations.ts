// What people who operate a fleet do with its numbers: they label and mute them, and have them read.

import { type Access, assertScope } from '../access/access.ts';
import { GatewayError } from '../errors.ts';
import type { History } from '../history/history.ts';
import { toNotFound } from '../numbers/administration.ts';
import { toCause } from '../numbers/numbers.ts';
import { createInvalid } from './filter.ts';
import { normalizeLabels } from './labels.ts';
import { normalizeNote } from './note.ts';
import { type OperatedColumns, requestReads, updateOperated } from './operation-store.ts';
import {
  planRefresh,
  type ReadPlan,
  type RefreshPlanOptions,
  type RefreshRequest,
  type SkippedNumber,
} from './refresh-requests.ts';

export interface NumberOperation {
  readonly id: string;
  /** Replaces all labels; they stay if absent. */
  readonly labels?: readonly string[];
  /** Silences alerts; null ends it, and it stays as it is if absent. */
  readonly mute?: Mute | null;
}

/** What a mute does, for callers of both APIs. */
export const muteMeaning =
  'Endpoints are not told of incidents while all their numbers are muted, and are told when the mute ends before the incident does. Incidents of its account, portfolio or token as a whole are told. Its verdict and its history stay what they are.';

export interface Mute {
  readonly until: Date;
  readonly note: string | null;
}

export interface Operations {
  /**
   * Writes what differs, in one transaction, and so nothing when it is repeated. Throws FORBIDDEN without the scope `operate`
   * or for a key of another number, INVALID_REQUEST for what is out of bounds, and NUMBER_NOT_FOUND.
   */
  operate(access: Access, operation: NumberOperation): Promise<void>;
  /**
   * Has numbers read in the background, and returns at once. Calls `charge` with the calls that this takes before anything is
   * made due. The request is one change of the history, however many numbers there are. Throws FORBIDDEN without the scope `operate`, and INVALID_REQUEST for more than 1,000 numbers.
   */
  refresh(
    access: Access,
    request: RefreshRequest,
    charge: (plannedCalls: number) => Promise<void>,
  ): Promise<RefreshReceipt>;
}

export interface RefreshReceipt {
  /** How many numbers will be read. */
  readonly acceptedCount: number;
  readonly skipped: readonly SkippedNumber[];
  /** To the upstreams. Reads that are due already are made once. */
  readonly plannedCalls: number;
  /** The change that records the request comes after this cursor, and then what the reads change. */
  readonly feedCursor: string;
}

export interface OperationsOptions extends RefreshPlanOptions {
  readonly history: Pick<History, 'readChanges'>;
  readonly sync: ReadPlan;
}

const maxMuteDays = 366;
const dayMs = 86_400_000;

export function createOperations(options: OperationsOptions): Operations {
  const { database, history, now, sync } = options;
  return {
    async operate(access, { id, labels, mute }) {
      assertMayOperate(access, id);
      const columns: OperatedColumns = {
        ...(labels !== undefined && { labels: [...normalizeLabels(labels)] }),
        ...(mute !== undefined && toMuteColumns(mute, now())),
      };
      const { tenantId } = access;
      // No stored id has a NUL, and PostgreSQL rejects one in a parameter.
      const isFound =
        !id.includes('\0') &&
        (await updateOperated(database, tenantId, id, columns, toCause(access)));
      if (!isFound) throw toNotFound();
    },
    async refresh(access, request, charge) {
      assertScope(access, 'operate');
      const planned = await planRefresh(options, access, request);
      const { accepted, skipped, plannedCalls, blocks } = planned;
      await charge(plannedCalls);
      const { cursor } = await history.readChanges(access, positionOnly);
      const acceptedCount = accepted.length;
      const [only = null] = acceptedCount === 1 ? accepted : [];
      await requestReads(database, access.tenantId, sync, planned.requests, {
        recorded: { numberId: only, value: { blocks, acceptedCount, plannedCalls } },
        cause: toCause(access),
      });
      sync.wake();
      return { acceptedCount, skipped, plannedCalls, feedCursor: cursor };
    },
  };
}

const positionOnly = { after: null, first: 1, filter: {} } as const;

/** Throws FORBIDDEN. A key of a number reads the whole tenant, so this says nothing that it could not find out. */
function assertMayOperate(access: Access, numberId: string): void {
  assertScope(access, 'operate');
  if (access.numberId === null || access.numberId === numberId) return;
  const message = `The API key is bound to the number ${access.numberId} and operates this number alone. Send another key.`;
  throw new GatewayError('FORBIDDEN', message);
}

function toMuteColumns(mute: Mute | null, now: Date): OperatedColumns {
  if (mute === null) return { muted_until: null, mute_note: null };
  const { until, note } = mute;
  const leftMs = until.getTime() - now.getTime();
  if (!(leftMs > 0 && leftMs <= maxMuteDays * dayMs)) {
    throw createInvalid(
      `A number is muted until a time in the future, at most ${maxMuteDays} days from now.`,
    );
  }
  return { muted_until: until, mute_note: normalizeNote(note) };
}
