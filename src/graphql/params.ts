// Reads the parameters of a GraphQL request from a JSON body or a query string.
// https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters

import { GatewayError } from '../errors.ts';
import { type JsonObject, parseJson, toObject } from '../json.ts';

export interface GraphQLParams {
  readonly query: string;
  readonly operationName?: string;
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** With the hash of the document. See persisted-queries.ts. */
export interface HashedParams extends Omit<GraphQLParams, 'query'> {
  readonly sha256Hash: string;
  /** Null when only the hash was sent. */
  readonly query: string | null;
}

export type SentParams = GraphQLParams | HashedParams;

/** Throws INVALID_REQUEST, without repeating what was sent. Ignores unknown members. */
export function parseBody(text: string): SentParams {
  const body = toObject(parseJson(text));
  if (body === null) throw createInvalid('The body must be a JSON object with the member "query".');
  return toParams(body);
}

/** As `parseBody`. `search` is a query string. An empty parameter counts as absent. */
export function parseSearch(search: string): SentParams {
  const given = new URLSearchParams(search);
  const read = (name: string): string | undefined => {
    const [value, ...others] = given.getAll(name);
    if (others.length > 0) throw createInvalid(`Send the query parameter "${name}" once.`);
    // Copied, because what is kept of a parameter would otherwise keep the whole query string in memory.
    return value ? Buffer.from(value).toString() : undefined;
  };
  const readJson = (name: string): unknown => {
    const text = read(name);
    const value = text === undefined ? null : parseJson(text);
    if (value === undefined) throw createInvalid(`"${name}" must be an object in JSON.`);
    return value;
  };
  return toParams({
    query: read('query'),
    variables: readJson('variables'),
    operationName: read('operationName'),
    extensions: readJson('extensions'),
  });
}

/** The body of the same request with POST. */
export function toBody({ query, variables, operationName }: GraphQLParams): string {
  return JSON.stringify({ query, variables, operationName });
}

/** Whether a body may have the member `persistedQuery`, which can be written with escapes. */
export function mayHavePersistedQuery(body: string): boolean {
  return /persistedQuery|\\u/.test(body);
}

/** Whether a body may have a mutation, whose keyword can be written with escapes of ASCII. */
export function mayHaveMutation(body: string): boolean {
  return /mutation|\\u00[67]/i.test(body);
}

/** Whether a body may have a subscription. As for the member, escapes are possible. */
export function mayHaveSubscription(body: string): boolean {
  return /subscription|\\u/.test(body);
}

function toParams({ query, operationName, variables, extensions }: JsonObject): SentParams {
  if (!isAbsent(operationName) && typeof operationName !== 'string') {
    throw createInvalid('"operationName" must be a string.');
  }
  const values = parseMember('variables', variables);
  const sha256Hash = parseHash(parseMember('extensions', extensions)?.['persistedQuery']);
  const others = {
    ...(operationName && { operationName }),
    ...(values && { variables: values }),
  };
  if (typeof query === 'string' && query !== '') {
    return sha256Hash === null ? { query, ...others } : { query, sha256Hash, ...others };
  }
  if (sha256Hash !== null && isAbsent(query || null)) return { query: null, sha256Hash, ...others };
  throw createInvalid('"query" must be a GraphQL document.');
}

/** Null when the member is absent. */
function parseHash(persistedQuery: unknown): string | null {
  if (isAbsent(persistedQuery)) return null;
  const { version, sha256Hash } = toObject(persistedQuery) ?? {};
  if (version === 1 && typeof sha256Hash === 'string') return sha256Hash;
  throw createInvalid(
    '"extensions.persistedQuery" must be { "version": 1, "sha256Hash": "…" }, or be omitted.',
  );
}

/** Null when the member is absent. */
function parseMember(name: string, member: unknown): JsonObject | null {
  const object = toObject(member);
  if (object === null && !isAbsent(member)) throw createInvalid(`"${name}" must be an object.`);
  return object;
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

export function createInvalid(message: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', message);
}
