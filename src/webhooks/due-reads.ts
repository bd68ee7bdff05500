// Reads live what events make due: the first event of an account at once, and those that follow it closely in one read.

import type { Database } from '../database/database.ts';
import { type Numbers, toOperatorAccess } from '../numbers/numbers.ts';
import { isSamePhone } from '../numbers/phone-digits.ts';
import type { MetaEvent } from './event.ts';
import { createSlots } from './slots.ts';
import { listReadableNumbers, type ReadableNumber } from './store.ts';

/** Which numbers of an account are to be read. */
export interface DueNumbers {
  /** Digits of phone numbers and ids of phone numbers at Meta; null for all numbers of the account, and the account itself. */
  readonly phones: readonly string[] | null;
}

export interface DueReads extends AsyncDisposable {
  /** Returns at once, and never throws. */
  begin(tenantId: string, events: readonly MetaEvent[]): void;
}

export interface DueReadsOptions {
  /** Reads the account now. Rejects when the reads could not be made, but not when Meta refuses one. */
  readonly read: (account: Account, due: DueNumbers, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
  /** How long after the begin of a read others of the account wait for each other. */
  readonly windowMs?: number;
}

export interface Account {
  readonly tenantId: string;
  readonly wabaId: string;
}

/** An account that is being read or waits for it; `due` is what to read next. */
interface Waiting extends Account {
  due: DueNumbers | null;
}

const defaultWindowMs = 2_000;
/** Reads at a time in one process. */
const maxConcurrent = 8;
const maxConcurrentOfTenant = 4;

export function createDueReads(options: DueReadsOptions): DueReads {
  const { read, onFailure, windowMs = defaultWindowMs } = options;
  const stop = new AbortController();
  const { signal } = stop;
  const accounts = new Map<string, Waiting>();
  const running = new Set<Promise<void>>();
  const slots = createSlots({ total: maxConcurrent, perKey: maxConcurrentOfTenant });
  const readAccount = async (key: string, account: Waiting): Promise<void> => {
    while (account.due !== null && !signal.aborted) {
      const window = pause(windowMs, signal);
      // oxlint-disable no-await-in-loop -- one read of an account at a time
      await slots
        .use(account.tenantId, async () => {
          const { due } = account;
          account.due = null;
          if (due !== null && !signal.aborted) await read(account, due, signal);
        })
        .catch((error: unknown) => {
          if (!signal.aborted) onFailure(error);
        });
      await window;
      // oxlint-enable no-await-in-loop
    }
    accounts.delete(key);
  };
  return {
    begin(tenantId, events) {
      for (const event of events) {
        const due = toDueNumbers(event);
        if (due === null) continue;
        const { wabaId } = event;
        const key = `${tenantId} ${wabaId}`;
        const account = accounts.get(key) ?? { tenantId, wabaId, due: null };
        account.due = mergeDue(account.due, due);
        if (accounts.has(key)) continue;
        accounts.set(key, account);
        // After this function, so that the events of one delivery are read together.
        const reading = Promise.resolve().then(() => readAccount(key, account));
        running.add(reading);
        void reading.finally(() => running.delete(reading));
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(running);
    },
  };
}

/** Ends early when the signal is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
    resolve();
  };
  const timer = setTimeout(end, ms);
  signal.addEventListener('abort', end);
  return promise;
}

/** The fields that name one number. */
const phoneFields: ReadonlySet<string> = new Set([
  'phone_number_quality_update',
  'phone_number_name_update',
  'security',
]);

/** The fields after which the account and all its numbers may have changed. */
const accountFields: ReadonlySet<string> = new Set([
  'account_alerts',
  'account_review_update',
  'account_settings_update',
  'account_update',
  'business_capability_update',
  'business_status_update',
]);

/** What an event makes due; null for one that is not about the health of numbers. */
export function toDueNumbers({ field, payload }: MetaEvent): DueNumbers | null {
  const value = payload === null ? {} : (JSON.parse(payload) as Readonly<Record<string, unknown>>);
  const phone = phoneFields.has(field)
    ? value['display_phone_number']
    : field === 'account_alerts' && value['entity_type'] === 'PHONE_NUMBER'
      ? value['entity_id']
      : undefined;
  if (typeof phone === 'string' || typeof phone === 'number') return { phones: [String(phone)] };
  return phoneFields.has(field) || accountFields.has(field) ? { phones: null } : null;
}

function mergeDue(one: DueNumbers | null, other: DueNumbers): DueNumbers {
  if (one === null) return other;
  if (one.phones === null || other.phones === null) return { phones: null };
  return { phones: [...new Set([...one.phones, ...other.phones])] };
}

/** The numbers to read. All of the account when an event names one that is not known by this name. */
export function selectDue(
  numbers: readonly ReadableNumber[],
  { phones }: DueNumbers,
): readonly ReadableNumber[] {
  if (phones === null) return numbers;
  const named = phones.map((phone) =>
    numbers.filter(
      ({ number, phoneNumberId }) => phoneNumberId === phone || isSamePhone(number, phone),
    ),
  );
  return named.some((found) => found.length === 0) ? numbers : [...new Set(named.flat())];
}

/** Nobody waits for the numbers themselves. */
const nothing = { details: false, apiKeys: false, health: 'nothing', meta: null } as const;

/** In one read. The usage limits of a new account allow 200 calls an hour, and each number is one. */
const maxNumbers = 100;

/** Reads the numbers that are due, those with the oldest readings first, and the account if all of them are. */
export function createAccountRead({
  database,
  numbers,
}: {
  readonly database: Database;
  readonly numbers: Pick<Numbers, 'getMany'>;
}): DueReadsOptions['read'] {
  return async ({ tenantId, wabaId }, due, signal) => {
    const all = await listReadableNumbers(database, tenantId, wabaId);
    const requests = selectDue(all, due)
      .slice(0, maxNumbers)
      .map(({ id }) => ({
        id,
        refresh: due.phones === null ? (['phone', 'waba'] as const) : (['phone'] as const),
        projection: nothing,
      }));
    if (requests.length === 0) return;
    await numbers.getMany(toOperatorAccess(tenantId), requests, signal);
  };
}
