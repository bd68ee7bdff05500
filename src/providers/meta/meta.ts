// Reads numbers from Meta: which blocks to query for which target, with whose credentials, and what the results hold.

import { type JsonObject, toObject } from '../../json.ts';
import { metaBlocks, toMetaBlock, type MetaBlock } from '../../numbers/meta.ts';
import {
  type Credentials,
  type Observation,
  type Pause,
  type Provider,
  type BlockResult,
  type ReadOptions,
  type Target,
  toPlainFailure,
  type UpstreamFailure,
} from '../../numbers/provider.ts';
import { createAddressCheck } from './address-check.ts';
import {
  type BlockQuery,
  type BlockReader,
  type BlockReaderOptions,
  createBlockReader,
  createRetryingClient,
} from './batching.ts';
import { idNames } from './graph-refusals.ts';
import { findPauseFailure, maxSpentPercent } from './usage-budget.ts';

/** Reads the numbers whose provider is META. */
export function createMetaProvider(options: BlockReaderOptions): Provider {
  const readBlocks = createBlockReader(options);
  return {
    blocks: Object.keys(metaBlocks) as MetaBlock[],
    read: (targets, reading) => readTargets(readBlocks, targets, reading),
    checkAddress: createAddressCheck(createRetryingClient(options)),
  };
}

type MetaRead = BlockResult<ReturnType<typeof toMetaBlock>>;

async function readTargets(
  readBlocks: BlockReader,
  targets: readonly Target[],
  options: ReadOptions,
): Promise<readonly Observation[]> {
  options.signal.throwIfAborted();
  const credentials = createCredentialIndex(targets);
  const queries = new Map(
    listQueries(targets, credentials).map((query) => [toQueryKey(query), query]),
  );
  const limit = toLimit(targets, options);
  const results = await readWithinBudget(readBlocks, queries, options, limit);
  const retries = listQueriesWithOtherCredentials(queries, results, credentials);
  for (const [key, result] of await readWithinBudget(readBlocks, retries, options, limit)) {
    if (result.ok) results.set(key, result);
  }
  const reads = new Map(
    results.entries().map(([key, result]) => [key, toMetaRead(queries.get(key)!, result)]),
  );
  return targets.map((target) => toObservation(target, credentials, reads));
}

function toLimit(
  targets: readonly Target[],
  { isBackground = false }: ReadOptions,
): Pause['spentPercent'] {
  if (isBackground) return maxSpentPercent.background;
  return targets.length > 1 ? maxSpentPercent.manyNumbers : maxSpentPercent.oneNumber;
}

type Results = Map<string, BlockResult<readonly JsonObject[]>>;

async function readWithinBudget(
  readBlocks: BlockReader,
  queries: ReadonlyMap<string, BlockQuery>,
  options: ReadOptions,
  limit: Pause['spentPercent'],
): Promise<Results> {
  const unsent = new Map<BlockQuery, BlockResult<readonly JsonObject[]>>();
  for (const query of queries.values()) {
    const failure = findPauseFailure(options.pauses, query, limit);
    if (failure !== null) unsent.set(query, { ok: false, attempted: false, failure });
  }
  const sent = [...queries.values()].filter((query) => !unsent.has(query));
  const results = await readBlocks(sent, options);
  return new Map(
    queries.entries().map(([key, query]) => [key, unsent.get(query) ?? results.get(query)!]),
  );
}

/** Equal credentials are one object here, so that they can be compared and grouped. */
interface CredentialIndex {
  ofTarget(target: Target): Credentials | null;
  /** Those of all targets in the account, distinct and in the order of the targets: any of them may be able to read it. */
  ofWaba(wabaId: string): readonly Credentials[];
}

function createCredentialIndex(targets: readonly Target[]): CredentialIndex {
  const known = new Map<string, Credentials>();
  const wabas = new Map<string, Set<Credentials>>();
  const ofTarget = ({ credentials }: Target): Credentials | null => {
    if (credentials === null) return null;
    const key = JSON.stringify([credentials.accessToken, credentials.appSecret]);
    const first = known.get(key) ?? credentials;
    known.set(key, first);
    return first;
  };
  for (const target of targets) {
    const credentials = ofTarget(target);
    if (target.wabaId === null || credentials === null) continue;
    wabas.set(target.wabaId, (wabas.get(target.wabaId) ?? new Set()).add(credentials));
  }
  return { ofTarget, ofWaba: (wabaId) => [...(wabas.get(wabaId) ?? [])] };
}

// Accounts are in the first batch, because many numbers depend on each.
const blocksInOrder: readonly MetaBlock[] = ['waba', 'phone', 'profile'];

function listQueries(
  targets: readonly Target[],
  credentials: CredentialIndex,
): readonly BlockQuery[] {
  return blocksInOrder.flatMap((block) =>
    targets
      .filter((target) => target.blocks.includes(block))
      .map((target) => toQuery(target, block, credentials))
      .filter((query) => query !== null),
  );
}

/** Null when the id or the credentials are not stored. */
function toQuery(target: Target, block: MetaBlock, index: CredentialIndex): BlockQuery | null {
  const id = block === 'waba' ? target.wabaId : target.phoneNumberId;
  if (id === null) return null;
  const credentials = block === 'waba' ? index.ofWaba(id)[0] : index.ofTarget(target);
  return credentials ? { block, id, wabaId: target.wabaId, credentials } : null;
}

function toQueryKey({ block, id, credentials }: BlockQuery): string {
  // An account is read once for all; a number may be there twice with different tokens.
  return block === 'waba' ? `waba ${id}` : JSON.stringify([block, id, credentials]);
}

/** For each account that was denied, the same query with other credentials, preferably some that have just worked. */
function listQueriesWithOtherCredentials(
  queries: ReadonlyMap<string, BlockQuery>,
  results: Results,
  index: CredentialIndex,
): ReadonlyMap<string, BlockQuery> {
  const working = new Set<Credentials>();
  for (const [key, query] of queries) {
    if (results.get(key)?.ok) working.add(query.credentials);
  }
  const others = new Map<string, BlockQuery>();
  for (const [key, query] of queries) {
    const result = results.get(key)!;
    if (query.block !== 'waba' || result.ok) continue;
    if (result.failure.code !== 'META_ACCESS_DENIED') continue;
    const candidates = index.ofWaba(query.id).slice(1);
    const credentials = candidates.find((candidate) => working.has(candidate)) ?? candidates[0];
    if (credentials !== undefined) others.set(key, { ...query, credentials });
  }
  return others;
}

function toObservation(
  target: Target,
  credentials: CredentialIndex,
  reads: ReadonlyMap<string, MetaRead>,
): Observation {
  const entries = blocksInOrder
    .filter((block) => target.blocks.includes(block))
    .map((block) => {
      const query = toQuery(target, block, credentials);
      return [block, (query && reads.get(toQueryKey(query))) ?? toMissingInput(target, block)];
    });
  // Each read was made from the result of a query for its block.
  return { numberId: target.numberId, reads: Object.fromEntries(entries) as Observation['reads'] };
}

/** For a block that could not be queried. */
function toMissingInput(target: Target, block: MetaBlock): MetaRead {
  const [message, solution] = describeMissingInput(target, block);
  return {
    ok: false,
    attempted: false,
    failure: toPlainFailure('META_ACCESS_DENIED', false, message, { solution }),
  };
}

function describeMissingInput(
  { phoneNumberId, wabaId, areCredentialsUnreadable = false }: Target,
  block: MetaBlock,
): readonly [message: string, solution: string] {
  const id = block === 'waba' ? wabaId : phoneNumberId;
  if (id === null) {
    const [name, option] = idNames[block];
    return [
      `No ${name} is stored for this number.`,
      `Store the one that WhatsApp Manager shows with: number update ${option}.`,
    ];
  }
  return areCredentialsUnreadable
    ? [
        'The stored access token cannot be decrypted.',
        "Store it again with: number set-credentials. If this concerns many numbers, ask the gateway's operator to put the former key back into ENCRYPTION_KEYS.",
      ]
    : [
        'No access token is stored for this number.',
        'Store one that may read it with: number set-credentials.',
      ];
}

function toMetaRead(
  { block, id }: BlockQuery,
  result: BlockResult<readonly JsonObject[]>,
): MetaRead {
  if (!result.ok) return result;
  const parts = result.value.map((json) =>
    block === 'profile' ? toProfile(json) : toNode(id, json),
  );
  if (parts.includes(null)) return { ok: false, attempted: true, failure: unexpected };
  return { ok: true, value: toMetaBlock(block, Object.assign({}, ...parts)) };
}

const unexpected: UpstreamFailure = toPlainFailure(
  'META_UNAVAILABLE',
  true,
  'Meta returned a different object than the one requested.',
  { solution: 'Try again later.' },
);

/** Null when it is not the node that was requested: Graph always includes the id. */
function toNode(id: string, node: JsonObject): JsonObject | null {
  const given = node['id'];
  return (typeof given === 'string' || typeof given === 'number') && String(given) === id
    ? node
    : null;
}

/** Null when it is not a profile. Meta documents the object both flat and nested; an empty list is an unset profile. */
function toProfile({ data }: JsonObject): JsonObject | null {
  if (!Array.isArray(data)) return null;
  if (data.length === 0) return {};
  const profile = toObject(data[0]);
  return profile === null ? null : (toObject(profile['business_profile']) ?? profile);
}
