// What commands print of changes: the columns of their tables, and the names of their numbers.

import type { Gateway } from '../gateway.ts';
import { GatewayError } from '../errors.ts';
import type { RecordedRefresh } from '../fleet/operation-store.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import type { toChange } from '../rest/change.ts';
import { toTone } from './number-json.ts';
import { type Column, formatTime } from './table.ts';

export type ChangeJson = ReturnType<typeof toChange>;

/** What the cell of a value shows at most: profiles have long texts. */
const maxValueLength = 40;

export const timeColumn: Column<ChangeJson> = {
  title: 'time',
  cell: ({ occurredAt }) => formatTime(occurredAt),
};

export const subjectColumn: Column<ChangeJson> = { title: 'what', cell: toSubject };

export const previousColumn: Column<ChangeJson> = {
  title: 'from',
  cell: ({ previousValue }) => toShort(previousValue),
  minWidth: 8,
};

export const newColumn: Column<ChangeJson> = {
  title: 'to',
  cell: toNewValue,
  tone: ({ newValue, kind }) => (kind === 'READ_FAILING' ? 'bad' : toTone(newValue)),
  minWidth: 8,
};

export const sourceColumn: Column<ChangeJson> = {
  title: 'source',
  cell: ({ source }) => source,
  omitOrder: 1,
};

/** A field, unless something else than a field has changed. */
function toSubject({ kind, field }: ChangeJson): string {
  if (field === null) return kind;
  return kind === 'FIELD' || kind === 'VERDICT' ? field : `${kind} ${field}`;
}

/** Of what was added, the values are many, and JSON has them. */
function toNewValue({ kind, newValue }: ChangeJson): string | null {
  if (kind === 'REFRESH') return toRefreshText(newValue);
  return kind === 'ADDED' ? null : toShort(newValue);
}

/** How many numbers are to be read, and what of them. */
function toRefreshText(value: string | null): string {
  const { acceptedCount, blocks } = JSON.parse(value ?? '{}') as Partial<RecordedRefresh['value']>;
  const numbers = acceptedCount === 1 ? '1 number' : `${acceptedCount} numbers`;
  return `${numbers}: ${blocks?.join(', ')}`;
}

export function toShort(value: string | null): string | null {
  if (value === null || value.length <= maxValueLength) return value;
  return `${value.slice(0, maxValueLength - 1)}…`;
}

type Named = Pick<ChangeJson, 'numberId' | 'kind' | 'field' | 'newValue'>;

export interface NumberNames {
  /** Learns names from changes. Those of numbers that were removed before are not known. */
  learn(changes: readonly Named[]): Promise<void>;
  /** Null when unknown. */
  get(numberId: string | null): string | null;
}

/** Returns a name for each id; null when it is unknown. */
export type FindNames = (ids: readonly string[]) => Promise<readonly (string | null)[]>;

export function createNumberNames(findNames: FindNames): NumberNames {
  const names = new Map<string, string | null>();
  return {
    async learn(changes) {
      const all = new Set(changes.flatMap(({ numberId }) => numberId ?? []));
      const ids = [...all].filter((id) => !names.has(id));
      const found = ids.length === 0 ? [] : await findNames(ids);
      for (const [index, id] of ids.entries()) names.set(id, found[index] ?? null);
      for (const { numberId, kind, field, newValue } of changes) {
        if (numberId === null || newValue === null) continue;
        if (kind === 'FIELD' && field === 'NAME') names.set(numberId, newValue);
        if (kind === 'ADDED' && field === null && names.get(numberId) === null) {
          names.set(numberId, readAddedFields(newValue)['NAME'] ?? null);
        }
      }
    },
    get: (numberId) => (numberId === null ? null : (names.get(numberId) ?? null)),
  };
}

export function createFindNames({ numbers }: Gateway, tenantId: string): FindNames {
  return async (ids) => {
    const requests = ids.map((id) => ({ id, refresh: null, projection }));
    const access = toOperatorAccess(tenantId);
    const found = await numbers.getMany(access, requests, AbortSignal.any([]));
    return found.map((number) => (number instanceof GatewayError ? null : number.name));
  };
}

const projection = { details: true, apiKeys: false, health: 'nothing', meta: null } as const;

/** The fields of an ADDED change, by their names. */
export function readAddedFields(newValue: string | null): Readonly<Record<string, string>> {
  return newValue === null ? {} : (JSON.parse(newValue) as Record<string, string>);
}
