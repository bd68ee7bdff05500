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

/**
 * As `parseJson`, except that an integer which a number cannot hold exactly becomes the text of its digits. Ids of Meta have
 * up to 20 digits; they are texts in its documentation.
 */
export function parseJsonWithIds(text: string): unknown {
  // A reviver makes parsing several times slower.
  if (!/(^|[[:,])\s*-?\d{16}/.test(text)) return parseJson(text);
  try {
    return JSON.parse(text, keepDigits);
  } catch {
    return undefined;
  }
}

function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? '';
  return /^-?\d+$/.test(source) ? source : value;
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
