// The handlers of the number routes, and the JSON members of numbers in their documented order. Which of Meta's fields are
// included is decided by the tables of numbers/meta.ts.

import type { Access } from '../access/access.ts';
import type { Call } from '../http/endpoint.ts';
import type { JsonObject } from '../json.ts';
import { type Field, type MetaBlock, metaBlocks } from '../numbers/meta.ts';
import type { Health, MetaDetails, Snapshot, WhatsAppNumber } from '../numbers/number.ts';
import type { Projection } from '../numbers/projection.ts';
import {
  type Includable,
  includable,
  toIncluded,
  toRefreshHeader,
  withIncluded,
} from './included.ts';
import type { LiveRead, Numbers } from '../numbers/numbers.ts';

export interface HandlerInput {
  readonly access: Access;
  /** The id in the path; '' for a route without one. */
  readonly id: string;
  /** The query parameters that were sent, of those that the route has. A list has its values in the order of the route. */
  readonly query: Readonly<Record<string, string>>;
  /** What was sent as the body; empty for a route without one. */
  readonly body: JsonObject;
  /** Headers of the response to this request, which are never cached. */
  readonly headers: Record<string, string>;
  /** Aborted when the client disconnects. */
  readonly signal: AbortSignal;
  readonly openStream: Call['openStream'];
  /** Charges for what `maxPrice` cannot know. Throws RATE_LIMITED. */
  readonly chargeMore: (points: number) => Promise<void>;
}

/** Returns the JSON value of a success; throws a GatewayError for any other status. */
export type Handler = (input: HandlerInput) => Promise<unknown>;

export function createNumberHandlers(numbers: Numbers): {
  readonly listNumbers: Handler;
  readonly getNumber: Handler;
  readonly getNumberStatus: Handler;
} {
  return {
    async listNumbers({ access, query }) {
      const include = readInclude(query);
      const listed = await numbers.list(access, withIncluded(listProjection, include));
      return listed.map((number) => Object.assign(toListItem(number), toIncluded(number, include)));
    },
    async getNumber({ access, id, query, headers, signal }) {
      const include = readInclude(query);
      const projection = withIncluded(detailProjection, include);
      const number =
        query['refresh'] === undefined
          ? await numbers.get(access, { id, refresh: null, projection }, signal)
          : await readLive(numbers.getLive(access, id, [], signal), headers);
      return { ...toDetail(number), ...toIncluded(number, include) };
    },
    async getNumberStatus({ access, id, query, signal }) {
      const number = await numbers.getStatus(access, id, signal);
      const { state, isFullyConnected } = number;
      return { id: number.id, state, isFullyConnected, ...toIncluded(number, readInclude(query)) };
    },
  };
}

export function readInclude({ include = '' }: HandlerInput['query']): readonly Includable[] {
  const names = include.split(',');
  return includable.filter((name) => names.includes(name));
}

/** Sets the header that says which parts were read. Throws if none could be read. */
async function readLive(
  read: Promise<LiveRead>,
  headers: HandlerInput['headers'],
): Promise<WhatsAppNumber> {
  const { number, error } = await read;
  const refreshed = toRefreshHeader(number);
  if (refreshed !== null) headers['x-refresh'] = refreshed;
  if (error !== null) throw error;
  return number;
}

/** The members that `toListItem` reads. */
export const listProjection: Projection = {
  details: true,
  apiKeys: true,
  health: 'nothing',
  meta: null,
};

/** The members that `toDetail` reads. */
export const detailProjection: Projection = {
  details: true,
  apiKeys: false,
  health: 'summary',
  meta: ['phone', 'profile', 'waba'],
};

/** The fields of a block that REST includes, in order. */
export function listRestFields(block: MetaBlock): readonly Field[] {
  const fields: readonly Field[] = metaBlocks[block];
  return fields.filter((field) => field.rest);
}

export function toListItem(number: WhatsAppNumber) {
  return {
    id: number.id,
    instanceName: number.instanceName,
    number: number.number,
    name: number.name,
    provider: number.provider,
    // Member by member, so that a member added to the hint later is not published by accident.
    apiKeys: number.apiKeys.map(({ name, keyPrefix, keyLast4 }) => ({ name, keyPrefix, keyLast4 })),
    state: number.state,
    isFullyConnected: number.isFullyConnected,
    createdAt: number.createdAt,
    updatedAt: number.updatedAt,
  };
}

export function toDetail(number: WhatsAppNumber) {
  return {
    id: number.id,
    number: number.number,
    name: number.name,
    provider: number.provider,
    state: number.state,
    isFullyConnected: number.isFullyConnected,
    createdAt: number.createdAt,
    updatedAt: number.updatedAt,
    health: toHealth(number.health),
    meta: number.meta === null ? null : toMeta(number.meta),
  };
}

function toHealth({ qualityRating, messagingLimitTier, metaStatus, sendable }: Health) {
  return { qualityRating, messagingLimitTier, metaStatus, sendable };
}

function toMeta({ fetchedAt, phone, profile, waba }: MetaDetails) {
  return {
    fetchedAt,
    phone: toBlock('phone', phone),
    profile: toBlock('profile', profile),
    waba: toBlock('waba', waba),
  };
}

const restNames: Readonly<Record<MetaBlock, readonly string[]>> = {
  phone: listRestFields('phone').map((field) => field.name),
  profile: listRestFields('profile').map((field) => field.name),
  waba: listRestFields('waba').map((field) => field.name),
};

function toBlock(
  block: MetaBlock,
  snapshot: Snapshot<object> | null,
): Readonly<Record<string, unknown>> | null {
  const value = snapshot?.value ?? null;
  if (value === null) return null;
  // The core has set null for what Meta did not return.
  const members = new Map<string, unknown>(Object.entries(value));
  return Object.fromEntries(restNames[block].map((name) => [name, members.get(name)]));
}
