// Automatic persisted queries: documents that a tenant has sent before, found by their hash.
// https://www.apollographql.com/docs/apollo-server/performance/apq

import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { GatewayError } from '../errors.ts';
import type { GraphQLParams, SentParams } from './params.ts';

export interface PersistedQueries {
  /** `sha256Hash` is in hexadecimal. */
  find(tenantId: string, sha256Hash: string): string | undefined;
  add(tenantId: string, sha256Hash: string, document: string): void;
}

export interface PersistedQueriesOptions {
  /** Of one tenant. It limits the entries too, because each has an overhead. */
  readonly maxTenantBytes?: number;
  /** Of all tenants. */
  readonly maxBytes?: number;
}

/** What an entry takes beside its document, also if it is the only one of its tenant. Measured by a test. */
const overheadBytes = 700;

interface Entry {
  readonly tenantId: string;
  readonly document: string;
  readonly size: number;
}

/**
 * Keeps documents in this process. A tenant that has too many evicts its own; when all tenants together have too many, those
 * that were used least recently are evicted. A client whose document was evicted sends it again.
 */
export function createPersistedQueries({
  maxTenantBytes = 1_000_000,
  maxBytes = 32_000_000,
}: PersistedQueriesOptions = {}): PersistedQueries {
  const tenants = createTenants();
  // One cache for all tenants. It has no `max`, for which it would allocate memory in advance.
  const entries = new LRUCache<string, Entry>({
    maxSize: maxBytes,
    sizeCalculation: ({ size }) => size,
    dispose: (entry, id) => tenants.remove(id, entry),
  });
  return {
    find(tenantId, sha256Hash) {
      const id = toId(tenantId, sha256Hash);
      const entry = entries.get(id);
      if (entry === undefined) return undefined;
      tenants.use(id, entry);
      return entry.document;
    },
    add(tenantId, sha256Hash, document) {
      // A string may take two bytes for a character.
      const size = 2 * document.length + overheadBytes;
      const id = toId(tenantId, sha256Hash);
      if (size > maxTenantBytes || entries.has(id)) return;
      const evicted = tenants.idsToEvict(tenantId, maxTenantBytes - size);
      for (const other of evicted) entries.delete(other);
      const entry = { tenantId, document, size };
      entries.set(id, entry);
      tenants.add(id, entry);
    },
  };
}

function toId(tenantId: string, sha256Hash: string): string {
  return `${tenantId}\0${sha256Hash}`;
}

/** The entries of each tenant, and their sizes. */
function createTenants() {
  const tenants = new Map<string, { bytes: number; readonly ids: Set<string> }>();
  return {
    add(id: string, { tenantId, size }: Entry): void {
      const tenant = tenants.get(tenantId) ?? { bytes: 0, ids: new Set() };
      tenants.set(tenantId, tenant);
      tenant.bytes += size;
      tenant.ids.add(id);
    },
    remove(id: string, { tenantId, size }: Entry): void {
      const tenant = tenants.get(tenantId);
      if (tenant?.ids.delete(id) !== true) return;
      tenant.bytes -= size;
      if (tenant.ids.size === 0) tenants.delete(tenantId);
    },
    /** The ids of a tenant are in the order of their last use. */
    use(id: string, { tenantId }: Entry): void {
      const ids = tenants.get(tenantId)?.ids;
      if (ids?.delete(id) === true) ids.add(id);
    },
    /** Ends once the tenant has `maxBytes` or less; each id has to be removed before the next one is read. */
    *idsToEvict(tenantId: string, maxBytes: number): Iterable<string> {
      const tenant = tenants.get(tenantId);
      for (const id of tenant?.ids ?? []) {
        if (tenant!.bytes <= maxBytes) return;
        yield id;
      }
    },
  };
}

/** Finds the document of a request that may have sent its hash instead. Throws the errors that clients expect. */
export type ResolveDocument = (tenantId: string, sent: SentParams) => GraphQLParams;

/** `isValid`: whether a document is within the limits and valid; others are not stored. `persisted` is null if switched off. */
export function createResolveDocument(
  persisted: PersistedQueries | null,
  isValid: (document: string) => boolean,
): ResolveDocument {
  return (tenantId, sent) => {
    if (!('sha256Hash' in sent)) return sent;
    const { sha256Hash, query, ...others } = sent;
    // Clients compare these messages.
    if (persisted === null) {
      throw new GatewayError('PERSISTED_QUERY_NOT_SUPPORTED', 'PersistedQueryNotSupported');
    }
    const known = persisted.find(tenantId, sha256Hash);
    if (query === null) {
      if (known !== undefined) return { query: known, ...others };
      throw new GatewayError('PERSISTED_QUERY_NOT_FOUND', 'PersistedQueryNotFound');
    }
    if (hash('sha256', query, 'hex') !== sha256Hash) {
      const message =
        'extensions.persistedQuery.sha256Hash is not the SHA-256 of "query", in lower-case hexadecimal.';
      throw new GatewayError('PERSISTED_QUERY_MISMATCH', message);
    }
    if (known === undefined && isValid(query)) persisted.add(tenantId, sha256Hash, query);
    return { query, ...others };
  };
}
