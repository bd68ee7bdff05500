// Owns how much of a document is looked at and remembered, so that no document costs more than it is worth.

import { type DocumentNode, GraphQLError, parse, type ParseOptions, type Source } from 'graphql';
import { GatewayError } from '../errors.ts';

/** The most tokens that a document may have; 25 numbers with everything that is known of them fit. */
export const tokenLimit = 2_000;

/** As graphql-js, with QUERY_TOO_COMPLEX for a document that is too long; it is not read to its end. */
export function parseWithinLimits(source: string | Source, options?: ParseOptions): DocumentNode {
  try {
    return parse(source, { ...options, maxTokens: tokenLimit });
  } catch (error) {
    if (!(error instanceof GraphQLError) || !error.message.includes('more than')) throw error;
    const message = `The document has more than ${tokenLimit} tokens.`;
    throw new GatewayError('QUERY_TOO_COMPLEX', message, { cause: error });
  }
}

export interface DocumentCache {
  get(text: string): DocumentNode | undefined;
  set(text: string, document: DocumentNode): void;
}

/** Remembers the documents that were used last, as far as they fit; a long one is never remembered. */
export function createDocumentCache(maxCharacters = 500_000, maxLength = 10_000): DocumentCache {
  const documents = new Map<string, DocumentNode>();
  let characters = 0;
  const forget = (text: string): void => {
    if (documents.delete(text)) characters -= text.length;
  };
  const set = (text: string, document: DocumentNode): void => {
    forget(text);
    if (text.length > maxLength) return;
    documents.set(text, document);
    characters += text.length;
    for (const oldest of documents.keys()) {
      if (characters <= maxCharacters) break;
      forget(oldest);
    }
  };
  return {
    get(text) {
      const document = documents.get(text);
      // Moves it to the end of the line.
      if (document !== undefined) set(text, document);
      return document;
    },
    set,
  };
}
