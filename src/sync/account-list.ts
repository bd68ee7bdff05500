// Reads the list of an account's numbers, and compares it with what is stored of them.

import { isDeepStrictEqual } from 'node:util';
import type { AccountReader, ListedPhone } from '../fleet/account-reader.ts';
import { type Field, metaBlocks } from '../numbers/meta.ts';
import type { Credentials, ReadOptions, UpstreamFailure } from '../numbers/provider.ts';
import type { SyncNumber } from './store.ts';

export interface AccountList {
  readonly phones: ReadonlyMap<string, ListedPhone>;
  /** Fields that say nothing, because they were not asked for or Meta refuses them in a list. */
  readonly unknown: ReadonlySet<string>;
  readonly pages: number;
}

export type ListResult =
  | { readonly ok: true; readonly list: AccountList }
  | { readonly ok: false; readonly failure: UpstreamFailure };

export interface ListRequest {
  readonly reader: Pick<AccountReader, 'listPhones'>;
  readonly wabaId: string;
  readonly extent: 'PLAIN' | 'ALL';
  readonly credentials: Credentials;
  readonly options: ReadOptions;
}

const phoneFields: readonly Field[] = metaBlocks.phone;
const riskyFields = phoneFields.filter(({ risky }) => risky === true).map(({ name }) => name);

/** The complete list or why it could not be read: a part of it says nothing about the rest. */
export async function readList(request: ListRequest): Promise<ListResult> {
  const { reader, wabaId, extent, credentials, options } = request;
  const phones = new Map<string, ListedPhone>();
  const unknown = new Set<string>(extent === 'ALL' ? [] : riskyFields);
  let pages = 0;
  for await (const page of reader.listPhones(wabaId, extent, credentials, options)) {
    if (!page.ok) return page;
    pages += 1;
    for (const phone of page.value.phones) phones.set(phone.phoneNumberId, phone);
    for (const name of page.value.omitted) unknown.add(name);
  }
  return { ok: true, list: { phones, unknown, pages } };
}

/** Whether the list has everything that verdicts need. Other fields that Meta refuses in lists keep what is stored of them. */
export function isComplete({ unknown }: Pick<AccountList, 'unknown'>): boolean {
  return !unknown.has('healthStatus');
}

/** A phone of the list, with what is stored of it in place of what the list does not say. */
export function completePhone(
  { phone }: ListedPhone,
  { phone: stored }: Pick<SyncNumber, 'phone'>,
  unknown: ReadonlySet<string>,
): ListedPhone['phone'] {
  const kept = [...unknown].map((name) => [name, stored?.[name] ?? null]);
  return { ...phone, ...Object.fromEntries(kept) };
}

/** Whether the list says something else than what is stored, or anything of a number that was never read or is failing. */
export function differs(
  { phone: stored, failure }: Pick<SyncNumber, 'phone' | 'failure'>,
  { phone }: ListedPhone,
  unknown: ReadonlySet<string>,
): boolean {
  if (stored === null || failure !== null) return true;
  return Object.entries(phone).some(
    ([name, value]) => !unknown.has(name) && !isDeepStrictEqual(value, stored[name] ?? null),
  );
}
