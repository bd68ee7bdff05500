// Owns the use cases: what may be asked and told about the numbers of a tenant. The one place that says "not found".

import { LRUCache } from 'lru-cache';
import type { Access } from '../access/access.ts';
import { createMeter, limitValidity, type RequestMeter } from '../http/request-context.ts';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { Vault } from '../secrets.ts';
import type { Telemetry } from '../telemetry.ts';
import type { MetaBlock } from './meta.ts';
import {
  fullProjection,
  findRefreshFailure,
  type NumberAddress,
  type Outcomes,
  type Projection,
  type StoredNumber,
  unionOf,
  toWhatsAppNumber,
  type WhatsAppNumber,
} from './number.ts';
import type {
  Block,
  ConnectionState,
  Credentials,
  Provider,
  ProviderName,
  UpstreamFailure,
} from './provider.ts';
import { type RefreshRequest, toCredentialPlace } from './live-read.ts';
import { createRefresher } from './refresh.ts';
import { listAddresses, listNumbers } from './number-queries.ts';
import * as store from './store.ts';

/** One number to get. */
export interface NumberRequest {
  readonly id: string;
  /** The blocks of Meta to read live before answering; none of them means all; null fetches nothing. */
  readonly refresh: readonly MetaBlock[] | null;
  /** Everything unless told. */
  readonly projection?: Projection;
}

export interface NewNumber {
  readonly tenantId: string;
  readonly name: string;
  /** Digits only, with the country code. */
  readonly number: string;
  readonly provider: ProviderName;
  readonly instanceName: string | null;
  readonly state: ConnectionState;
  readonly phoneNumberId: string | null;
  readonly wabaId: string | null;
  readonly credentials: Credentials | null;
  /** For the demo, whose ids stay the same; otherwise the database makes one. */
  readonly id?: string;
}

export interface Numbers {
  /** All numbers of the tenant, by creation, then id; all of them unless told what is shown. Fetches nothing. */
  list(access: Access, projection?: Projection): Promise<readonly WhatsAppNumber[]>;
  /** How many numbers the tenant's last list had; null when this process does not remember one. */
  estimateListSize(tenantId: string): number | null;
  /**
   * One answer for each request, in order: the number, or NUMBER_NOT_FOUND. They are read together, with all that is
   * shown of one of them. Live readings travel together too; trouble upstream is told by the number's freshness. `signal` is that of the caller: see `Refresher.observe`.
   */
  getMany(
    access: Access,
    requests: readonly NumberRequest[],
    signal: AbortSignal,
  ): Promise<readonly (WhatsAppNumber | GatewayError)[]>;
  /** Throws NUMBER_NOT_FOUND. */
  get(access: Access, request: NumberRequest, signal: AbortSignal): Promise<WhatsAppNumber>;
  /** Everything of a number after a reading of these blocks; throws why when not one of them could be read. */
  getLive(
    access: Access,
    id: string,
    blocks: readonly MetaBlock[],
    signal: AbortSignal,
  ): Promise<WhatsAppNumber>;
  /** The number whose connection state was read just now, from Meta or from the session engine; throws as `getLive`. */
  getStatus(access: Access, id: string, signal: AbortSignal): Promise<WhatsAppNumber>;

  /** For operators. CONFLICT when the tenant has the phone number id or the instance name already. */
  create(number: NewNumber): Promise<WhatsAppNumber>;
  /** For operators: by id alone. Throws NUMBER_NOT_FOUND. */
  getTenantOf(id: string): Promise<string>;
  setState(id: string, state: ConnectionState): Promise<WhatsAppNumber>;
  /** Replaces the stored ones, for example after the access token has died. */
  setCredentials(id: string, credentials: Credentials): Promise<WhatsAppNumber>;
}

export interface NumbersOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly providers: Readonly<Record<ProviderName, Provider>>;
  readonly telemetry: Telemetry;
  readonly now: () => Date;
  /** Milliseconds that a live reading may take. */
  readonly deadlineMs?: number;
}

/** What an operator's command acts as: the tenant itself, with no key. */
export function toOperatorAccess(tenantId: string): Access {
  return {
    tenantId,
    keyId: 'operator',
    numberId: null,
    receivedAt: performance.now(),
    meter: createMeter(),
  };
}

export function createNumbers(options: NumbersOptions): Numbers {
  const { now } = options;
  const { list, estimateListSize, getMany } = createReading(options, createRefresher(options));
  const get: Numbers['get'] = async (access, request, signal) => {
    const [found] = await getMany(access, [request], signal);
    if (found === undefined || found instanceof GatewayError) throw found ?? toNotFound();
    return found;
  };
  const getLive: Numbers['getLive'] = async (access, id, blocks, signal) => {
    const number = await get(access, { id, refresh: blocks }, signal);
    const failure = findRefreshFailure(number);
    if (failure !== null) throw toRefreshError(failure, now());
    return number;
  };
  const getStored: GetStored = (tenantId, id) =>
    get(toOperatorAccess(tenantId), { id, refresh: null }, AbortSignal.any([]));
  return {
    list,
    estimateListSize,
    getMany,
    get,
    getLive,
    getStatus: (access, id, signal) => getLive(access, id, ['phone'], signal),
    ...createUpkeep(options, getStored),
  };
}

type GetStored = (tenantId: string, id: string) => Promise<WhatsAppNumber>;

/** What is for operators. */
function createUpkeep(
  { database, vault }: NumbersOptions,
  getStored: GetStored,
): Pick<Numbers, 'create' | 'getTenantOf' | 'setState' | 'setCredentials'> {
  const seal = (credentials: Credentials, tenantId: string, id: string): string =>
    vault.seal(JSON.stringify(credentials), toCredentialPlace(tenantId, id));
  const getTenantOf = async (id: string): Promise<string> => {
    const tenantId = await store.findTenantOfNumberAcrossTenants(database, id);
    if (tenantId === undefined) throw toNotFound();
    return tenantId;
  };
  return {
    async create(number) {
      const { credentials, tenantId } = number;
      const sealFor = credentials && ((id: string) => seal(credentials, tenantId, id));
      const id = await store
        .insertNumber(database, tenantId, toRow(number), sealFor)
        .catch((error: unknown) => {
          throw toConflict(error);
        });
      return await getStored(tenantId, id);
    },
    getTenantOf,
    async setState(id, state) {
      const tenantId = await getTenantOf(id);
      await store.updateState(database, tenantId, id, state);
      return await getStored(tenantId, id);
    },
    async setCredentials(id, credentials) {
      const tenantId = await getTenantOf(id);
      await store.updateCredential(database, tenantId, id, seal(credentials, tenantId, id));
      return await getStored(tenantId, id);
    },
  };
}

function createReading(
  { database, providers, now }: NumbersOptions,
  refresher: ReturnType<typeof createRefresher>,
): Pick<Numbers, 'list' | 'estimateListSize' | 'getMany'> {
  const listSizes = new LRUCache<string, number>({ max: maxListSizes });
  const read = (
    { tenantId }: Access,
    projection: Projection,
    ids: readonly string[] | null,
  ): Promise<readonly StoredNumber[]> =>
    listNumbers(database, { tenantId, projection, ids, now: now() });
  // What was stored while a session engine was configured says nothing once there is none.
  const toNumber = (
    stored: StoredNumber,
    projection: Projection,
    at: Date,
    outcomes = noOutcomes,
  ) => {
    const readable = providers[stored.provider].blocks;
    return toWhatsAppNumber(stored, projection, { now: at, readable, outcomes });
  };
  const observe = async (
    access: Access,
    asked: readonly NumberRequest[],
    live: readonly string[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Outcomes>> => {
    const addresses = await listAddresses(database, access.tenantId, live);
    const refreshes = toRefreshRequests(asked, addresses);
    return refreshes.length === 0
      ? nobodysOutcomes
      : await refresher.refresh(access, refreshes, signal);
  };
  return {
    async list(access, projection = fullProjection) {
      const stored = await read(access, projection, null);
      listSizes.set(access.tenantId, stored.length);
      const at = now();
      if (projection.ages === true) limitValidity(access.meter, at);
      return stored.map((number) =>
        noteFreshness(access.meter, projection, toNumber(number, projection, at)),
      );
    },
    estimateListSize: (tenantId) => listSizes.get(tenantId) ?? null,
    async getMany(access, requests, signal) {
      // No stored id has a NUL, and PostgreSQL refuses to be asked for one.
      const asked = requests.filter(({ id }) => !id.includes('\0'));
      const live = toIds(asked.filter((request) => request.refresh !== null));
      if (live.length > 0) access.meter.isLive = true;
      const outcomes =
        live.length === 0
          ? nobodysOutcomes
          : await access.meter.releaseWhile(() => observe(access, asked, live, signal));
      const projection = unionOf(requests.map((request) => request.projection ?? fullProjection));
      const found = new Map(
        (await read(access, projection, toIds(asked))).map((stored) => [stored.id, stored]),
      );
      const at = now();
      if (projection.ages === true) limitValidity(access.meter, at);
      return requests.map(({ id, refresh }) => {
        const stored = found.get(id);
        if (stored === undefined) return toNotFound();
        const outcome = refresh === null ? noOutcomes : outcomes.get(id);
        return noteFreshness(access.meter, projection, toNumber(stored, projection, at, outcome));
      });
    },
  };
}

/** Tenants whose list size is remembered; about 100 bytes each. */
const maxListSizes = 100_000;

function noteFreshness(
  meter: RequestMeter,
  projection: Projection,
  number: WhatsAppNumber,
): WhatsAppNumber {
  if (number.validUntil !== null) limitValidity(meter, number.validUntil);
  const freshness = projection.health === 'everything' ? number.health.freshness : null;
  const ageSeconds = freshness?.ageSeconds ?? null;
  if (ageSeconds !== null && ageSeconds > (meter.snapshotAgeSeconds ?? -1))
    meter.snapshotAgeSeconds = ageSeconds;
  return number;
}

const noOutcomes: Outcomes = new Map();
const nobodysOutcomes: ReadonlyMap<string, Outcomes> = new Map();

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

function toRow(number: NewNumber): store.NewNumberRow {
  return {
    ...(number.id !== undefined && { id: number.id }),
    instance_name: number.instanceName,
    number: number.number,
    name: number.name,
    provider: number.provider,
    state: number.state,
    phone_number_id: number.phoneNumberId,
    waba_id: number.wabaId,
  };
}

function toNotFound(): GatewayError {
  return new GatewayError('NUMBER_NOT_FOUND', 'There is no number with this id.');
}

// 23505: one of the unique keys of whatsapp_number.
function toConflict(error: unknown): unknown {
  if ((error as { code?: unknown }).code !== '23505') return error;
  return new GatewayError(
    'CONFLICT',
    'The tenant has a number with this phone number id or instance name already; see: number list.',
    { cause: error },
  );
}

function toRefreshError(failure: UpstreamFailure, now: Date): GatewayError {
  const { code, message, retryAt, metaCode, metaSubcode, fbtraceId, transient } = failure;
  return new GatewayError(code, message, {
    details: { metaCode, metaSubcode, fbtraceId, transient, retryAt },
    // A session engine that is wrongly set up will not mend itself in seconds, but a 503 says when to look again.
    ...((transient || code === 'UNAVAILABLE') && {
      retryAfterSeconds: transient ? toRetryAfterSeconds(retryAt, now) : 60,
    }),
  });
}

function toRetryAfterSeconds(retryAt: string | null, now: Date): number {
  const seconds = retryAt === null ? 5 : (Date.parse(retryAt) - now.getTime()) / 1_000;
  return Math.max(1, Math.ceil(seconds));
}
