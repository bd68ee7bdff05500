// Stores what a list of an account says of its numbers: what it has of them, that it lacks them, or why it was refused.

import type { Database } from '../database/database.ts';
import type { StoredCredentials } from './credentials.ts';
import { toGoodReading } from './live-read.ts';
import type { MetaPhone } from './meta.ts';
import { toPlainFailure, type UpstreamFailure } from './provider.ts';
import { recordReadings } from './store.ts';

/** MISSING: the complete list does not have the number; `credentials` are those that it has. */
type PhoneResult =
  | { readonly phone: MetaPhone }
  | { readonly failure: UpstreamFailure }
  | { readonly missing: true; readonly credentials: StoredCredentials };

/**
 * It is stored as an obstacle: nothing was read of the number itself, so a read of it, or other credentials, end it. An answer
 * that Meta does not know its id confirms it.
 */
const missingInAccount: UpstreamFailure = toPlainFailure(
  'META_NUMBER_MISSING',
  false,
  'The number is no longer in the account: the list of its numbers at Meta lacks it.',
  {
    solution:
      'See in WhatsApp Manager whether it was deleted or moved to another account, or whether the access token may no longer see it. Then store its ids with: number update, or remove it with: number remove.',
  },
);

/** A number and what was read of it. Nothing is stored if it has another phone number id in the meantime. */
export interface PhoneToRecord {
  readonly id: string;
  readonly phoneNumberId: string;
  readonly result: PhoneResult;
}

export interface PhonesToRecord {
  readonly tenantId: string;
  /** When the reads were sent. */
  readonly observedAt: Date;
  readonly phones: readonly PhoneToRecord[];
}

/** A failure counts as an attempt to read the number with its credentials. */
export async function recordPhones(
  database: Database,
  { tenantId, observedAt, phones }: PhonesToRecord,
): Promise<void> {
  if (phones.length === 0) return;
  const readings = phones.map(({ id, phoneNumberId, result }) => {
    const subject = { block: 'phone', id } as const;
    if ('phone' in result) return toGoodReading(subject, phoneNumberId, result.phone);
    const attempted = 'failure' in result;
    const failure = attempted ? result.failure : missingInAccount;
    return { ...subject, address: phoneNumberId, data: null, failure, attempted, state: null };
  });
  const credentials = new Map(
    phones.flatMap(({ id, result }) => ('missing' in result ? [[id, result.credentials]] : [])),
  );
  await recordReadings(database, {
    tenantId,
    holder: 'sync',
    observedAt,
    readings,
    leased: [],
    credentials,
    isBackground: true,
  });
}
