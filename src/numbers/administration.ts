// The use cases of operators: adding, changing and removing numbers, and their credentials.

import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import type { Vault } from '../secrets.ts';
import { withPauses } from './budgets.ts';
import { openCredentials, toCredentialPlace } from './credentials.ts';
import type { WhatsAppNumber } from './number.ts';
import type { ConnectionState, Credentials, Provider, ProviderName } from './provider.ts';
import * as store from './number-store.ts';

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
  /** For the demo, whose ids are fixed. Created by the database by default. */
  readonly id?: string;
}

/** A number of Meta that uses a shared credential. */
export interface NewSharedNumber {
  readonly name: string;
  readonly number: string;
  readonly state: ConnectionState;
  readonly phoneNumberId: string;
  readonly wabaId: string;
}

/** The members to change. */
export type NumberChange = Partial<
  Pick<NewNumber, 'name' | 'number' | 'instanceName' | 'phoneNumberId' | 'wabaId'>
>;

/** Asks the provider first whether the ids and the digits are right. */
export interface CheckOptions {
  readonly signal: AbortSignal;
}

export interface RemovedNumber {
  readonly number: WhatsAppNumber;
  /** The ids of its keys, which were usable until then. */
  readonly revokedKeys: readonly string[];
}

export interface NumberAdministration {
  /**
   * CONFLICT when the tenant already has the phone number id or the instance name. With `check`, INVALID_REQUEST for a number
   * of a session engine that is configured, without the name of its instance. With `check` and credentials, the ids and
   * the digits are checked first, and what is wrong is thrown.
   */
  create(number: NewNumber, check?: CheckOptions): Promise<WhatsAppNumber>;
  /** Operators have only the id of a number. Throws NUMBER_NOT_FOUND. */
  getTenantOf(id: string): Promise<string>;
  setState(id: string, state: ConnectionState): Promise<WhatsAppNumber>;
  /** Replaces the stored credentials, for example after the access token has expired. */
  setCredentials(id: string, credentials: Credentials): Promise<WhatsAppNumber>;
  /** Lets the number use a shared credential of its tenant instead of its own. Throws CREDENTIAL_NOT_FOUND. */
  shareCredential(id: string, credentialId: string): Promise<WhatsAppNumber>;
  /**
   * Adds numbers of Meta that share a credential. Those whose phone number id the tenant has are left out. Returns the ids of
   * the others by phone number id.
   */
  addShared(
    tenantId: string,
    numbers: readonly NewSharedNumber[],
    credentialId: string,
  ): Promise<ReadonlyMap<string, string>>;
  /** The ids of the tenant's numbers by their phone number ids. */
  listPhoneNumberIds(tenantId: string): Promise<ReadonlyMap<string, string>>;
  /** What was read of an id that changes is deleted, also what is being read at the time. Checks as `create` does. */
  update(id: string, change: NumberChange, check?: CheckOptions): Promise<WhatsAppNumber>;
  /** Deletes the number, its keys, its credentials and what was read of it. */
  remove(id: string): Promise<RemovedNumber>;
}

export interface AdministrationOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly providers: Readonly<Record<ProviderName, Provider>>;
  /** See `NumbersOptions`. */
  readonly isBackground?: boolean;
  getStored(tenantId: string, id: string): Promise<WhatsAppNumber>;
}

export function createAdministration(options: AdministrationOptions): NumberAdministration {
  const { database, vault, getStored } = options;
  const seal = (credentials: Credentials, tenantId: string, id: string): string =>
    vault.seal(JSON.stringify(credentials), toCredentialPlace(tenantId, id));
  const getTenantOf = async (id: string): Promise<string> => {
    const tenantId = await store.findTenantOfNumberAcrossTenants(database, id);
    if (tenantId === undefined) throw toNotFound();
    return tenantId;
  };
  return {
    async create(number, check) {
      const { credentials, tenantId } = number;
      if (check !== undefined) {
        rejectMissingInstance(options, number);
        await checkAddress(options, number, credentials, check);
      }
      const sealFor = credentials && ((id: string) => seal(credentials, tenantId, id));
      const id = await orConflict(store.insertNumber(database, tenantId, toRow(number), sealFor));
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
    ...createSharing(options, getTenantOf),
    async update(id, change, check) {
      const tenantId = await getTenantOf(id);
      await update(options, { tenantId, id, change, check });
      return await getStored(tenantId, id);
    },
    async remove(id) {
      const tenantId = await getTenantOf(id);
      const number = await getStored(tenantId, id);
      const revokedKeys = await store.deleteNumber(database, tenantId, id);
      if (revokedKeys === undefined) throw toNotFound();
      return { number, revokedKeys };
    },
  };
}

/** Numbers that share a credential. */
function createSharing(
  { database, isBackground = false, getStored }: AdministrationOptions,
  getTenantOf: NumberAdministration['getTenantOf'],
): Pick<NumberAdministration, 'shareCredential' | 'addShared' | 'listPhoneNumberIds'> {
  return {
    async shareCredential(id, credentialId) {
      const tenantId = await getTenantOf(id);
      if (!(await store.shareCredential(database, tenantId, id, credentialId))) {
        throw toCredentialNotFound(credentialId);
      }
      return await getStored(tenantId, id);
    },
    addShared: (tenantId, numbers, credentialId) =>
      store.insertMetaNumbers(
        database,
        tenantId,
        numbers.map(toSharedRow),
        credentialId,
        isBackground ? 'SYNC' : 'COMMAND_LINE',
      ),
    listPhoneNumberIds: (tenantId) => store.listPhoneNumberIds(database, tenantId),
  };
}

interface Update {
  readonly tenantId: string;
  readonly id: string;
  readonly change: NumberChange;
  readonly check: CheckOptions | undefined;
}

async function update(
  options: AdministrationOptions,
  { tenantId, id, change, check }: Update,
): Promise<void> {
  const { database } = options;
  const before = await findAddress(options, tenantId, id);
  rejectMetaIds(before, change);
  const after = { ...before, ...change };
  if (check !== undefined && addressMembers.some((name) => before[name] !== after[name])) {
    const credentials = await readCredentials(options, tenantId, id);
    await checkAddress(options, after, credentials, check);
  }
  const columns = toColumns(before, change);
  if (!(await orConflict(store.updateNumber(database, tenantId, id, columns)))) throw toNotFound();
}

/** The state of a number of which nothing was read. */
export const initialStates: Readonly<Record<ProviderName, ConnectionState>> = {
  META: 'OPEN',
  PILOT_STATUS: 'CLOSE',
};

type StoredAddress = Required<NumberChange> & Pick<NewNumber, 'tenantId' | 'provider'>;

const addressMembers = ['number', 'phoneNumberId', 'wabaId'] as const;

async function findAddress(
  { database }: AdministrationOptions,
  tenantId: string,
  id: string,
): Promise<StoredAddress> {
  const row = await store.findNumber(database, tenantId, id);
  if (row === undefined) throw toNotFound();
  return { tenantId, ...row };
}

/** Without an instance name, the connection state of a number could never be read. */
function rejectMissingInstance(
  { providers }: AdministrationOptions,
  { provider, instanceName }: NewNumber,
): void {
  if (instanceName !== null || !providers[provider].blocks.includes('connection')) return;
  throw new GatewayError(
    'INVALID_REQUEST',
    'The number is connected by QR code, and its state is read from the session engine by the name of its instance there; add it with --instance.',
  );
}

function rejectMetaIds({ provider }: StoredAddress, change: NumberChange): void {
  if (provider === 'META') return;
  if (change.phoneNumberId === undefined && change.wabaId === undefined) return;
  throw new GatewayError(
    'INVALID_REQUEST',
    'The number is connected by QR code and has no ids at Meta; leave out the phone number id and the WABA id.',
  );
}

/** Throws what is wrong with the ids or the digits, or why that cannot be checked. */
async function checkAddress(
  { database, providers }: AdministrationOptions,
  address: Pick<StoredAddress, 'tenantId' | 'provider' | 'number' | 'phoneNumberId' | 'wabaId'>,
  credentials: Credentials | null,
  { signal }: CheckOptions,
): Promise<void> {
  const { checkAddress: check } = providers[address.provider];
  if (check === undefined || credentials === null) return;
  const problem = await withPauses(database, address.tenantId, (pauses) =>
    check(address, credentials, {
      tenantId: address.tenantId,
      signal,
      deadlineAt: performance.now() + checkDeadlineMs,
      pauses,
      onUpstreamCall: () => undefined,
    }),
  );
  if (problem === null) return;
  const { code, message } = problem;
  if (code === 'INVALID_REQUEST') throw new GatewayError(code, message);
  throw new GatewayError(
    code,
    `The ids could not be checked: ${message} To store them all the same, add --no-check.`,
  );
}

/** The numbers of an account may take several requests. */
const checkDeadlineMs = 20_000;

async function readCredentials(
  { database, vault }: AdministrationOptions,
  tenantId: string,
  id: string,
): Promise<Credentials | null> {
  const stored = await store.findCredentials(database, tenantId, id);
  if (stored === undefined) return null;
  try {
    return openCredentials(vault, stored, tenantId, id);
  } catch (error) {
    const message =
      'The ids cannot be checked, because the stored access token cannot be decrypted. Put the key that encrypted it back into ENCRYPTION_KEYS, or add --no-check.';
    throw new GatewayError('META_ACCESS_DENIED', message, { cause: error });
  }
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

function toSharedRow({ name, number, state, phoneNumberId, wabaId }: NewSharedNumber) {
  return { name, number, state, phone_number_id: phoneNumberId, waba_id: wabaId };
}

function toColumns(before: StoredAddress, change: NumberChange): store.NumberColumns {
  const { name, number, instanceName, phoneNumberId, wabaId } = { ...before, ...change };
  const source = before.provider === 'META' ? 'phoneNumberId' : 'instanceName';
  const isNew = change[source] !== undefined && change[source] !== before[source];
  return {
    name,
    number,
    instance_name: instanceName,
    phone_number_id: phoneNumberId,
    waba_id: wabaId,
    // The state was read of the former id.
    ...(isNew && { state: initialStates[before.provider] }),
  };
}

export function toCredentialNotFound(id: string): GatewayError {
  const message = `The tenant has no credential ${id}; see: credential list --tenant ID.`;
  return new GatewayError('CREDENTIAL_NOT_FOUND', message);
}

export function toNotFound(): GatewayError {
  return new GatewayError('NUMBER_NOT_FOUND', 'There is no number with this id.');
}

async function orConflict<T>(writing: Promise<T>): Promise<T> {
  try {
    return await writing;
  } catch (error) {
    // 23505: one of the unique keys of whatsapp_number.
    if ((error as { code?: unknown }).code !== '23505') throw error;
    throw new GatewayError(
      'CONFLICT',
      'The tenant already has a number with this phone number id or instance name; see: number list.',
      { cause: error },
    );
  }
}
