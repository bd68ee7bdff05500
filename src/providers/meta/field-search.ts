// Reads a block whose fields Graph may refuse: finds out which ones, so that each refused field costs itself alone.

import type { JsonObject } from '../../json.ts';
import { type Field, type MetaBlock, metaBlocks } from '../../numbers/meta.ts';
import type { BlockResult } from '../../numbers/provider.ts';
import type { FailedResult, GraphResult } from './graph.ts';
import type { FieldReader, RefusedFields } from './refused-fields.ts';

/** Fields to read in one operation, and what came of it. */
export interface FieldRead {
  readonly fields: readonly string[];
  readonly result: GraphResult;
}

type Fields = readonly string[];

/** The state of the search. */
export interface FieldSearch {
  readonly reader: FieldReader;
  /** Lists of fields to read, each in an operation of its own; none when the search has ended. */
  next: readonly Fields[];
  /** Graph's JSON of each list that was read. */
  readonly values: JsonObject[];
  /** Were refused for want of a permission, and are divided once the node is known to be readable. */
  denied: readonly Fields[];
  isReadable: boolean;
  isProbed: boolean;
  /** Whether anything but the probe was read. */
  hasFields: boolean;
  /** The first refusal of fields. */
  refusal: FailedResult | null;
  failure: FailedResult | null;
}

/**
 * Graph refuses all fields of an operation because of one. When it names the field, the others are read without it. When a
 * permission is missing, it often does not: a list is then divided until the field is alone, but only once a probe has shown
 * that the token may read the node at all. A failure that is no refusal of fields fails the block: leaving fields out would
 * look like a refusal and erase their stored values.
 */
export function startFieldSearch(reader: FieldReader, fields: Fields): FieldSearch {
  return {
    reader,
    next: [fields],
    values: [],
    denied: [],
    isReadable: false,
    isProbed: false,
    hasFields: false,
    refusal: null,
    failure: null,
  };
}

/** Records the results of all lists in `next`, and sets `next` to what follows from them. */
export function recordReads(
  search: FieldSearch,
  reads: readonly FieldRead[],
  known: RefusedFields,
): void {
  const remaining = reads
    .map((read) => recordRead(search, read, known))
    .filter((list) => list.length > 0);
  search.next = [];
  if (search.failure !== null) return;
  if (search.denied.length === 0) search.next = remaining;
  else if (search.isReadable) search.next = [...remaining, ...divideDenied(search, known)];
  else if (search.isProbed) search.failure = search.refusal;
  else {
    search.isProbed = true;
    search.next = [...remaining, probes[search.reader.block]];
  }
}

/** Once the search has ended. */
export function toSearchResult(search: FieldSearch): BlockResult<readonly JsonObject[]> {
  const failed = search.failure ?? (search.hasFields ? null : search.refusal);
  if (failed === null) return { ok: true, value: search.values };
  return { ok: false, attempted: failed.attempted, failure: failed.failure };
}

/** A list with one field that every node of the block has, and every token that may read the node may read. */
const probes: Readonly<Record<MetaBlock, Fields>> = {
  phone: ['id'],
  profile: ['messaging_product'],
  waba: ['id'],
};

/** Returns the list without a field that was refused by its name; nothing if none was. */
function recordRead(
  search: FieldSearch,
  { fields, result }: FieldRead,
  known: RefusedFields,
): Fields {
  const isProbe = fields === probes[search.reader.block];
  if (result.ok) {
    search.values.push(result.json);
    search.isReadable = true;
    search.hasFields ||= !isProbe;
    return [];
  }
  const { refusedField, lacksPermission } = result;
  if (refusedField !== null) {
    search.refusal ??= result;
    known.refuse(search.reader, refusedField, lacksPermission ? 'DENIED' : 'NONEXISTENT');
    return fields.filter((field) => field !== refusedField);
  }
  if (!lacksPermission) search.failure ??= result;
  else {
    search.refusal ??= result;
    if (!isProbe) search.denied = [...search.denied, fields];
  }
  return [];
}

/** The parts of the denied lists. A denied list of one field says which field is denied. */
function divideDenied(search: FieldSearch, known: RefusedFields): readonly Fields[] {
  const { denied, reader } = search;
  search.denied = [];
  return denied.flatMap((list) => {
    const [field, ...others] = list;
    if (field === undefined || others.length > 0) return divide(reader.block, list);
    known.refuse(reader, field, 'DENIED');
    return [];
  });
}

/** Into the core and the fields that are known to be denied sometimes; the latter one by one, and a core by halves. */
function divide(block: MetaBlock, list: Fields): readonly Fields[] {
  const isRisky = toRiskyFields(block);
  const risky = list.filter((field) => isRisky.has(field));
  const core = list.filter((field) => !isRisky.has(field));
  if (core.length === 0) return risky.map((field) => [field]);
  if (risky.length > 0) return [core, risky];
  const middle = Math.ceil(core.length / 2);
  return [core.slice(0, middle), core.slice(middle)];
}

function toRiskyFields(block: MetaBlock): ReadonlySet<string> {
  const fields: readonly Field[] = metaBlocks[block];
  return new Set(fields.filter(({ risky }) => risky).map(({ graph }) => graph));
}
