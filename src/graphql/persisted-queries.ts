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
  /** Of one tenant. */
  readonly maxTenantEntries?: number;
  readonly maxTenantBytes?: number;
  /** Of all tenants. */
  readonly maxBytes?: number;
}

/** What an entry takes beside its document, or a tenant beside its entries. */
const overheadBytes = 300;

/**
 * Keeps documents in this process. A tenant evicts its own documents; if all tenants together have too many, those of the
 * tenants that were seen least recently are evicted. A client whose document was evicted sends it again.
 */
export function createPersistedQueries({
  maxTenantEntries = 1_000,
  maxTenantBytes = 1_000_000,
  maxBytes = 32_000_000,
}: PersistedQueriesOptions = {}): PersistedQueries {
  const createDocuments = () =>
    new LRUCache<string, string>({
      max: maxTenantEntries,
      maxSize: maxTenantBytes,
      // A string may take two bytes for a character.
      sizeCalculation: (document) => 2 * document.length + overheadBytes,
    });
  const tenants = new LRUCache<string, LRUCache<string, string>>({
    maxSize: maxBytes,
    sizeCalculation: ({ calculatedSize }) => calculatedSize + overheadBytes,
  });
  return {
    find: (tenantId, sha256Hash) => tenants.get(tenantId)?.get(sha256Hash),
    add(tenantId, sha256Hash, document) {
      const documents = tenants.get(tenantId) ?? createDocuments();
      documents.set(sha256Hash, document);
      // The size of a tenant is calculated when it is added.
      tenants.delete(tenantId);
      tenants.set(tenantId, documents);
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
