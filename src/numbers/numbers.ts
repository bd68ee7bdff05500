// The use cases of numbers: list, get and refresh. Those of operators are in administration.ts.

import type { Access } from '../access/access.ts';
import { createMeter, limitValidity, type RequestMeter } from '../http/request-context.ts';
import type { Database, TransactionCause } from '../database/database.ts';
import type { SyncSettings } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { Vault } from '../secrets.ts';
import type { Telemetry } from '../telemetry.ts';
import { traceRead } from '../tracing.ts';
import { createAdministration, type NumberAdministration, toNotFound } from './administration.ts';
import type { MetaBlock } from './meta.ts';
import {
  findRefreshFailure,
  type NumberAddress,
  type Outcomes,
  toWhatsAppNumber,
  type WhatsAppNumber,
} from './number.ts';
import type { StoredNumber } from './stored-number.ts';
import { fullProjection, type Projection, unionOf } from './projection.ts';
import {
  type Block,
  type Provider,
  type ProviderName,
  toFailureText,
  type UpstreamFailure,
} from './provider.ts';
import type { RefreshRequest } from './live-read.ts';
import { mapInChunks } from './chunked-map.ts';
import { createListLimiter } from './list-limiter.ts';
import { createRefresher } from './refresh.ts';
import { listAddresses, listNumbers } from './number-queries.ts';

/** One number to get. */
export interface NumberRequest {
  readonly id: string;
  /** The blocks to read live first. An empty list means all of them; null means that nothing is read live. */
  readonly refresh: readonly MetaBlock[] | null;
  /** All members by default. */
  readonly projection?: Projection;
}

export interface LiveRead {
  readonly number: WhatsAppNumber;
  /** Why none of the blocks could be read; null when at least one was read, or nothing provides any. */
  readonly error: GatewayError | null;
}

/** What callers ask, and what operators change. */
export interface Numbers extends NumberAdministration {
  /**
   * All numbers of the tenant, by creation, then id. Reads nothing live. UNAVAILABLE when too many large lists are being
   * read; see list-limiter.ts. The list is frozen, because concurrent requests share it.
   */
  list(access: Access, projection?: Projection): Promise<readonly WhatsAppNumber[]>;
  /** How many numbers the tenant's last list had; null when this process does not remember one. */
  estimateListSize(tenantId: string): number | null;
  /**
   * One result for each request, in order: the number, or NUMBER_NOT_FOUND. All are read together, with everything that
   * one of them needs, and refreshed together. A failure upstream is reported in the number's freshness. `signal` is the
   * caller's; see `Refresher.refresh`.
   */
  getMany(
    access: Access,
    requests: readonly NumberRequest[],
    signal: AbortSignal,
  ): Promise<readonly (WhatsAppNumber | GatewayError)[]>;
  /** Throws NUMBER_NOT_FOUND. */
  get(access: Access, request: NumberRequest, signal: AbortSignal): Promise<WhatsAppNumber>;
  /** The number after a refresh of these blocks. Throws NUMBER_NOT_FOUND. */
  getLive(
    access: Access,
    id: string,
    blocks: readonly MetaBlock[],
    signal: AbortSignal,
  ): Promise<LiveRead>;
  /** The number after a refresh of its connection state, by Meta or the session engine. Throws why that failed. */
  getStatus(access: Access, id: string, signal: AbortSignal): Promise<WhatsAppNumber>;
}

export type { NewNumber, NewSharedNumber, NumberChange } from './administration.ts';

export interface NumbersOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly providers: Readonly<Record<ProviderName, Provider>>;
  readonly telemetry: Telemetry;
  readonly now: () => Date;
  /** What is read in the background, whoever reads it. */
  readonly sync: SyncSettings;
  /** Milliseconds that a refresh may take. */
  readonly deadlineMs?: number;
  /** Whether nobody waits for what is read live: it ends earlier than other reads when a rate limit is nearly used up. */
  readonly isBackground?: boolean;
  /** As in `RefreshOptions`. */
  readonly onTokenRefused?: (tenantId: string, wabaIds: readonly string[]) => void;
}

const operatorKeyId = 'operator';

/** The access of an operator's command: to the whole tenant, without a key. */
export function toOperatorAccess(tenantId: string): Access {
  return {
    tenantId,
    keyId: operatorKeyId,
    numberId: null,
    scopes: ['read', 'operate'],
    receivedAt: performance.now(),
    meter: createMeter(),
  };
}

/** What the history names as the cause of what somebody with this access changes. */
export function toCause({ keyId }: Access): TransactionCause {
  return keyId === operatorKeyId ? 'COMMAND_LINE' : { source: 'API', keyId };
}

/** Null for an operator's command. */
export function toKeyId({ keyId }: Access): string | null {
  return keyId === operatorKeyId ? null : keyId;
}

export function createNumbers(options: NumbersOptions): Numbers {
  const { now } = options;
  const reads = traceReads(createReads(options));
  const get: Numbers['get'] = async (access, request, signal) => {
    const [found] = await reads.getMany(access, [request], signal);
    if (found === undefined || found instanceof GatewayError) throw found ?? toNotFound();
    return found;
  };
  const getLive: Numbers['getLive'] = async (access, id, blocks, signal) => {
    const number = await get(access, { id, refresh: blocks }, signal);
    const failure = findRefreshFailure(number);
    return { number, error: failure && toRefreshError(failure, now()) };
  };
  const getStored = (tenantId: string, id: string) =>
    get(toOperatorAccess(tenantId), { id, refresh: null }, AbortSignal.any([]));
  return {
    ...reads,
    get,
    getLive,
    async getStatus(access, id, signal) {
      const { number, error } = await getLive(access, id, ['phone'], signal);
      if (error !== null) throw error;
      return number;
    },
    ...createAdministration({ ...options, getStored }),
  };
}

type Reads = Pick<Numbers, 'list' | 'estimateListSize' | 'getMany'>;

/** Each read in a span; see tracing.ts. */
function traceReads(reads: Reads): Reads {
  return {
    ...reads,
    list: (...request) => traceRead('list numbers', () => reads.list(...request)),
    getMany: (...request) => traceRead('get numbers', () => reads.getMany(...request)),
  };
}

function createReads(options: NumbersOptions): Reads {
  const { database, now } = options;
  const limiter = createListLimiter();
  const refresher = createRefresher(options);
  const refresh = async (
    access: Access,
    requests: readonly NumberRequest[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Outcomes>> => {
    const ids = toIds(requests);
    if (ids.length === 0) return noOutcomesOfAny;
    access.meter.isLive = true;
    return await access.meter.releaseWhile(async () => {
      const addresses = await listAddresses(database, access.tenantId, ids);
      const refreshes = toRefreshRequests(requests, addresses);
      if (refreshes.length === 0) return noOutcomesOfAny;
      return await refresher.refresh(access, refreshes, signal);
    });
  };
  return {
    async list({ tenantId, meter }, projection = fullProjection) {
      const read = async () => {
        const stored = await listNumbers(database, { tenantId, projection, now: now() });
        return await convertList(options, stored, projection);
      };
      const { numbers, meter: ofList } = await limiter.run(tenantId, meter.releaseWhile, read);
      if (ofList.validUntil !== null) limitValidity(meter, ofList.validUntil);
      noteAge(meter, ofList.snapshotAgeSeconds);
      return numbers;
    },
    estimateListSize: limiter.estimateSize,
    async getMany(access, requests, signal) {
      const { tenantId, meter } = access;
      // No stored id has a NUL, and PostgreSQL rejects one in a parameter.
      const possible = requests.filter(({ id }) => !id.includes('\0'));
      const live = possible.filter((request) => request.refresh !== null);
      const outcomes = await refresh(access, live, signal);
      const projection = unionOf(requests.map((request) => request.projection ?? fullProjection));
      const ids = toIds(possible);
      const stored = await listNumbers(database, { tenantId, projection, ids, now: now() });
      const found = new Map(stored.map((number) => [number.id, number]));
      const convert = createConversion(options, projection, meter);
      return requests.map(({ id, refresh: blocks }) => {
        const number = found.get(id);
        if (number === undefined) return toNotFound();
        return convert(number, blocks === null ? noOutcomes : outcomes.get(id));
      });
    },
  };
}

/** Converts what is stored, and notes in the meter how long the numbers are valid and how old they are. */
export function createConversion(
  { providers, now, sync }: Pick<NumbersOptions, 'providers' | 'now' | 'sync'>,
  projection: Projection,
  meter: RequestMeter,
): (stored: StoredNumber, outcomes?: Outcomes) => WhatsAppNumber {
  const at = now();
  if (projection.ages === true || projection.nextReads === true) limitValidity(meter, at);
  return (stored, outcomes = noOutcomes) => {
    // Once no session engine is configured, what it said is out of date.
    const readable = providers[stored.provider].blocks;
    const number = toWhatsAppNumber(stored, projection, { now: at, readable, outcomes, sync });
    if (number.validUntil !== null) limitValidity(meter, number.validUntil);
    if (projection.health === 'everything') {
      noteAge(meter, number.health.freshness?.ageSeconds ?? null);
    }
    return number;
  };
}

function noteAge(meter: RequestMeter, ageSeconds: number | null): void {
  if (ageSeconds === null || ageSeconds <= (meter.snapshotAgeSeconds ?? -1)) return;
  meter.snapshotAgeSeconds = ageSeconds;
}

interface ConvertedList {
  readonly numbers: readonly WhatsAppNumber[];
  readonly meter: RequestMeter;
}

/** By the stored list and the projection, so that requests which share a read share its numbers too. */
const convertedLists = new WeakMap<readonly StoredNumber[], Map<string, Promise<ConvertedList>>>();

function convertList(
  options: NumbersOptions,
  stored: readonly StoredNumber[],
  projection: Projection,
): Promise<ConvertedList> {
  const byProjection = convertedLists.get(stored) ?? new Map<string, Promise<ConvertedList>>();
  convertedLists.set(stored, byProjection);
  const key = JSON.stringify(projection);
  const convert = async (): Promise<ConvertedList> => {
    const meter = createMeter();
    const convertOne = createConversion(options, projection, meter);
    const numbers = await mapInChunks(stored, (number) => Object.freeze(convertOne(number)));
    return { numbers, meter };
  };
  const converted = byProjection.get(key) ?? convert();
  byProjection.set(key, converted);
  return converted;
}

const noOutcomes: Outcomes = new Map();
const noOutcomesOfAny: ReadonlyMap<string, Outcomes> = new Map();

function toIds(requests: readonly NumberRequest[]): readonly string[] {
  return [...new Set(requests.map(({ id }) => id))];
}

const allBlocks: readonly MetaBlock[] = ['phone', 'profile', 'waba'];

// Two requests for one number become one refresh of all their blocks.
function toRefreshRequests(
  requests: readonly NumberRequest[],
  addresses: readonly NumberAddress[],
): readonly RefreshRequest[] {
  const asked = Map.groupBy(
    requests.filter((request) => request.refresh !== null),
    (request) => request.id,
  );
  return addresses.map((number) => {
    const blocks = (asked.get(number.id) ?? []).flatMap(({ refresh }) =>
      refresh === null || refresh.length === 0 ? allBlocks : refresh,
    );
    return { number, blocks: [...new Set<Block>([...blocks, 'connection'])] };
  });
}

function toRefreshError(failure: UpstreamFailure, now: Date): GatewayError {
  const { code, retryAt, metaCode, metaSubcode, fbtraceId, transient } = failure;
  return new GatewayError(code, toFailureText(failure), {
    details: { metaCode, metaSubcode, fbtraceId, transient, retryAt },
    // A misconfigured session engine does not recover within seconds, but a 503 has to say when to retry.
    ...((transient || code === 'UNAVAILABLE') && {
      retryAfterSeconds: transient ? toRetryAfterSeconds(retryAt, now) : 60,
    }),
  });
}

function toRetryAfterSeconds(retryAt: string | null, now: Date): number {
  const seconds = retryAt === null ? 5 : (Date.parse(retryAt) - now.getTime()) / 1_000;
  return Math.max(1, Math.ceil(seconds));
}
