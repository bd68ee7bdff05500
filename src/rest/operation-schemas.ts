// The JSON schemas of the routes that change what operators note about numbers.

import { maxLabels } from '../fleet/labels.ts';
import { muteMeaning } from '../fleet/operations.ts';
import { maxRefreshed, refreshBlocks, skipReasons } from '../fleet/refresh-requests.ts';
import { toFilterSchema } from './filter-json.ts';
import { type Json, toNullableText, toNullableTime, toObject, toText } from './json-schema.ts';

/** The schema of the body of a request. */
export type BodyName = 'NumberUpdate' | 'RefreshRequest' | 'Acknowledgement';

const labels: Json = {
  type: 'array',
  maxItems: maxLabels,
  items: { type: 'string', pattern: '^[^=,]{1,63}=[^,]{1,100}$', examples: ['team=support'] },
};

/** What operators have noted about a number. */
export const operationProperties: Json = {
  labels: { ...labels, description: 'Its labels, in order.' },
  mutedUntil: toNullableTime('Until when its alerts are silent; null if they are not.'),
  muteNote: toNullableText('Why they are silent.'),
};

/** By name, for `components.schemas`. */
export function toOperationSchemas(): Json {
  return {
    NumberUpdate: {
      type: 'object',
      description: 'What to change; members that are absent stay as they are.',
      properties: {
        labels: { ...labels, description: 'All labels that the number is to have.' },
        mutedUntil: toNullableTime(
          `Until when its alerts are silent, at most 366 days from now; null to end it. ${muteMeaning}`,
        ),
        muteNote: {
          ...toNullableText('Why, for those who see it later; only together with `mutedUntil`.'),
          maxLength: 500,
        },
      },
      additionalProperties: false,
      minProperties: 1,
    },
    ...toRefreshSchemas(),
    FleetFilter: toFilterSchema(),
  };
}

function toRefreshSchemas(): Json {
  return {
    RefreshRequest: {
      type: 'object',
      description: 'Which numbers to read, either `ids` or `filter`, and what of them.',
      properties: {
        ids: {
          type: ['array', 'null'],
          maxItems: maxRefreshed,
          items: { type: 'string' },
          description: 'The ids of the numbers.',
        },
        filter: {
          anyOf: [{ $ref: '#/components/schemas/FleetFilter' }, { type: 'null' }],
          description: `Selects the numbers; at most ${maxRefreshed} may match.`,
        },
        blocks: {
          type: ['array', 'null'],
          minItems: 1,
          items: { type: 'string', enum: Object.keys(refreshBlocks) },
          description: `What is read of each number; PHONE and CONNECTION if it is absent. A number that has none of these is skipped. ${toMeanings(refreshBlocks)}`,
        },
      },
      additionalProperties: false,
      minProperties: 1,
    },
    RefreshReceipt: toObject('What will be read.', {
      acceptedCount: toCount('How many numbers will be read.'),
      skipped: {
        type: 'array',
        description: 'The others, each with the reason.',
        items: toObject('A number that is not read.', {
          id: toText('The id that was sent, or that the filter has found.'),
          reason: {
            type: 'string',
            enum: Object.keys(skipReasons),
            description: toMeanings(skipReasons),
          },
        }),
      },
      plannedCalls: toCount(
        'How many calls to Meta and to the session engine this takes, each at 10 points. What is due already is read once.',
      ),
      feedCursor: toText(
        'The change REFRESH, and what the reads change, comes after this cursor of `/v1/changes`.',
      ),
    }),
  };
}

function toMeanings(words: Readonly<Record<string, string>>): string {
  return Object.entries(words)
    .map(([word, meaning]) => `${word}: ${meaning}`)
    .join(' ');
}

function toCount(description: string): Json {
  return { type: 'integer', minimum: 0, description };
}
