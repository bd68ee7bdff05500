// Stores what a list of an account says of its numbers, or why the list was refused.

import type { Database } from '../database/database.ts';
import { toGoodReading } from './live-read.ts';
import type { MetaPhone } from './meta.ts';
import type { UpstreamFailure } from './provider.ts';
import { recordReadings } from './store.ts';

/** A number and what was read of it. Nothing is stored if it has another phone number id in the meantime. */
export interface PhoneToRecord {
  readonly id: string;
  readonly phoneNumberId: string;
  readonly result: { readonly phone: MetaPhone } | { readonly failure: UpstreamFailure };
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
    return { ...subject, address: phoneNumberId, data: null, failure: result.failure, state: null };
  });
  await recordReadings(database, {
    tenantId,
    holder: 'sync',
    observedAt,
    readings,
    leased: [],
    isBackground: true,
  });
}
