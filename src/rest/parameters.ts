// Parses the query parameters of a request as its route describes them.

import { GatewayError } from '../errors.ts';
import { boundText } from '../telemetry.ts';
import type { QueryParameter } from './openapi.ts';
import { createParameterError, type DataRoute } from './route.ts';

/** Names the parameters that the route does not have in a header, because a misspelt one would have no effect unnoticed. */
export function parseQuery(
  { query = [], refusesOthers }: DataRoute,
  search: string,
  headers: Record<string, string>,
): Readonly<Record<string, string>> {
  if (search === '') return {};
  const given = new URLSearchParams(search);
  const known = new Set(query.map(({ name }) => name));
  const ignored = [...new Set(given.keys())].filter((name) => !known.has(name));
  if (ignored.length > 0 && refusesOthers === true) throw createUnknownError(ignored);
  if (ignored.length > 0) headers['x-ignored-parameters'] = toHeaderList(ignored);
  const entries = query.flatMap((parameter) => {
    const values = given.getAll(parameter.name);
    return values.length === 0 ? [] : [[parameter.name, parseParameter(parameter, values)]];
  });
  return Object.fromEntries(entries);
}

function createUnknownError(names: readonly string[]): GatewayError {
  return new GatewayError(
    'INVALID_REQUEST',
    `This route has no query parameter ${toHeaderList(names)}; GET /v1/openapi.json lists those it has.`,
  );
}

/** A list may be sent with commas, or as several parameters, as some clients do by default. */
function parseParameter(
  { name, values, isList = false }: QueryParameter,
  given: readonly string[],
): string {
  const parts = isList ? given.flatMap((text) => text.split(',')) : given;
  const isRepeated = !isList && parts.length > 1;
  if (values === undefined) {
    if (isRepeated) throw createParameterError(name, 'once');
    return parts.join(',');
  }
  if (!isRepeated && parts.every((part) => values.includes(part))) {
    return values.filter((value) => parts.includes(value)).join(',');
  }
  const expected = isList
    ? `as a list of ${values.join(' and ')}, separated by commas`
    : `once, as ${values.map((value) => `${name}=${value}`).join(' or ')}`;
  throw createParameterError(name, expected);
}

const maxNames = 20;

/** Names are text of the caller's: without secrets, and without what may not be in a header. */
function toHeaderList(names: readonly string[]): string {
  const listed = names.slice(0, maxNames).map((name) => boundText(name).replaceAll(/[ ,]/g, '?'));
  return [...listed, ...(names.length > maxNames ? ['...'] : [])].join(', ');
}
