// Defines the mutations of numbers, each with one input and a payload.

import type { GraphQLResolveInfo } from 'graphql';
import { prices } from '../access/prices.ts';
import { createInvalid } from '../fleet/filter.ts';
import { maxLabels } from '../fleet/labels.ts';
import { muteMeaning, type RefreshReceipt } from '../fleet/operations.ts';
import {
  maxRefreshed,
  refreshBlocks,
  skipReasons,
  type SkippedNumber,
} from '../fleet/refresh-requests.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { builder, createEnum, type GraphQLContext } from './builder.ts';
import { FleetFilterInput } from './fleet.ts';
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

const RefreshBlockEnum = createEnum(
  'RefreshBlock',
  'A part of a number that is read by itself.',
  refreshBlocks,
);

const RefreshNumbersInput = builder.inputType('RefreshNumbersInput', {
  description: 'Which numbers to read, either `ids` or `filter`, and what of them.',
  fields: (t) => ({
    ids: t.idList({ description: `The ids of the numbers, at most ${maxRefreshed}.` }),
    filter: t.field({
      type: FleetFilterInput,
      description: `Selects the numbers, as in \`fleet\`; at most ${maxRefreshed} may match.`,
    }),
    blocks: t.field({
      type: [RefreshBlockEnum],
      description:
        'What is read of each number: PHONE and CONNECTION if it is null; it cannot be empty. A number that has none of these blocks is skipped. PHONE takes a call for each number, or one for 100 numbers of an account if that is less; PROFILE takes a call for each number, ACCOUNT one for each account, and CONNECTION one for each number.',
    }),
  }),
});

const SkipReasonEnum = createEnum('SkipReason', 'Why a number is not read.', skipReasons);

const SkippedNumberType = builder.objectRef<SkippedNumber>('SkippedNumber').implement({
  description: 'A number that is not read.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id that was sent, or that the filter has found.' }),
    reason: t.expose('reason', { type: SkipReasonEnum, description: 'Why not.' }),
  }),
});

const RefreshNumbersPayload = builder.objectRef<RefreshReceipt>('RefreshNumbersPayload').implement({
  description: 'What will be read.',
  fields: (t) => ({
    acceptedCount: t.exposeInt('acceptedCount', {
      description: 'How many numbers will be read.',
    }),
    skipped: t.expose('skipped', {
      type: [SkippedNumberType],
      description: 'The others, each with the reason.',
    }),
    plannedCalls: t.exposeInt('plannedCalls', {
      description:
        'How many calls to Meta and to the session engine this takes, each at 10 points. What is due already is read once.',
    }),
    feedCursor: t.exposeString('feedCursor', {
      description:
        'Continue with `changes` from here: the change REFRESH, and everything that the reads change, comes after this cursor.',
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
      description: `Silences the alerts of a number for a time. ${muteMeaning}`,
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
    refreshNumbers: t.field({
      type: RefreshNumbersPayload,
      nullable: true,
      description:
        'Has numbers read from WhatsApp in the background, by default their status and their health, and answers at once. What is asked for is one change of the kind REFRESH, with the API key as its actor. Subscribe to `changes` from `feedCursor` to see what the reads change; `freshness` of a number says when it was read. To wait for the values of a few numbers instead, query them with `refresh: true`.',
      args: {
        input: t.arg({ type: RefreshNumbersInput, required: true, description: 'What to do.' }),
      },
      resolve: async (_root, { input }, context) => {
        const { operations, access } = context;
        const charge = (calls: number) => context.chargeMore(context, calls * prices.read);
        return await operations.refresh(access, input, charge);
      },
    }),
  };
}
