// Owns the reading of JSON that nobody vouches for: it never throws, and what is an object is told from what is not.

export type JsonObject = Readonly<Record<string, unknown>>;

/** Undefined for what is not JSON: the error of V8 would repeat the text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Null for what is no integer of 32 bits, which is all that GraphQL has. https://spec.graphql.org/draft/#sec-Int */
export function toInt(value: unknown): number | null {
  return typeof value === 'number' && (value | 0) === value ? value : null;
}

/** Null for what is not a JSON object; a list is none. */
export function toObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : null;
}
