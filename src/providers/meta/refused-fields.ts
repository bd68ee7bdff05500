// Remembers for an hour which fields Graph has refused, so that the requests which find them out are made once.

import { LRUCache } from 'lru-cache';
import type { MetaBlock } from '../../numbers/meta.ts';
import type { Credentials } from '../../numbers/provider.ts';
import { toCredentialKey } from './credential-key.ts';

/** The node that is read, and the token that reads it. */
export interface FieldReader {
  readonly block: MetaBlock;
  readonly id: string;
  readonly wabaId: string | null;
  readonly credentials: Credentials;
}

/** NONEXISTENT: nodes of this type do not have the field. DENIED: the token lacks a permission for it. */
export type FieldRefusal = 'NONEXISTENT' | 'DENIED';

export interface RefusedFields {
  /** Those of the fields that are not known to be refused; all of them when none would be left. */
  listAllowed(reader: FieldReader, fields: readonly string[]): readonly string[];
  accept(reader: FieldReader, fields: readonly string[]): void;
  refuse(reader: FieldReader, field: string, refusal: FieldRefusal): void;
}

const rememberedMs = 60 * 60 * 1_000;
const maxScopes = 10_000;

/** When each field was refused or accepted last, by scope. */
type Times = LRUCache<string, Map<string, number>>;

/**
 * A field that does not exist is not requested from any node of its type, and one that is denied not from any node of the
 * account, because Meta grants permissions by account. If such a node has given the field within the hour, the refusal
 * concerns one node alone.
 */
export function createRefusedFields(): RefusedFields {
  const refused: Times = new LRUCache({ max: maxScopes });
  const accepted: Times = new LRUCache({ max: maxScopes });
  return {
    listAllowed(reader, fields) {
      const known = Object.values(toScopes(reader)).map((scope) => refused.get(scope));
      const allowed = fields.filter((field) => !known.some((times) => isRecent(times?.get(field))));
      return allowed.length === 0 ? fields : allowed;
    },
    accept(reader, fields) {
      const { type, account } = toScopes(reader);
      remember(accepted, type, fields);
      remember(accepted, account, fields);
    },
    refuse(reader, field, refusal) {
      const { type, account, node } = toScopes(reader);
      const scope = refusal === 'NONEXISTENT' ? type : account;
      const isAccepted = isRecent(accepted.get(scope)?.get(field));
      remember(refused, isAccepted ? node : scope, [field]);
    },
  };
}

function toScopes({ block, id, wabaId, credentials }: FieldReader) {
  const type = `${toCredentialKey(credentials)} ${block}`;
  return { type, account: `${type} account ${wabaId ?? id}`, node: `${type} node ${id}` };
}

function isRecent(time: number | undefined): boolean {
  return time !== undefined && Date.now() - time < rememberedMs;
}

/** The names of fields are the gateway's, so there are few of them. */
function remember(times: Times, scope: string, fields: readonly string[]): void {
  const ofScope = times.get(scope) ?? new Map<string, number>();
  for (const field of fields) ofScope.set(field, Date.now());
  times.set(scope, ofScope);
}
