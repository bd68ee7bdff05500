// Shared credentials: one access token for many numbers, and what Meta says about it.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import { toCredentialNotFound } from '../numbers/administration.ts';
import { withPauses } from '../numbers/budgets.ts';
import { openSharedCredentials, toSharedCredentialPlace } from '../numbers/credentials.ts';
import type { Credentials } from '../numbers/provider.ts';
import type { Vault } from '../secrets.ts';
import type { AccountReader, Found, TokenFacts } from './account-reader.ts';
import { type Problem, toInspectionProblem, toProblem } from './discovery.ts';
import * as store from './store.ts';

export type { SharedCredential } from './store.ts';

export interface CredentialRequest {
  readonly tenantId: string;
  /** Null for a new credential. */
  readonly id: string | null;
  /** Required for a new one; null keeps the name of one that exists. */
  readonly name: string | null;
  readonly credentials: Credentials;
  /** Whether Meta is asked first, and a token that it refuses is not stored. */
  readonly check: boolean;
  readonly signal: AbortSignal;
}

export interface CheckedCredential {
  readonly credential: store.SharedCredential;
  /** Null when Meta accepts the token. */
  readonly problem: Problem | null;
}

export interface SharedCredentials {
  /** Oldest first. */
  list(tenantId: string): Promise<readonly store.SharedCredential[]>;
  /** Stores a new token under a new or an existing id. Throws why Meta refuses it, or CREDENTIAL_NOT_FOUND. */
  set(request: CredentialRequest): Promise<store.SharedCredential>;
  /** Asks Meta about one credential, or about all, and stores the times of their expiry. */
  check(
    tenantId: string,
    id: string | null,
    signal: AbortSignal,
  ): Promise<readonly CheckedCredential[]>;
  /** The secret. Throws CREDENTIAL_NOT_FOUND, or META_ACCESS_DENIED when it cannot be decrypted. */
  open(tenantId: string, id: string): Promise<Credentials>;
  /** The id of the credential with this token and app secret, if the tenant has one. */
  find(tenantId: string, credentials: Credentials): Promise<string | null>;
  /** Stores a credential that was just inspected, and returns its id. */
  add(
    tenantId: string,
    name: string,
    credentials: Credentials,
    facts: store.CredentialFacts | null,
  ): Promise<string>;
}

export interface SharedCredentialsOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly reader: AccountReader;
}

export function createSharedCredentials(options: SharedCredentialsOptions): SharedCredentials {
  const { database, vault } = options;
  const list = (tenantId: string) => store.listCredentials(database, tenantId);
  const get = async (tenantId: string, id: string): Promise<store.SealedCredential> => {
    const found = (await list(tenantId)).find(({ credential }) => credential.id === id);
    if (found === undefined) throw toCredentialNotFound(id);
    return found;
  };
  const seal = (tenantId: string, id: string, credentials: Credentials): string =>
    vault.seal(JSON.stringify(credentials), toSharedCredentialPlace(tenantId, id));
  const add: SharedCredentials['add'] = async (tenantId, name, credentials, facts) => {
    const id = `cred_${randomUUID().replaceAll('-', '')}`;
    const sealed = seal(tenantId, id, credentials);
    await store.insertCredential(database, tenantId, { id, name, sealed, facts });
    return id;
  };
  return {
    list: async (tenantId) => (await list(tenantId)).map(({ credential }) => credential),
    async set({ tenantId, id: given, name, credentials, check, signal }) {
      if (given !== null) await get(tenantId, given);
      const facts = check ? await inspect(options, tenantId, credentials, signal) : null;
      const id = given ?? (await add(tenantId, name ?? 'default', credentials, facts));
      if (given !== null) {
        const sealed = seal(tenantId, id, credentials);
        await store.updateCredential(database, tenantId, { id, name, sealed, facts });
      }
      return (await get(tenantId, id)).credential;
    },
    async check(tenantId, id, signal) {
      const listed = id === null ? await list(tenantId) : [await get(tenantId, id)];
      const checks = listed.map((sealed) => checkOne(options, tenantId, sealed, signal));
      const problems = new Map(await Promise.all(checks));
      return (await list(tenantId))
        .filter(({ credential }) => problems.has(credential.id))
        .map(({ credential }) => ({ credential, problem: problems.get(credential.id) ?? null }));
    },
    open: async (tenantId, id) => openOrThrow(vault, tenantId, await get(tenantId, id)),
    async find(tenantId, { accessToken, appSecret }) {
      const same = (await list(tenantId)).find((stored) => {
        const secret = tryOpen(() => openSealed(vault, tenantId, stored));
        return secret?.accessToken === accessToken && secret.appSecret === appSecret;
      });
      return same?.credential.id ?? null;
    },
    add,
  };
}

function openSealed(
  vault: Vault,
  tenantId: string,
  { credential, sealed }: store.SealedCredential,
): Credentials {
  return openSharedCredentials(vault, sealed, tenantId, credential.id);
}

function openOrThrow(vault: Vault, tenantId: string, sealed: store.SealedCredential): Credentials {
  const credentials = tryOpen(() => openSealed(vault, tenantId, sealed));
  if (credentials === null) throw new GatewayError(undecryptable.code, undecryptable.message);
  return credentials;
}

/** Null when the credentials cannot be decrypted, for example because an encryption key was lost. */
function tryOpen(open: () => Credentials): Credentials | null {
  try {
    return open();
  } catch {
    return null;
  }
}

/** Stores what Meta says, and returns the id with what is wrong. */
async function checkOne(
  options: SharedCredentialsOptions,
  tenantId: string,
  sealed: store.SealedCredential,
  signal: AbortSignal,
): Promise<readonly [id: string, problem: Problem | null]> {
  const { id } = sealed.credential;
  const credentials = tryOpen(() => openSealed(options.vault, tenantId, sealed));
  if (credentials === null) return [id, undecryptable];
  const inspected = await inspectToken(options, tenantId, credentials, signal);
  if (!inspected.ok) return [id, toInspectionProblem(inspected.failure)];
  await store.recordFacts(options.database, tenantId, id, inspected.value);
  return [id, inspected.value.isValid ? null : invalidToken];
}

const undecryptable = {
  code: 'META_ACCESS_DENIED',
  message:
    'The stored credential cannot be decrypted. Put the key that encrypted it back into ENCRYPTION_KEYS, or store it again with: credential set.',
} as const satisfies Problem;

const invalidToken: Problem = {
  code: 'META_ACCESS_DENIED',
  message:
    'Meta says that the access token is not valid any more. Store a new one with: credential set.',
};

/** Throws when Meta refuses the token. Null when it does not inspect it, which says nothing about the token. */
async function inspect(
  options: SharedCredentialsOptions,
  tenantId: string,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<store.CredentialFacts | null> {
  const inspected = await inspectToken(options, tenantId, credentials, signal);
  if (inspected.ok && inspected.value.isValid) return inspected.value;
  // Meta inspects a token for its app and its developers only; a token that it refuses as such has the code 190.
  if (!inspected.ok && inspected.failure.metaCode !== 190) return null;
  const { message } = inspected.ok ? invalidToken : toProblem(inspected.failure);
  const code = inspected.ok ? 'META_ACCESS_DENIED' : inspected.failure.code;
  throw new GatewayError(code, `${message} To store it all the same, add --no-check.`);
}

async function inspectToken(
  { database, reader }: SharedCredentialsOptions,
  tenantId: string,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<Found<TokenFacts>> {
  return await withPauses(database, tenantId, (pauses) =>
    reader.inspectToken(credentials, {
      tenantId,
      signal,
      pauses,
      deadlineAt: performance.now() + inspectionDeadlineMs,
      onUpstreamCall: () => undefined,
    }),
  );
}

const inspectionDeadlineMs = 10_000;
