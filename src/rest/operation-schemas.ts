// The JSON schemas of the routes that change what operators note about numbers.

import { maxLabels } from '../fleet/labels.ts';
import { type Json, toNullableText, toNullableTime } from './json-schema.ts';

/** The schema of the body of a request. */
export type BodyName = 'NumberUpdate';

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
          'Until when its alerts are silent, at most 366 days from now; null to end it.',
        ),
        muteNote: {
          ...toNullableText('Why, for those who see it later; only together with `mutedUntil`.'),
          maxLength: 500,
        },
      },
      additionalProperties: false,
      minProperties: 1,
    },
  };
}
