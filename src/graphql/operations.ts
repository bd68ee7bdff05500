// Defines the mutations of numbers, each with one input and a payload.

import type { GraphQLResolveInfo } from 'graphql';
import { createInvalid } from '../fleet/filter.ts';
import { maxLabels } from '../fleet/labels.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { builder, type GraphQLContext } from './builder.ts';
import { readNumbers, WhatsAppNumberType } from './number.ts';
import { projectionOf } from './selection.ts';

export type MutationFields = PothosSchemaTypes.MutationFieldBuilder<
  typeof builder.$inferSchemaTypes,
  typeof builder.$inferSchemaTypes.Root
>;

/** The id of the number that was changed. */
interface Payload {
  readonly numberId: string;
}

function createPayloadType(name: string) {
  return builder.objectRef<Payload>(name).implement({
    description: 'The result of the mutation.',
    fields: (t) => ({
      number: t.field({
        type: WhatsAppNumberType,
        description: 'The number after the change.',
        resolve: readChanged,
      }),
    }),
  });
}

/** Without the DataLoader, which would return what an earlier mutation of the operation has read. */
async function readChanged(
  { numberId }: Payload,
  _args: object,
  context: GraphQLContext,
  info: GraphQLResolveInfo,
): Promise<WhatsAppNumber> {
  const request = { id: numberId, refresh: null, projection: projectionOf(info) };
  const [number] = await readNumbers([request], context);
  if (number === undefined || number instanceof Error) throw number;
  return number;
}

const MuteNumberInput = builder.inputType('MuteNumberInput', {
  description: 'Which number to mute, and until when.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The `id` of the number.' }),
    until: t.field({
      type: 'DateTime',
      description:
        'Until when its alerts are silent, at most 366 days from now. Send null to end it; it cannot be left out.',
    }),
    note: t.string({ description: 'Why, for those who see it later; at most 500 characters.' }),
  }),
});

const LabelNumberInput = builder.inputType('LabelNumberInput', {
  description: 'Which number to label, and how.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The `id` of the number.' }),
    labels: t.stringList({
      required: true,
      description: `All labels that the number is to have, at most ${maxLabels}; others are removed. Each is \`key=value\`: a key has up to 63 letters, digits, dots, hyphens, underscores and slashes, and occurs once; a value has up to 100 characters, without commas.`,
    }),
  }),
});

const MuteNumberPayload = createPayloadType('MuteNumberPayload');
const LabelNumberPayload = createPayloadType('LabelNumberPayload');

export function toOperationMutations(t: MutationFields) {
  return {
    muteNumber: t.field({
      type: MuteNumberPayload,
      nullable: true,
      description:
        'Silences the alerts of a number for a time. Its verdict and its history stay what they are.',
      args: {
        input: t.arg({ type: MuteNumberInput, required: true, description: 'What to do.' }),
      },
      resolve: async (_root, { input: { id, until, note = null } }, { operations, access }) => {
        if (until === undefined) {
          throw createInvalid('Send `until`: a time, or null to let alerts sound again.');
        }
        const mute = until === null ? null : { until: new Date(until), note };
        await operations.operate(access, { id, mute });
        return { numberId: id };
      },
    }),
    labelNumber: t.field({
      type: LabelNumberPayload,
      nullable: true,
      description:
        'Replaces the labels of a number, by which a fleet can be filtered, counted and grouped.',
      args: {
        input: t.arg({ type: LabelNumberInput, required: true, description: 'What to do.' }),
      },
      resolve: async (_root, { input: { id, labels } }, { operations, access }) => {
        await operations.operate(access, { id, labels });
        return { numberId: id };
      },
    }),
  };
}
