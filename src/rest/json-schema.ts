// Builds JSON schemas as OpenAPI contains them. https://json-schema.org/draft/2020-12

export type Json = Readonly<Record<string, unknown>>;

/** All members are required but those in `optional`. Further ones may be added to responses. */
export function toObject(description: string, properties: Json, optional: Json = {}): Json {
  const required = Object.keys(properties);
  return { type: 'object', description, properties: { ...properties, ...optional }, required };
}

/** `name`: that of a schema in `components.schemas`. */
export function toNullable(name: string): Json {
  return { anyOf: [{ $ref: `#/components/schemas/${name}` }, { type: 'null' }] };
}

export function toText(description: string): Json {
  return { type: 'string', description };
}

export function toNullableText(description: string): Json {
  return { type: ['string', 'null'], description };
}

export function toTime(description: string): Json {
  return { type: 'string', format: 'date-time', description };
}

export function toNullableTime(description: string): Json {
  return { type: ['string', 'null'], format: 'date-time', description };
}
