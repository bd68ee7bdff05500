// The routes that change what operators note about numbers.

import { prices } from '../access/prices.ts';
import { createInvalid } from '../fleet/filter.ts';
import type { Mute, NumberOperation, Operations } from '../fleet/operations.ts';
import type { Numbers } from '../numbers/numbers.ts';
import {
  type RefreshBlock,
  refreshBlocks,
  type RefreshRequest,
} from '../fleet/refresh-requests.ts';
import { isTexts, readFilterJson } from './filter-json.ts';
import { toOperationsJson } from './included.ts';
import { detailProjection, type HandlerInput, toDetail } from './numbers.ts';
import type { DataRoute } from './route.ts';
import { isTime } from './time.ts';

export function createUpdateRoute(
  operations: Operations,
  numbers: Pick<Numbers, 'get'>,
): DataRoute {
  return {
    method: 'PATCH',
    path: '/v1/numbers/{id}',
    operationId: 'updateNumber',
    tag: 'Operations',
    summary: 'Label or mute one number',
    description:
      'Changes the members that are sent, and leaves the others as they are. It may be repeated: what is so already is not changed again. What it changes is in the changes, with the API key as the actor. Needs a key with the scope `operate`; a key of a number changes this number alone.',
    scope: 'operate',
    body: 'NumberUpdate',
    reply: 'OperatedNumber',
    errors: ['NUMBER_NOT_FOUND'],
    async handler({ access, id, body, signal }) {
      await operations.operate(access, { id, ...readOperation(body) });
      const request = { id, refresh: null, projection: detailProjection };
      const number = await numbers.get(access, request, signal);
      return { ...toDetail(number), ...toOperationsJson(number) };
    },
    maxPrice: () => prices.operation + prices.number,
    isFixedPrice: true,
  };
}

export function createRefreshRoute(operations: Operations): DataRoute {
  return {
    method: 'POST',
    path: '/v1/numbers/refresh',
    operationId: 'refreshNumbers',
    tag: 'Operations',
    summary: 'Have numbers read in the background',
    description:
      'Has numbers read from WhatsApp, by default their status and their health, and answers at once. What is asked for is one change of the kind REFRESH, with the API key as the actor. Read `/v1/changes` from `feedCursor` to see what the reads change. Each planned call costs 10 points. Needs a key with the scope `operate`; a key of a number has this number read alone.',
    scope: 'operate',
    body: 'RefreshRequest',
    status: 202,
    reply: 'RefreshReceipt',
    errors: [],
    async handler({ access, body, chargeMore }) {
      const charge = (calls: number) => chargeMore(calls * prices.read);
      return await operations.refresh(access, readRefresh(body), charge);
    },
    maxPrice: () => prices.operation,
    isFixedPrice: true,
  };
}

/** Throws INVALID_REQUEST. */
function readRefresh(body: HandlerInput['body']): RefreshRequest {
  const { ids = null, filter = null, blocks = null, ...others } = body;
  if (Object.keys(others).length > 0) {
    throw createInvalid('The body may have the member ids or filter, and blocks, and no others.');
  }
  if (ids !== null && !isTexts(ids)) throw createInvalid('ids must be a list of texts.');
  if (blocks !== null && !isBlocks(blocks)) {
    throw createInvalid(`blocks must be a list of ${Object.keys(refreshBlocks).join(', ')}.`);
  }
  return { ids, filter: filter === null ? null : readFilterJson(filter), blocks };
}

function isBlocks(value: unknown): value is readonly RefreshBlock[] {
  return isTexts(value) && value.every((text) => Object.hasOwn(refreshBlocks, text));
}

/** Throws INVALID_REQUEST. */
function readOperation(body: HandlerInput['body']): Omit<NumberOperation, 'id'> {
  const unknown = Object.keys(body).find((name) => !members.includes(name));
  if (unknown !== undefined) {
    throw createInvalid(`The body may have the members ${members.join(', ')} and no others.`);
  }
  const { labels, mutedUntil: until, muteNote: note = null } = body;
  if (labels === undefined && until === undefined) {
    throw createInvalid('The body must have labels or mutedUntil.');
  }
  if (until === undefined && 'muteNote' in body) {
    throw createInvalid('Send muteNote together with mutedUntil.');
  }
  return {
    ...(labels !== undefined && { labels: readLabels(labels) }),
    ...(until !== undefined && { mute: readMute(until, note) }),
  };
}

const members = ['labels', 'mutedUntil', 'muteNote'];

function readLabels(labels: unknown): readonly string[] {
  if (isTexts(labels)) return labels;
  throw createInvalid('labels must be a list of texts, each key=value.');
}

function readMute(until: unknown, note: unknown): Mute | null {
  if (note !== null && typeof note !== 'string') throw createInvalid('muteNote must be a text.');
  if (until === null) return null;
  if (typeof until === 'string' && isTime(until)) return { until: new Date(until), note };
  throw createInvalid('mutedUntil must be a time such as 2026-06-30T09:18:33Z, or null.');
}
