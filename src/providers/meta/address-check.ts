// Checks the ids of a number before they are stored: of the right kind, of one account, and with the digits that were typed.

import type { JsonObject } from '../../json.ts';
import { isSamePhone } from '../../numbers/phone-digits.ts';
import {
  type Address,
  type AddressProblem,
  type Credentials,
  isRefusedByMeta,
  type Provider,
  type ReadOptions,
  toFailureText,
} from '../../numbers/provider.ts';
import { readOne, type RetryingClient } from './batching.ts';
import type { FailedResult } from './graph.ts';
import { kindNames } from './graph-refusals.ts';
import { type Edge, toDigits, toId, walkPages } from './page-walk.ts';

export function createAddressCheck(client: RetryingClient): NonNullable<Provider['checkAddress']> {
  return async ({ phoneNumberId, wabaId, number }, credentials, options) => {
    if (phoneNumberId === null || wabaId === null) return null;
    return await check({ client, credentials, options, phoneNumberId, wabaId, number });
  };
}

interface Check {
  readonly client: RetryingClient;
  readonly credentials: Credentials;
  readonly options: ReadOptions;
  readonly phoneNumberId: string;
  readonly wabaId: string;
  readonly number: Address['number'];
}

async function check(request: Check): Promise<AddressProblem | null> {
  const { phoneNumberId, wabaId, number } = request;
  let sameDigits: JsonObject | undefined;
  for await (const page of walkPages(numbersOf(wabaId), request)) {
    if (!page.ok) return await explainRefusedAccount(request, page);
    const found = page.nodes.find(({ id }) => id === phoneNumberId);
    if (found !== undefined) return compareDigits(request, found);
    sameDigits ??= page.nodes.find((node) => isSamePhone(toDigits(node) ?? '', number));
  }
  return await explainMissing(request, sameDigits);
}

function compareDigits({ phoneNumberId, number }: Check, node: JsonObject): AddressProblem | null {
  const digits = toDigits(node);
  if (digits === null || isSamePhone(digits, number)) return null;
  return toProblem(
    `The phone number id ${phoneNumberId} is that of ${digits}, and not of ${number}. Correct the id or the number.`,
  );
}

/** The account's numbers could not be listed. */
async function explainRefusedAccount(
  request: Check,
  refused: FailedResult,
): Promise<AddressProblem> {
  const { wabaId, phoneNumberId } = request;
  const { wrongKind } = refused;
  if (wrongKind === null) return toUnchecked(refused);
  if (wrongKind !== 'phone') {
    return toProblem(
      `${wabaId} is not the id of a WhatsApp Business account but that of ${kindNames[wrongKind]}. WhatsApp Manager shows the account's id.`,
    );
  }
  if (await isAccount(request, phoneNumberId)) {
    return toProblem(
      `The ids are swapped: ${wabaId} is the phone number id, and ${phoneNumberId} the id of the WhatsApp Business account.`,
    );
  }
  return toProblem(
    `${wabaId} is not the id of a WhatsApp Business account but a phone number id. WhatsApp Manager shows the account's id.`,
  );
}

/** The account was listed, and the number is not in it. */
async function explainMissing(
  request: Check,
  sameDigits: JsonObject | undefined,
): Promise<AddressProblem> {
  const { client, credentials, options, phoneNumberId, wabaId, number } = request;
  const rightId = toId(sameDigits?.['id']);
  const hint =
    rightId === null
      ? ''
      : ` In this account the number ${number} has the phone number id ${rightId}.`;
  const phone = { block: 'phone', id: phoneNumberId, wabaId: null, fields } as const;
  const node = await readOne(client, phone, credentials, options);
  if (node.ok) {
    return toProblem(
      `The phone number id ${phoneNumberId} (${toDigits(node.json) ?? 'without digits'}) does not belong to the WhatsApp Business account ${wabaId}.${hint} WhatsApp Manager shows both ids.`,
    );
  }
  if (node.wrongKind !== null) {
    return toProblem(
      `${phoneNumberId} is not a phone number id but the id of ${kindNames[node.wrongKind]}.${hint}`,
    );
  }
  if (isTemporary(node)) return toUnchecked(node);
  return toProblem(
    `The WhatsApp Business account ${wabaId} has no number with the phone number id ${phoneNumberId}, and the token cannot read that id.${hint} WhatsApp Manager shows both ids.`,
  );
}

async function isAccount(request: Check, id: string): Promise<boolean> {
  for await (const page of walkPages(numbersOf(id), request)) return page.ok;
  return false;
}

const fields: readonly string[] = ['id', 'display_phone_number'];

function numbersOf(wabaId: string): Edge {
  return { block: 'waba', id: wabaId, wabaId, fields, edge: 'phone_numbers' };
}

function toProblem(message: string): AddressProblem {
  return { code: 'INVALID_REQUEST', message };
}

/** Whether the failure says nothing about the id, so that the same request may succeed later. */
function isTemporary({ failure }: FailedResult): boolean {
  return failure.transient || !isRefusedByMeta(failure.code);
}

function toUnchecked({ failure }: FailedResult): AddressProblem {
  return { code: failure.code, message: toFailureText(failure) };
}
