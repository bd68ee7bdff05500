// Reads from Graph what a token can see: the token itself, its portfolios, their accounts, and the numbers of an account.

import type {
  AccountReader,
  AccountSource,
  Found,
  FoundAccount,
  FoundNumber,
  ListedPage,
  Portfolio,
  TokenFacts,
} from '../../fleet/account-reader.ts';
import { type JsonObject, toObject } from '../../json.ts';
import { type Field, metaBlocks, type MetaPhone, toMetaBlock } from '../../numbers/meta.ts';
import type { Credentials, ReadOptions, UpstreamFailure } from '../../numbers/provider.ts';
import { type BlockReaderOptions, createRetryingClient, readOne } from './batching.ts';
import type { FailedResult } from './graph.ts';
import { kindNames } from './graph-refusals.ts';
import { type Edge, type EdgeRequest, toDigits, toId, walkPages } from './page-walk.ts';
import { createRefusedFields, type RefusedFields } from './refused-fields.ts';
import { maxSpentPercent } from './usage-budget.ts';

export function createAccountReader(readerOptions: BlockReaderOptions): AccountReader {
  const client = createRetryingClient(readerOptions);
  const refusedFields = createRefusedFields();
  return {
    async inspectToken(credentials, options) {
      const { results } = await readerOptions.graph.inspectToken(credentials, options);
      const result = results[0]!;
      if (!result.ok) return toRefused(result);
      return { ok: true, value: toTokenFacts(toObject(result.json['data']) ?? {}) };
    },
    listBusinesses: (credentials, options) =>
      listNodes(businesses, { client, credentials, options }, toPortfolio),
    listAccounts: (source, credentials, options) =>
      listNodes(accountsOf(source), { client, credentials, options }, toAccount),
    async readAccount(wabaId, credentials, options) {
      const read = { block: 'waba', id: wabaId, wabaId, fields: accountFields } as const;
      const result = await readOne(client, read, credentials, options);
      if (!result.ok) return toRefused(result);
      return { ok: true, value: toAccount(result.json) ?? { id: wabaId, ...unnamed } };
    },
    listPhones: (wabaId, extent, credentials, options) =>
      listPhones({ client, refusedFields, wabaId, extent, credentials, options }),
    listNumbers: (wabaId, credentials, options) =>
      listNodes(numbersOf(wabaId), { client, credentials, options }, toNumber),
  };
}

/** As for reads of many numbers. */
const maxSpent = maxSpentPercent.manyNumbers;
const unnamed = { name: null, portfolio: null };
const accountFields = ['id', 'name', 'owner_business_info'];

const businesses: Edge = {
  block: 'user',
  id: 'me',
  wabaId: null,
  fields: ['id', 'name'],
  edge: 'businesses',
};

function accountsOf(source: AccountSource): Edge {
  if (source.kind === 'assigned') {
    const edge = 'assigned_whatsapp_business_accounts';
    return { block: 'user', id: 'me', wabaId: null, fields: accountFields, edge };
  }
  const edge =
    source.kind === 'owned'
      ? 'owned_whatsapp_business_accounts'
      : 'client_whatsapp_business_accounts';
  return { block: 'business', id: source.businessId, wabaId: null, fields: accountFields, edge };
}

function numbersOf(wabaId: string): Edge {
  const fields = [
    'id',
    'display_phone_number',
    'verified_name',
    'status',
    'platform_type',
    'account_mode',
  ];
  return { block: 'waba', id: wabaId, wabaId, fields, edge: 'phone_numbers' };
}

async function* listNodes<T>(
  edge: Edge,
  request: EdgeRequest,
  toValue: (node: JsonObject) => T | null,
): AsyncGenerator<Found<readonly T[]>> {
  for await (const page of walkPages(edge, { ...request, maxSpent })) {
    yield page.ok
      ? { ok: true, value: page.nodes.map(toValue).filter((value) => value !== null) }
      : toRefused(page);
  }
}

interface PhonesRequest {
  readonly client: EdgeRequest['client'];
  /** Of lists, in which Graph may refuse what it gives for one number. */
  readonly refusedFields: RefusedFields;
  readonly wabaId: string;
  readonly extent: 'PLAIN' | 'ALL';
  readonly credentials: Credentials;
  readonly options: ReadOptions;
}

/**
 * A field that Graph refuses fails the whole page, so the list begins again without it. When Graph does not name it, all are
 * left out that are known to be denied and that no verdict needs.
 */
async function* listPhones(request: PhonesRequest): AsyncGenerator<Found<ListedPage>> {
  const { client, refusedFields, wabaId, credentials, options } = request;
  const reader = { block: 'phone', id: wabaId, wabaId, credentials } as const;
  const all = listPhoneFields(request.extent);
  let fields = refusedFields.listAllowed(reader, toGraphNames(all));
  for (let refused: readonly string[] = []; ; refused = []) {
    const edge = { ...numbersOf(wabaId), fields };
    const omitted = all.filter(({ graph }) => !fields.includes(graph)).map(({ name }) => name);
    const walk = { client, credentials, options, maxSpent: maxSpentPercent.background };
    // oxlint-disable-next-line no-await-in-loop -- page by page
    for await (const page of walkPages(edge, walk)) {
      if (!page.ok) refused = listRefused(page, fields);
      if (!page.ok && refused.length > 0) {
        const refusal = page.lacksPermission ? 'DENIED' : 'NONEXISTENT';
        for (const field of refused) refusedFields.refuse(reader, field, refusal);
        break;
      }
      // The members of the table are those of a phone.
      const names = omitted as readonly (keyof MetaPhone)[];
      yield page.ok ? { ok: true, value: toListedPage(page.nodes, names) } : toRefused(page);
    }
    if (refused.length === 0) return;
    fields = fields.filter((name) => !refused.includes(name));
  }
}

/** What the list is tried without. None when the failure is no refusal of single fields, or nothing would be left. */
function listRefused(
  { refusedField, lacksPermission }: FailedResult,
  fields: readonly string[],
): readonly string[] {
  if (refusedField !== null) {
    return fields.length > 1 && fields.includes(refusedField) ? [refusedField] : [];
  }
  return lacksPermission ? fields.filter((name) => dispensable.has(name)) : [];
}

const dispensable: ReadonlySet<string> = new Set(
  (metaBlocks.phone as readonly Field[])
    .filter(({ risky, name }) => risky === true && name !== 'healthStatus')
    .map(({ graph }) => graph),
);

function listPhoneFields(extent: PhonesRequest['extent']): readonly Field[] {
  const fields: readonly Field[] = metaBlocks.phone;
  return extent === 'ALL' ? fields : fields.filter(({ risky }) => risky !== true);
}

function toGraphNames(fields: readonly Field[]): readonly string[] {
  return [...new Set(fields.map(({ graph }) => graph))];
}

function toListedPage(
  nodes: readonly JsonObject[],
  omitted: readonly (keyof MetaPhone)[],
): ListedPage {
  const phones = nodes.flatMap((node) => {
    const phoneNumberId = toId(node['id']);
    if (phoneNumberId === null) return [];
    return [{ phoneNumberId, number: toDigits(node), phone: toMetaBlock('phone', node) }];
  });
  return { phones, omitted };
}

function toRefused(result: FailedResult): Extract<Found<never>, { ok: false }> {
  return { ok: false, failure: toFailure(result) };
}

/** The usual texts are about a stored id; here the id was found, or typed for this command. */
function toFailure({ failure, wrongKind, refusedField }: FailedResult): UpstreamFailure {
  if (wrongKind !== null) {
    const message = `This is the id of ${kindNames[wrongKind]}.`;
    return { ...failure, message, solution: 'WhatsApp Manager shows the ids.' };
  }
  if (refusedField === 'assigned_whatsapp_business_accounts') {
    const message = 'The token is not that of a system user.';
    return { ...failure, code: 'META_ACCESS_DENIED', message, solution: null };
  }
  return failure;
}

function toPortfolio({ id, name }: JsonObject): Portfolio | null {
  const businessId = toId(id);
  return businessId === null ? null : { id: businessId, name: toText(name) };
}

function toAccount({ id, name, owner_business_info: owner }: JsonObject): FoundAccount | null {
  const wabaId = toId(id);
  if (wabaId === null) return null;
  return { id: wabaId, name: toText(name), portfolio: toPortfolio(toObject(owner) ?? {}) };
}

function toNumber(node: JsonObject): FoundNumber | null {
  const phoneNumberId = toId(node['id']);
  if (phoneNumberId === null) return null;
  return {
    phoneNumberId,
    number: toDigits(node),
    verifiedName: toText(node['verified_name']),
    status: toText(node['status']),
    platformType: toText(node['platform_type']),
    accountMode: toText(node['account_mode']),
  };
}

function toTokenFacts(data: JsonObject): TokenFacts {
  const { app_id, is_valid, expires_at, data_access_expires_at, granular_scopes } = data;
  return {
    appId: toId(app_id),
    isValid: is_valid === true,
    expiresAt: toTime(expires_at),
    dataAccessExpiresAt: toTime(data_access_expires_at),
    wabaIds: listTargets(granular_scopes, 'whatsapp_business_management'),
    // The targets of this scope are portfolios, not accounts.
    businessIds: listTargets(granular_scopes, 'business_management'),
  };
}

/** Meta lists the scopes in any order, and leaves out the targets of a general grant. */
function listTargets(scopes: unknown, name: string): readonly string[] {
  const targets = (Array.isArray(scopes) ? scopes : [])
    .map(toObject)
    .filter((scope) => scope?.['scope'] === name)
    .flatMap((scope) => (Array.isArray(scope?.['target_ids']) ? scope['target_ids'] : []));
  return [...new Set(targets.map(toId).filter((id) => id !== null))];
}

/** Seconds since 1970; 0 means never. */
function toTime(seconds: unknown): Date | null {
  const isTime = typeof seconds === 'number' && seconds > 0 && seconds < maxSeconds;
  return isTime ? new Date(seconds * 1_000) : null;
}

/** The year 9999. */
const maxSeconds = 253_402_300_799;

/** PostgreSQL stores neither a NUL nor half of a surrogate pair. */
function toText(value: unknown): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  return value.toWellFormed().replaceAll('\0', '\uFFFD');
}
