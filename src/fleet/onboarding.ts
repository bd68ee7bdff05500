// Onboarding of many numbers by one token: finding those that it can see, importing them, and their accounts.

import type { Database } from '../database/database.ts';
import { withPauses } from '../numbers/budgets.ts';
import type { NewSharedNumber, Numbers } from '../numbers/numbers.ts';
import { toConnectionState } from '../numbers/phone-reasons.ts';
import type { Vault } from '../secrets.ts';
import type { AccountReader, FoundAccount, FoundNumber, TokenFacts } from './account-reader.ts';
import { createSharedCredentials, type SharedCredentials } from './credentials.ts';
import {
  createDiscoverer,
  type DiscoveryOptions,
  type DiscoveryRequest,
  type Problem,
  type WayResult,
} from './discovery.ts';
import * as store from './store.ts';

export type { KnownAccount, WatchMode } from './store.ts';

/**
 * NEW: the tenant does not have it. ADDED: it has it since this import. KNOWN: it had it before. SKIPPED: it cannot be added,
 * because Meta shows no digits of it.
 */
export type NumberResult = 'NEW' | 'ADDED' | 'KNOWN' | 'SKIPPED';

export interface DiscoveredNumber extends FoundNumber {
  readonly result: NumberResult;
  /** The gateway's id; null for a number that the tenant does not have. */
  readonly id: string | null;
}

export interface DiscoveredAccount extends FoundAccount {
  readonly watch: store.WatchMode;
  /** Why its numbers could not be read, or not all of them. */
  readonly problem: Problem | null;
  readonly numbers: readonly DiscoveredNumber[];
}

export interface Discovery {
  /** Null when Meta does not inspect the token. */
  readonly token: TokenFacts | null;
  readonly ways: readonly WayResult[];
  readonly accounts: readonly DiscoveredAccount[];
  /** Accounts beyond the limit, which were not read. */
  readonly leftOut: number;
}

/** Which of the numbers that are found are added. */
export type Selection =
  'all' | { readonly wabaIds: readonly string[] } | { readonly phoneNumberIds: readonly string[] };

export interface ImportRequest extends DiscoveryRequest {
  readonly selection: Selection;
  /** The shared credential of the new numbers; null for one with the credentials of the request. */
  readonly credentialId: string | null;
}

export interface ImportOptions extends DiscoveryOptions {
  /** Called after numbers were added, which stay when the import is interrupted later. */
  readonly onAdded?: (count: number) => void;
}

export interface Onboarding {
  readonly credentials: SharedCredentials;
  /** Reads what the token can see, and changes nothing. */
  discover(request: DiscoveryRequest, options: DiscoveryOptions): Promise<Discovery>;
  /** As `discover`, and adds the new numbers that are selected, page by page. Can be repeated. */
  importNumbers(request: ImportRequest, options: ImportOptions): Promise<Discovery>;
  /** The accounts of the tenant's numbers, and those that something is set for. */
  listAccounts(tenantId: string): Promise<readonly store.KnownAccount[]>;
  getWatchMode(tenantId: string, wabaId: string): Promise<store.WatchMode>;
  setWatchMode(tenantId: string, wabaId: string, mode: store.WatchMode): Promise<void>;
}

export interface OnboardingOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly reader: AccountReader;
  readonly numbers: Pick<Numbers, 'addShared' | 'listPhoneNumberIds'>;
}

export function createOnboarding(options: OnboardingOptions): Onboarding {
  const { database } = options;
  const credentials = createSharedCredentials(options);
  return {
    credentials,
    discover: (request, discovery) => discover(options, request, discovery, null),
    async importNumbers(request, importing) {
      const adder = createAdder(options, credentials, request, importing);
      return await discover(options, request, importing, adder);
    },
    listAccounts: (tenantId) => store.listAccounts(database, tenantId),
    getWatchMode: (tenantId, wabaId) => store.findWatchMode(database, tenantId, wabaId),
    setWatchMode: (tenantId, wabaId, mode) => store.setWatchMode(database, tenantId, wabaId, mode),
  };
}

/** Adds new numbers, and returns their ids by phone number id. */
type Adder = (
  account: FoundAccount,
  numbers: readonly FoundNumber[],
  context: AdderContext,
) => Promise<ReadonlyMap<string, string>>;

interface AdderContext {
  readonly token: TokenFacts | null;
  /**
   * The ids of the tenant's numbers by phone number id: those of the beginning, and those that others have added in the
   * meantime.
   */
  readonly known: Map<string, string>;
}

async function discover(
  { database, reader, numbers }: OnboardingOptions,
  request: DiscoveryRequest,
  options: DiscoveryOptions,
  add: Adder | null,
): Promise<Discovery> {
  const { tenantId } = request;
  const known = new Map(await numbers.listPhoneNumberIds(tenantId));
  const accounts = await store.listAccounts(database, tenantId);
  const watches = new Map(accounts.map(({ wabaId, watch }) => [wabaId, watch]));
  return await withPauses(database, tenantId, async (pauses) => {
    const discoverer = createDiscoverer(reader, pauses);
    const found = await discoverer.findAccounts(request, options);
    const read = new Map<string, DiscoveredNumber[]>();
    const problems = new Map<string, Problem>();
    await discoverer.readNumbers(request, found.accounts, {
      ...options,
      async onPage(account, page) {
        const added = (await add?.(account, page, { token: found.token, known })) ?? noIds;
        const list = read.get(account.id) ?? [];
        read.set(account.id, [...list, ...page.map((it) => toDiscovered(it, known, added))]);
      },
      onEnd(account, problem) {
        if (problem !== null) problems.set(account.id, problem);
      },
    });
    const toAccount = (account: FoundAccount): DiscoveredAccount => ({
      ...account,
      watch: watches.get(account.id) ?? 'REPORT',
      problem: problems.get(account.id) ?? null,
      numbers: read.get(account.id) ?? [],
    });
    return { ...found, accounts: found.accounts.map(toAccount) };
  });
}

const noIds: ReadonlyMap<string, string> = new Map();

function toDiscovered(
  number: FoundNumber,
  known: ReadonlyMap<string, string>,
  added: ReadonlyMap<string, string>,
): DiscoveredNumber {
  const { phoneNumberId } = number;
  const newId = added.get(phoneNumberId);
  if (newId !== undefined) return { ...number, result: 'ADDED', id: newId };
  const id = known.get(phoneNumberId) ?? null;
  if (id !== null) return { ...number, result: 'KNOWN', id };
  return { ...number, result: isStorable(number) ? 'NEW' : 'SKIPPED', id };
}

/** The database stores 5 to 20 digits. */
function isStorable({ number }: FoundNumber): boolean {
  return number !== null && /^\d{5,20}$/.test(number);
}

function createAdder(
  { numbers }: OnboardingOptions,
  credentials: SharedCredentials,
  request: ImportRequest,
  { onAdded }: ImportOptions,
): Adder {
  const { tenantId } = request;
  let credentialId: Promise<string> | null = null;
  const findCredential = async (token: TokenFacts | null): Promise<string> =>
    request.credentialId ??
    (await credentials.find(tenantId, request.credentials)) ??
    (await credentials.add(tenantId, 'import', request.credentials, token));
  return async (account, page, { token, known }) => {
    const rows = page
      .filter((number) => isStorable(number) && isSelected(request.selection, account, number))
      .filter(({ phoneNumberId }) => !known.has(phoneNumberId))
      .map((number) => toNewNumber(account, number));
    if (rows.length === 0) return noIds;
    // Once for all accounts, which are read at the same time.
    credentialId ??= findCredential(token);
    const added = await numbers.addShared(tenantId, rows, await credentialId);
    onAdded?.(added.size);
    if (added.size < rows.length) {
      const present = await numbers.listPhoneNumberIds(tenantId);
      for (const [phoneNumberId, id] of present) {
        if (!added.has(phoneNumberId)) known.set(phoneNumberId, id);
      }
    }
    return added;
  };
}

function isSelected(
  selection: Selection,
  { id }: FoundAccount,
  { phoneNumberId }: FoundNumber,
): boolean {
  if (selection === 'all') return true;
  return 'wabaIds' in selection
    ? selection.wabaIds.includes(id)
    : selection.phoneNumberIds.includes(phoneNumberId);
}

const maxNameLength = 200;

function toNewNumber(account: FoundAccount, found: FoundNumber): NewSharedNumber {
  const number = found.number ?? '';
  // Meta's text is untrusted: it may have control characters.
  const name = [...(found.verifiedName ?? '').replaceAll(/\p{Cc}/gu, ' ').trim()]
    .slice(0, maxNameLength)
    .join('');
  return {
    name: name === '' ? number : name,
    number,
    state: toConnectionState(found) ?? 'OPEN',
    phoneNumberId: found.phoneNumberId,
    wabaId: account.id,
  };
}
