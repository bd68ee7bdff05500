// What happens with the numbers that the list of an account has and the tenant does not, as `account watch` says.

import type { Onboarding } from '../fleet/onboarding.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { AccountList } from './account-list.ts';
import type { RunBudget } from './run-budget.ts';
import type { Run, Subject } from './store.ts';
import type { AccountToken } from './tokens.ts';

export interface NewNumbersOptions {
  readonly numbers: Pick<Numbers, 'listPhoneNumberIds'>;
  /** Whose numbers are added in the background. */
  readonly onboarding: Pick<Onboarding, 'getWatchMode' | 'importNumbers'>;
}

export interface NewNumbersRequest {
  readonly subject: Subject;
  readonly run: Pick<Run, 'numbers' | 'state'>;
  readonly list: AccountList;
  /** The token that has read the list. */
  readonly token: AccountToken | null;
  readonly budget: Pick<RunBudget, 'reserve'>;
  readonly signal: AbortSignal;
}

export interface NewNumbersResult {
  /** Those that are left. */
  readonly unknown: number;
  readonly imported: number;
}

const nothing: NewNumbersResult = { unknown: 0, imported: 0 };
/** Beside its list, which is read once more: what Meta says about the token, and the name of the account. */
const callsOfImport = 2;

export async function followNewNumbers(
  { numbers, onboarding }: NewNumbersOptions,
  request: NewNumbersRequest,
): Promise<NewNumbersResult> {
  const { subject, run, list, token, budget, signal } = request;
  const { tenantId, subjectId: wabaId } = subject;
  const known = new Set(run.numbers.map(({ phoneNumberId }) => phoneNumberId));
  if ([...list.phones.keys()].every((id) => known.has(id))) return nothing;
  // They may be stored with another account.
  const stored = await numbers.listPhoneNumberIds(tenantId);
  const others = [...list.phones.values()].filter((it) => !stored.has(it.phoneNumberId));
  const mode = others.length === 0 ? 'OFF' : await onboarding.getWatchMode(tenantId, wabaId);
  if (mode === 'OFF') return nothing;
  // A number without digits cannot be added.
  const phoneNumberIds = others
    .filter(({ number }) => number !== null)
    .map((it) => it.phoneNumberId);
  const left = { unknown: others.length, imported: 0 };
  if (mode !== 'IMPORT' || token === null || phoneNumberIds.length === 0) return left;
  if (!(await budget.reserve(callsOfImport + list.pages))) return left;
  const { accounts } = await onboarding.importNumbers(
    {
      tenantId,
      credentials: token.credentials,
      credentialId: token.credentialId,
      wabaIds: [wabaId],
      businessIds: [],
      onlyGiven: true,
      selection: { phoneNumberIds },
    },
    { signal },
  );
  const found = accounts.flatMap((account) => account.numbers);
  const imported = found.filter(({ result }) => result === 'ADDED').length;
  return { unknown: others.length - imported, imported };
}
