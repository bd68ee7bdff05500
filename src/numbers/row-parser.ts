// How the rows are parsed that a projection selects of numbers.

import type { TextRow } from '../database/statement.ts';
import { type AccountNotices, toRestrictions } from './account-notices.ts';
import type { MetaBlock } from './meta.ts';
import type { ConnectionState, ProviderName, UpstreamFailure } from './provider.ts';
import type { Verdict } from './reason.ts';
import type { NextReads, StoredBlock, StoredKeyHint, StoredNumber } from './stored-number.ts';
import type { TokenEnds } from './token-expiry.ts';

/**
 * How much of the blocks is read. `summary`: a few members of the phone. `evidence`: what health is based on, which is
 * the phone of a Meta number and the connection of any other. `phone`: also the times of the other blocks, on which
 * `meta` depends. `freshness`: everything but the data of the other blocks. `status`: what number_status is derived from.
 */
export type BlockExtent =
  'none' | 'summary' | 'evidence' | 'phone' | 'freshness' | 'status' | 'all';

export interface Shape {
  readonly details: boolean;
  readonly apiKeys: boolean;
  readonly blocks: BlockExtent;
  readonly nextReads: boolean;
}

/** Parses a row that begins with the columns of the shape. */
export type RowParser = (row: TextRow, nowMs: number) => StoredNumber;

/** Reads the text of one column from a row. Null also where the column was not selected. */
type ColumnReader = (row: TextRow) => string | null;

/** Finds a column once for all rows of a query. */
export type FindColumn = (column: string) => ColumnReader;

export function createReader(index: number): ColumnReader {
  return index === -1 ? () => null : (row) => row[index] ?? null;
}

export function createRowParser(shape: Shape, find: FindColumn): RowParser {
  const [readId, readProvider, readState] = [find('id'), find('provider'), find('state')];
  const [readStateObservedAt, readApiKeys] = [find('stateObservedAt'), find('apiKeys')];
  const parseDetails = shape.details ? createDetailsParser(find) : () => null;
  const parseBlocks = createBlocksParser(shape.blocks, find);
  const [readNumber, readWabaId] = [find('number'), find('wabaId')];
  const parseToken = createTokenParser(find);
  const parseNotices = createNoticesParser(find);
  const parseNextReads = shape.nextReads ? createNextReadsParser(find) : () => null;
  return (row, nowMs) => {
    const provider = readProvider(row) as ProviderName;
    return {
      // None of these three is ever null, and the database checks the words.
      id: readId(row)!,
      provider,
      state: readState(row) as ConnectionState,
      stateObservedAt: readStateObservedAt(row),
      details: parseDetails(row),
      apiKeys: shape.apiKeys ? parseKeyHints(readApiKeys(row), nowMs) : [],
      blocks: parseBlocks(row, provider),
      ...parseNotices(row),
      identity: { number: readNumber(row), wabaId: readWabaId(row) },
      token: parseToken(row),
      nextReads: parseNextReads(row),
    };
  };
}

function createNextReadsParser(find: FindColumn): (row: TextRow) => NextReads {
  const [readPhone, readRequest] = [find('next phone'), find('next request')];
  const [readProfile, readAccount] = [find('next profile'), find('next account')];
  return (row) => ({
    phone: readPhone(row),
    request: readRequest(row),
    profile: readProfile(row),
    waba: readAccount(row),
  });
}

type StoredNotices = Pick<StoredNumber, 'notices' | 'restrictions'>;

function createNoticesParser(find: FindColumn): (row: TextRow) => StoredNotices {
  const [readNotices, readWabaId] = [find('notices'), find('wabaId')];
  const [readFrom, readTo] = [find('availableFrom'), find('availableTo')];
  return (row) => {
    const text = readNotices(row);
    if (text === null) return noNotices;
    // What notice-store.ts has stored.
    const notices = JSON.parse(text) as AccountNotices;
    const reads = { availableFrom: readFrom(row), availableTo: readTo(row) };
    // The id is selected where reasons are shown.
    return { notices, restrictions: toRestrictions(readWabaId(row) ?? '', notices, reads) };
  };
}

function createTokenParser(find: FindColumn): (row: TextRow) => TokenEnds | null {
  const [readExpiresAt, readDataAccess] = [find('tokenExpiresAt'), find('dataAccessExpiresAt')];
  return (row) => {
    const [expiresAt, dataAccessExpiresAt] = [readExpiresAt(row), readDataAccess(row)];
    return expiresAt === null && dataAccessExpiresAt === null
      ? null
      : { expiresAt, dataAccessExpiresAt };
  };
}

function createDetailsParser(find: FindColumn): (row: TextRow) => StoredNumber['details'] {
  const [readInstanceName, readNumber] = [find('instanceName'), find('number')];
  const readName = find('name');
  const [readCreatedAt, readUpdatedAt] = [find('createdAt'), find('updatedAt')];
  const [readLabels, readMutedUntil] = [find('labels'), find('mutedUntil')];
  const readMuteNote = find('muteNote');
  return (row) => ({
    instanceName: readInstanceName(row),
    // None of these is ever null.
    number: readNumber(row)!,
    name: readName(row)!,
    createdAt: readCreatedAt(row)!,
    updatedAt: readUpdatedAt(row)!,
    labels: parseLabels(readLabels(row)),
    mutedUntil: readMutedUntil(row),
    muteNote: readMuteNote(row),
  });
}

function parseLabels(text: string | null): readonly string[] {
  return text === null ? noLabels : (JSON.parse(text) as readonly string[]);
}

const noLabels: readonly string[] = Object.freeze([]);

function parseKeyHints(text: string | null, nowMs: number): readonly StoredKeyHint[] {
  // What joinKeys selects.
  const hints = (parseJson(text) ?? []) as readonly [string, string, string, string | null][];
  return hints.map(([name, keyPrefix, keyLast4, leftMs]) => ({
    name,
    keyPrefix,
    keyLast4,
    expiresAt: leftMs === null ? null : nowMs + Math.floor(Number(leftMs)),
  }));
}

function createBlocksParser(
  extent: BlockExtent,
  find: FindColumn,
): (row: TextRow, provider: ProviderName) => StoredNumber['blocks'] {
  if (extent === 'none') return () => noBlocks;
  const parsePhone =
    extent === 'summary' ? createSummaryParser(find) : createBlockParser('phone', find);
  if (extent === 'summary' || extent === 'evidence') {
    return (row, provider) =>
      provider === 'META' ? { phone: parsePhone(row) } : { connection: parsePhone(row) };
  }
  const createParser = extent === 'phone' ? createPartParser : createBlockParser;
  const parseProfile = createParser('profile', find);
  const parseWaba = createParser('waba', find);
  return (row, provider) => {
    const [phone, profile, waba] = [parsePhone(row), parseProfile(row), parseWaba(row)];
    return provider === 'META' ? { phone, profile, waba } : { connection: phone, profile, waba };
  };
}

const noBlocks: StoredNumber['blocks'] = Object.freeze({});
const noNotices: StoredNotices = Object.freeze({
  notices: Object.freeze({}),
  restrictions: Object.freeze([]),
});

/** Undefined for a block that nobody has tried to read. */
type BlockParser = (row: TextRow) => StoredBlock | undefined;

function createBlockParser(block: MetaBlock, find: FindColumn): BlockParser {
  const [readAttemptedAt, readObstacle] = [find(`${block} attemptedAt`), find(`${block} obstacle`)];
  const parsePart = createPartParser(block, find);
  return (row) =>
    readAttemptedAt(row) === null && readObstacle(row) === null ? undefined : parsePart(row);
}

/** Parses a block of which not all columns are selected. The block counts as attempted. */
function createPartParser(
  block: MetaBlock,
  find: FindColumn,
  parseSummary: (row: TextRow) => StoredBlock['data'] = () => null,
): (row: TextRow) => StoredBlock {
  const [readData, readFailure] = [find(`${block} data`), find(`${block} failure`)];
  const [readObservedAt, readVerdict] = [find(`${block} observedAt`), find(`${block} verdict`)];
  const [readAttemptedAt, readObstacle] = [find(`${block} attemptedAt`), find(`${block} obstacle`)];
  return (row) => ({
    data: parseJson(readData(row)) ?? parseSummary(row),
    isSummary: readData(row) === null,
    observedAt: readObservedAt(row),
    attemptedAt: readAttemptedAt(row),
    failure: parseFailure(readFailure(row)),
    obstacle: parseFailure(readObstacle(row)),
    verdict: readVerdict(row) as Verdict | null,
  });
}

function createSummaryParser(find: FindColumn): BlockParser {
  const [readQuality, readTier] = [find('qualityRating'), find('messagingLimitTier')];
  const readStatus = find('status');
  return createPartParser('phone', find, (row) => ({
    qualityRating: readQuality(row),
    messagingLimitTier: readTier(row),
    status: readStatus(row),
  }));
}

function parseFailure(text: string | null): UpstreamFailure | null {
  const stored = parseJson(text) as UpstreamFailure | null;
  // Earlier releases store failures without a solution.
  return stored === null ? null : { ...stored, solution: stored.solution ?? null };
}

function parseJson(text: string | null): Readonly<Record<string, unknown>> | null {
  return text === null ? null : JSON.parse(text);
}
