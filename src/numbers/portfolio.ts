// Finds the business portfolio of a number: the business that owns its account, and has the messaging limit.

import { type MetaWaba, toStoredBlock } from './meta.ts';

type Data = Readonly<Record<string, unknown>> | null | undefined;

export interface Portfolio {
  /** Meta's id of the business. */
  readonly id: string;
  /** Null until the account has been read. */
  readonly name: string | null;
}

/** From the stored data of the two blocks: the owner of the account, or else the business in the health of the number. */
export function findPortfolio(phone: Data, waba: Data): Portfolio | null {
  const owner = findOwnerId(waba);
  if (owner !== null) return { id: owner, name: toText(waba?.['ownerBusinessName']) };
  if (!phone) return null;
  const { healthStatus } = toStoredBlock('phone', phone);
  const business = healthStatus?.entities.find(({ entityType }) => entityType === 'BUSINESS');
  const id = toMetaId(business?.id);
  return id === null ? null : { id, name: null };
}

/** Meta's id of the business that owns an account, from the data of the account. */
export function findOwnerId(waba: object | null | undefined): string | null {
  return toMetaId((waba as Partial<MetaWaba> | null | undefined)?.ownerBusinessId);
}

function toMetaId(id: string | null | undefined): string | null {
  return id !== null && id !== undefined && /^\d{1,32}$/.test(id) ? id : null;
}

function toText(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
