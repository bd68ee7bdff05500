// One attempt to send a message to an endpoint: what is sealed of it, the form of the message, its signatures, and whether it
// was accepted.

import type { SealedLocation, Vault } from '../secrets.ts';
import type { Targets } from './endpoint-url.ts';
import { toSlackBody } from './message.ts';
import type { Send, SendResult } from './sender.ts';
import { toSignedHeaders } from './signature.ts';
import type { EndpointFormat } from './endpoint-store.ts';

/** What is sealed of an endpoint. */
export interface EndpointSecrets {
  readonly url: string;
  /** The newest first, and none for Slack. A former one signs until a time. */
  readonly secrets: readonly { readonly secret: string; readonly until: string | null }[];
}

export interface SealedEndpoint {
  readonly tenantId: string;
  readonly endpointId: string;
  readonly format: EndpointFormat;
  readonly sealed: string;
}

/** Every failure is a result. Rejects only with the reason of the signal, or when the secrets cannot be opened. */
export type Attempt = (
  endpoint: SealedEndpoint,
  message: { readonly id: string; readonly content: string },
  signal: AbortSignal,
) => Promise<SendResult>;

export interface AttemptOptions {
  readonly vault: Vault;
  readonly targets: Pick<Targets, 'parse'>;
  readonly send: Send;
  readonly now: () => Date;
}

export function createAttempt({ vault, targets, send, now }: AttemptOptions): Attempt {
  return async (endpoint, { id, content }, signal) => {
    const time = now();
    const { url, secrets } = openSecrets(vault, endpoint);
    const body = endpoint.format === 'SLACK' ? toSlackBody(content) : content;
    const signed = toSignedHeaders({ id, time, body }, toValid(secrets, time));
    let parsed: URL;
    try {
      parsed = targets.parse(url);
    } catch {
      // It was allowed when the endpoint was added.
      return { outcome: 'ADDRESS_REFUSED' };
    }
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'numbers-gateway',
      ...signed,
    };
    return await send(parsed, { headers, body }, signal);
  };
}

/** Any status of 2xx. */
export function isAccepted(result: SendResult): boolean {
  return result.outcome === 'ANSWERED' && result.status >= 200 && result.status < 300;
}

/** A status, or why there is none. */
export function toOutcome(result: SendResult): string {
  return result.outcome === 'ANSWERED' ? String(result.status) : result.outcome;
}

/** The secrets that sign at this time. */
export function toValid(secrets: EndpointSecrets['secrets'], time: Date): readonly string[] {
  return secrets
    .filter(({ until }) => until === null || new Date(until) > time)
    .map(({ secret }) => secret);
}

/** What the secrets of an endpoint are bound to. */
export function toAlertEndpointPlace(tenantId: string, id: string): SealedLocation {
  return { table: 'alert_endpoint', column: 'sealed', tenantId, rowId: id };
}

type Located = Pick<SealedEndpoint, 'tenantId' | 'endpointId'>;

export function sealSecrets(
  vault: Vault,
  { tenantId, endpointId }: Located,
  secrets: EndpointSecrets,
): string {
  return vault.seal(JSON.stringify(secrets), toAlertEndpointPlace(tenantId, endpointId));
}

export function openSecrets(
  vault: Vault,
  { tenantId, endpointId, sealed }: Located & Pick<SealedEndpoint, 'sealed'>,
): EndpointSecrets {
  const place = toAlertEndpointPlace(tenantId, endpointId);
  return JSON.parse(vault.open(sealed, place)) as EndpointSecrets;
}
