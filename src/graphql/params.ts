// Reads the parameters of a GraphQL request from a JSON body or a query string.
// https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters

import { GatewayError } from '../errors.ts';
import { type JsonObject, parseJson, toObject } from '../json.ts';

export interface GraphQLParams {
  readonly query: string;
  readonly operationName?: string;
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Throws INVALID_REQUEST, without repeating what was sent. Ignores unknown members. */
export function parseBody(text: string): GraphQLParams {
  const body = toObject(parseJson(text));
  if (body === null) throw createInvalid('The body must be a JSON object with the member "query".');
  return toParams(body);
}

/** As `parseBody`. `search` is a query string. An empty parameter counts as absent. */
export function parseSearch(search: string): GraphQLParams {
  const given = new URLSearchParams(search);
  const read = (name: string): string | undefined => {
    const [value, ...others] = given.getAll(name);
    if (others.length > 0) throw createInvalid(`Send the query parameter "${name}" once.`);
    return value || undefined;
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

function toParams({ query, operationName, variables, extensions }: JsonObject): GraphQLParams {
  if (typeof query !== 'string' || query === '') {
    throw createInvalid('"query" must be a GraphQL document.');
  }
  if (!isAbsent(operationName) && typeof operationName !== 'string') {
    throw createInvalid('"operationName" must be a string.');
  }
  const values = parseMember('variables', variables);
  parseMember('extensions', extensions);
  return { query, ...(operationName && { operationName }), ...(values && { variables: values }) };
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
