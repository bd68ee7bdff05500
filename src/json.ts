// Reading JSON from untrusted sources without exceptions.

export type JsonObject = Readonly<Record<string, unknown>>;

/** Undefined for invalid JSON. It does not throw, because the error of JSON.parse repeats the text, which may be secret. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Null for anything but a 32-bit integer, the only integers of GraphQL: https://spec.graphql.org/draft/#sec-Int */
export function toInt(value: unknown): number | null {
  return typeof value === 'number' && (value | 0) === value ? value : null;
}

/** Null for anything but a JSON object; an array is not one. */
export function toObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : null;
}
