// A change in JSON: its members, their schemas, and examples.

import {
  changeActors,
  toActorType,
  changeKinds,
  changeSources,
  type ChangePage,
  type NumberChange,
} from '../history/change.ts';
import { formatEvent } from '../http/event-stream.ts';
import { type Json, toNullable, toNullableText, toObject, toText, toTime } from './json-schema.ts';

/** Member by member, because the sequence is not published. */
export function toChange(change: NumberChange) {
  return {
    cursor: change.cursor,
    numberId: change.numberId,
    wabaId: change.wabaId,
    kind: change.kind,
    field: change.field,
    previousValue: change.previousValue,
    newValue: change.newValue,
    source: change.source,
    actor: toActor(change),
    observation: change.observation,
    occurredAt: change.occurredAt,
    recordedAt: change.recordedAt,
  };
}

function toActor(change: NumberChange) {
  const type = toActorType(change);
  if (type === null) return null;
  const { actorKey: key } = change;
  if (key === null) return { type, key };
  const { name, keyPrefix, keyLast4 } = key;
  return { type, key: { name, keyPrefix, keyLast4 } };
}

export function toChangePage({ changes, cursor, time, caughtUp }: ChangePage) {
  return { changes: changes.map(toChange), cursor, time, caughtUp };
}

/** By name, for `components.schemas`. */
export function toChangeSchemas(): Json {
  return {
    ChangePage: toObject('A page of changes.', {
      changes: { type: 'array', items: { $ref: '#/components/schemas/NumberChange' } },
      cursor: toText(
        'Send it as `after` for the changes that follow. It covers those that the filter leaves out.',
      ),
      time: toTime('When the page was read.'),
      caughtUp: {
        type: 'boolean',
        description: 'Whether there were no further changes at that time.',
      },
    }),
    NumberChange: toObject(
      'A change of a number or of an account. Texts of Meta are cut after 2,000 characters.',
      {
        cursor: toText('Of this change: identifies it, and what follows it.'),
        numberId: toNullableText(
          'The number; null for a change of an account. It may have been removed since.',
        ),
        wabaId: toNullableText("Meta's id of the account; null for a change of a number."),
        kind: toWords('What kind of change it is.', changeKinds),
        field: toNullableText('What changed; null for a change of no single field.'),
        previousValue: toNullableText('As a text; null when there was none.'),
        newValue: toNullableText('As a text; null when there is none.'),
        source: toWords('What caused it.', changeSources),
        actor: toNullable('ChangeActor'),
        observation: toNullableText(
          'Changes that one read of a number has found have the same one.',
        ),
        occurredAt: toTime('When it was observed.'),
        recordedAt: toTime('When it was stored.'),
      },
    ),
    ChangeActor: toObject('Who made the change; null when that is not known.', {
      type: toWords('Who it was.', changeActors),
      key: toNullable('ApiKeyHint'),
    }),
  };
}

/** Not an enum, because a later release may add words. */
export function toWords(meaning: string, words: Readonly<Record<string, string>>): Json {
  const list = Object.entries(words).map(([word, text]) => `- \`${word}\`: ${text}`);
  return {
    type: 'string',
    description: `${meaning} More words may be added:\n\n${list.join('\n')}`,
    examples: Object.keys(words),
  };
}

const epoch = '6f9d1c0a4b7e4d52a3b8c1e0f2a49d37';

const change = {
  cursor: `c1.${epoch}.42`,
  numberId: 'wa_abc',
  wabaId: null,
  kind: 'FIELD',
  field: 'QUALITY_RATING',
  previousValue: 'GREEN',
  newValue: 'YELLOW',
  source: 'READ',
  actor: null,
  observation: '0d2b8f6e-6a3e-4a53-9f0e-0a8d3a6f1c11',
  occurredAt: '2026-06-30T09:18:33.000Z',
  recordedAt: '2026-06-30T09:18:33.120Z',
};

const page = {
  changes: [change],
  cursor: `c1.${epoch}.42`,
  time: '2026-06-30T09:18:33.150Z',
  caughtUp: true,
};

export const changePageExamples: Json = { CHANGED: { value: page } };

const { cursor, time } = page;

export const changeEvents = [
  formatEvent({ retryMs: 2_000 }),
  formatEvent({ id: change.cursor, event: 'change', data: JSON.stringify(change) }),
  formatEvent({ id: cursor, event: 'heartbeat', data: JSON.stringify({ cursor, time }) }),
].join('');
