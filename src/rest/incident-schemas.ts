// The JSON schemas of incidents.

import { alertRules, severities } from '../alerts/rules.ts';
import { toWords } from './change.ts';
import {
  type Json,
  toNullable,
  toNullableText,
  toNullableTime,
  toObject,
  toText,
  toTime,
} from './json-schema.ts';

/** By name, for `components.schemas`. */
export function toIncidentSchemas(): Json {
  return {
    IncidentPage: toObject('A page of incidents, newest first.', {
      data: { type: 'array', items: { $ref: '#/components/schemas/Incident' } },
      total: { type: 'integer', description: 'How many have the state, on all pages.' },
      next: toNullableText('The cursor of the next page; null on the last one.'),
    }),
    Incident: toObject('Something that is wrong with numbers, or was.', {
      ...subjectProperties,
      text: toText('What has happened, as a sentence in English.'),
      previousValue: toNullableText(
        'The value before; null if there was none, or if it differs between numbers.',
      ),
      newValue: toNullableText(
        'The value with which it began; null if there is none, or if it differs between numbers.',
      ),
      openedAt: toTime('When it was opened.'),
      closedAt: toNullableTime('When it ended; null while it lasts.'),
      acknowledgedAt: toNullableTime('When somebody acknowledged it; null if nobody has.'),
      acknowledgedBy: toNullable('ChangeActor'),
      note: toNullableText('What was noted then; null if nothing was.'),
    }),
    Acknowledgement: {
      type: 'object',
      description: 'What to note; the object may be empty.',
      properties: {
        note: {
          ...toNullableText(
            'What others should know. It replaces the note of an earlier acknowledgement, unless it is null.',
          ),
          maxLength: 500,
        },
      },
      additionalProperties: false,
    },
  };
}

const rules = Object.fromEntries(
  Object.entries(alertRules).map(([name, { meaning }]) => [name, meaning]),
);

const subjectProperties: Json = {
  id: toText('The id of the incident.'),
  rule: toWords('Which rule has opened it.', rules),
  covers: {
    type: 'array',
    description:
      'Less specific rules that the same cause sets off, and that open no incident of their own while this one lasts. Endpoints that are told only of them are told of this one.',
    items: toWords('A rule.', rules),
  },
  severity: { type: 'string', enum: severities, description: 'How severe it is.' },
  state: { type: 'string', enum: ['OPEN', 'CLOSED'], description: 'Whether it is over.' },
  scope: toWords('What it is about.', {
    NUMBER: 'A number.',
    ACCOUNT: 'A WhatsApp Business account.',
    PORTFOLIO: 'A business portfolio at Meta.',
    TOKEN: 'A shared access token.',
    ENGINE: 'The session engine.',
  }),
  subject: toText(
    "The id of what it is about: of the number or the access token here, Meta's of the account or the portfolio, or `engine`.",
  ),
  subjectName: toText('The name of what it is about; its id if no name is known.'),
  numberCount: {
    type: 'integer',
    minimum: 0,
    description:
      'How many numbers are part of it, and of one that is over, how many were. Of an account, a portfolio or a token as a whole, all its numbers are.',
  },
  numbers: {
    type: 'array',
    maxItems: 10,
    description: 'The first of them.',
    items: toObject('A number that is part of it.', {
      id: toText('The id of the number, also of one that was removed.'),
      name: toNullableText('The name that the tenant gave to it; null if it was removed.'),
      number: toNullableText('The phone number, digits only; null if it was removed.'),
    }),
  },
};
