// Defines the fields of Query. Those that read numbers by their ids read them together.

import type { GraphQLResolveInfo } from 'graphql';
import { GatewayError } from '../errors.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import type { NumberRequest } from '../numbers/numbers.ts';
import type { builder, GraphQLContext } from './builder.ts';
import { NodeInterface, readNumbers, toLoaderKey, WhatsAppNumberType } from './number.ts';
import { listProjectionOf, listSelectedBlocks, projectionOf } from './selection.ts';

export type QueryFields = PothosSchemaTypes.QueryFieldBuilder<
  typeof builder.$inferSchemaTypes,
  typeof builder.$inferSchemaTypes.Root
>;

const refreshDescription =
  'Whether to read new values from WhatsApp before answering, which may take seconds. Only what you select is read: `health` and `meta { phone }` read the number, `meta { profile }` the business profile, and `meta { waba }` the WhatsApp Business account. A selection without any of these reads all three. If `provider` is not META, the connection state is read. If a read fails, the stored values are returned and `freshness { error }` tells why. Select `freshness` under `health` too, because `meta` is null until something was read.';

export function toNumberQueries(t: QueryFields) {
  return {
    numbers: t.field({
      type: [WhatsAppNumberType],
      description:
        'The numbers of the tenant with their stored values: all of them, oldest first, or those with the given ids. `freshness` tells how old the values are.',
      args: {
        ids: t.arg.idList({
          description:
            'The numbers to return, in this order; each one once. Ids that the tenant does not have are left out. If null, all numbers are returned; if empty, none.',
        }),
        refresh: t.arg.boolean({
          defaultValue: false,
          description: `Requires \`ids\`. ${refreshDescription}`,
        }),
      },
      ...toResolvers(resolveNumbers),
    }),
    number: t.field({
      type: WhatsAppNumberType,
      nullable: true,
      description:
        'One number. It is null, with an error NUMBER_NOT_FOUND, if the tenant has no number with this id. All numbers that one operation asks for by their ids are read together.',
      args: {
        id: t.arg.id({ required: true, description: 'The `id` of the number.' }),
        refresh: t.arg.boolean({
          defaultValue: false,
          description: refreshDescription,
        }),
      },
      ...toResolvers(resolveNumber),
    }),
  };
}

export function toNodeQueries(t: QueryFields) {
  return {
    node: t.field({
      type: NodeInterface,
      nullable: true,
      description:
        'The object with this id, for clients that follow the Relay specification; null if the tenant has none. Use `number` to get an error instead of null.',
      args: { id: t.arg.id({ required: true, description: 'The `id` of the object.' }) },
      ...toResolvers(resolveNode),
    }),
    nodes: t.field({
      type: [NodeInterface],
      nullable: { list: false, items: true },
      description: 'As `node`, for several ids: one object, or null, for each id in its order.',
      args: { ids: t.arg.idList({ required: true, description: 'The ids of the objects.' }) },
      ...toResolvers(resolveNodes),
    }),
  };
}

type Read = typeof readNumbers;

type Resolver<Args, Value> = (
  root: unknown,
  args: Args,
  context: GraphQLContext,
  info: GraphQLResolveInfo,
) => Promise<Value>;

/** A field that is alone in its operation reads without a DataLoader, which is faster; see RootFieldExtensions. */
function toResolvers<Args, Value>(createResolver: (read: Read) => Resolver<Args, Value>) {
  return {
    resolve: createResolver(readTogether),
    extensions: { resolveAlone: createResolver(readNumbers) },
  };
}

function resolveNumber(read: Read): Resolver<NumberArguments, WhatsAppNumber> {
  return async (_root, args, context, info) => {
    const [number] = await read([toRequest(args, info)], context);
    if (number === undefined || number instanceof Error) throw number;
    return number;
  };
}

function resolveNode(read: Read): Resolver<NumberArguments, WhatsAppNumber | null> {
  return async (_root, args, context, info) => {
    const [number = null] = await findMany(read, [toRequest(args, info)], context);
    return number;
  };
}

interface NodesArguments {
  readonly ids: readonly string[];
}

function resolveNodes(read: Read): Resolver<NodesArguments, (WhatsAppNumber | null)[]> {
  return (_root, { ids }, context, info) => {
    const requests = ids.map((id) => toRequest({ id }, info));
    return findMany(read, requests, context);
  };
}

interface ListArguments {
  readonly ids?: readonly string[] | null | undefined;
  readonly refresh?: boolean | null | undefined;
}

function resolveNumbers(read: Read): Resolver<ListArguments, readonly WhatsAppNumber[]> {
  return async (_root, { ids, refresh }, context, info) => {
    if (ids === null || ids === undefined) {
      if (refresh !== true) return await listOnce(context, info);
      const message = '`refresh: true` requires `ids`: the numbers to read.';
      throw new GatewayError('INVALID_REQUEST', message);
    }
    const requests = [...new Set(ids)].map((id) => toRequest({ id, refresh }, info));
    const found = await findMany(read, requests, context);
    return found.filter((number) => number !== null);
  };
}

/** How many numbers a response may list in total when several fields select `numbers`. A single list has no limit. */
const maxListed = 20_000;

/** Reads the list once for all aliases, with what any of them selects. */
async function listOnce(context: GraphQLContext, info: GraphQLResolveInfo) {
  context.sharedList ??= context.numbers.list(context.access, listProjectionOf(info));
  context.listFields += 1;
  const numbers = await context.sharedList;
  const count = context.listFields * numbers.length;
  if (context.listFields === 1 || count <= maxListed) return numbers;
  throw new GatewayError(
    'QUERY_TOO_COMPLEX',
    `The operation lists ${count} numbers in several fields, and the limit is ${maxListed}; select \`numbers\` once.`,
    { details: { subject: 'numbers listed', count, limit: maxListed } },
  );
}

interface NumberArguments {
  readonly id: string;
  readonly refresh?: boolean | null | undefined;
}

function toRequest({ id, refresh }: NumberArguments, info: GraphQLResolveInfo): NumberRequest {
  return {
    id,
    refresh: refresh === true ? listSelectedBlocks(info.fieldNodes, info) : null,
    projection: projectionOf(info),
  };
}

/** Null for a number that the tenant does not have. */
async function findMany(
  read: Read,
  requests: readonly NumberRequest[],
  context: GraphQLContext,
): Promise<(WhatsAppNumber | null)[]> {
  const numbers = await read(requests, context);
  return numbers.map((number) => {
    if (!(number instanceof Error)) return number;
    if (number instanceof GatewayError && number.code === 'NUMBER_NOT_FOUND') return null;
    throw number;
  });
}

/** All fields of an operation are one batch. */
const readTogether: Read = (requests, context) =>
  WhatsAppNumberType.getDataloader(context).loadMany(requests.map(toLoaderKey));
