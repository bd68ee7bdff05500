// Tests the schema: that schema.graphql is up to date, that everything has a description, and that it exposes no secrets.

import {
  type GraphQLEnumType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  getNamedType,
  isNonNullType,
  isAbstractType,
  isEnumType,
  isIntrospectionType,
  isObjectType,
  printSchema,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/graphql/schema.ts';
import { type Field, type MetaBlock, metaBlocks } from '../../src/numbers/meta.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';

const types: readonly GraphQLNamedType[] = Object.values(schema.getTypeMap()).filter(
  (type) => !isIntrospectionType(type),
);
const objects: readonly GraphQLObjectType[] = types.filter(isObjectType);
const enums: readonly GraphQLEnumType[] = types.filter(isEnumType);

test('schema.graphql is up to date; `npm run schema` writes it', async () => {
  await expect(`${printSchema(schema)}\n`).toMatchFileSnapshot('../../schema.graphql');
});

test('every type, field, argument, enum value and directive has a description', () => {
  const fields = objects.flatMap((type) => Object.values(type.getFields()));
  const directives = schema.getDirectives();
  const described = [
    { name: 'the schema', description: schema.description },
    ...types,
    ...fields,
    ...fields.flatMap((field) => field.args),
    ...enums.flatMap((type) => type.getValues()),
    ...directives,
    ...directives.flatMap((directive) => directive.args),
  ];
  expect(described.length).toBeGreaterThan(200);
  // A sentence: it begins and ends like one.
  const undescribed = described.filter(
    ({ description }) => !/^[`\w].{4,}[.…]$/s.test(description ?? ''),
  );
  const builtIn = new Set(['String', 'Int', 'Boolean', 'ID', 'Float']);
  expect(
    undescribed
      .map(({ name, description }) => `${name}: ${description}`)
      .filter((line) => !builtIn.has(line.split(':')[0] ?? '')),
  ).toEqual([]);
});

test('each interface has one implementation, which collectFields and the executor rely on', () => {
  const abstract = types.filter(isAbstractType);
  expect(abstract.map(({ name }) => name)).toEqual(['Node']);
  expect(abstract.map((type) => schema.getPossibleTypes(type).length)).toEqual([1]);
});

test('no field is named after a secret', () => {
  const names = objects.flatMap((type) =>
    Object.keys(type.getFields()).map((name) => `${type.name}.${name}`),
  );
  expect(names.length).toBeGreaterThan(70);
  expect(
    names.filter((name) => /token|secret|hash|sealed|credential|password|pepper/i.test(name)),
  ).toEqual([]);
});

test('an API key is exposed as its hint only', () => {
  expect(
    Object.keys(objects.find((type) => type.name === 'ApiKeyHint')?.getFields() ?? {}),
  ).toEqual(['name', 'keyPrefix', 'keyLast4']);
});

test("each of Meta's vocabularies is an enum whose last value is UNRECOGNIZED", () => {
  for (const [name, { words }] of Object.entries(vocabularies)) {
    const values = enums.find((type) => type.name === name)?.getValues() ?? [];
    expect(values.map((value) => value.name)).toEqual([...Object.keys(words), 'UNRECOGNIZED']);
  }
});

test("each field with an enum of Meta's values has a field with the raw value", () => {
  const fields = objects.flatMap((type) =>
    Object.values(type.getFields()).map((field) => ({ type, field })),
  );
  // Facets count words, which are those of filters.
  const words = fields.filter(
    ({ type, field }) =>
      getNamedType(field.type).name in vocabularies && !type.name.endsWith('Count'),
  );
  expect(words.length).toBeGreaterThan(14);
  for (const { type, field } of words) {
    const raw = String(type.getFields()[`${field.name}Raw`]?.type);
    expect(raw, `${type}.${field.name}`).toBe(isNonNullType(field.type) ? 'String!' : 'String');
  }
});

/** Webhooks announce them, and no read has them. */
const announced = new Set('restrictions ban violation disconnection announcedLimits'.split(' '));

test.each([
  ['phone', 'MetaPhone'],
  ['profile', 'MetaProfile'],
  ['waba', 'MetaWaba'],
] as const)('each row of the table of %s is a field of %s with its meaning', (block, name) => {
  const type = objects.find((candidate) => candidate.name === name);
  const fields = Object.values(type?.getFields() ?? {}).filter(
    (field) => !/Raw$|^freshness$/.test(field.name) && !announced.has(field.name),
  );
  expect(fields.map((field) => [field.name, field.description])).toEqual(
    toRows(block)
      .filter((row) => !['health', 'webhookUrl', 'apps'].includes(row.kind))
      .map((row) => [row.name, row.meaning]),
  );
});

function toRows(block: MetaBlock): readonly Field[] {
  return metaBlocks[block];
}
