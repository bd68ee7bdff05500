// The use cases of the endpoints of alerts, which operators manage.

import { randomUUID } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { decodeCursor } from '../history/cursor.ts';
import { queueAgain, type Queued } from './resend.ts';
import { GatewayError } from '../errors.ts';
import type { Vault } from '../secrets.ts';
import {
  type Attempt,
  isAccepted,
  openSecrets,
  sealSecrets,
  toOutcome,
  toValid,
} from './attempt.ts';
import { type Targets, toHost } from './endpoint-url.ts';
import { type Message, type TestData, toContent } from './message.ts';
import { createSigningSecret } from './signature.ts';
import * as store from './endpoint-store.ts';
import type { EndpointFormat, EndpointRow, OffReason } from './endpoint-store.ts';

export type { EndpointFormat, OffReason } from './endpoint-store.ts';

/** What operators see of an endpoint. The URL is a secret. */
export interface AlertEndpoint {
  readonly id: string;
  readonly host: string;
  readonly format: EndpointFormat;
  /** Empty for all. */
  readonly rules: readonly string[];
  readonly state: 'ON' | 'OFF';
  readonly offReason: OffReason | null;
  readonly failingSince: Date | null;
  /** Of the last attempt: a status, or why there was none. */
  readonly lastOutcome: string | null;
  readonly lastAttemptAt: Date | null;
  readonly createdAt: Date;
}

/** The only time that the secret is returned; null for Slack, which verifies no signatures. */
export interface NewAlertEndpoint extends AlertEndpoint {
  readonly secret: string | null;
}

export interface TestResult {
  readonly accepted: boolean;
  /** A status, or why there was none. */
  readonly outcome: string;
  /** Whether the endpoint was off. */
  readonly switchedOn: boolean;
}

export interface AlertEndpoints {
  /** Throws INVALID_REQUEST for a URL that is not allowed, or too many endpoints. */
  add(request: {
    readonly tenantId: string;
    readonly url: string;
    readonly format: EndpointFormat;
    readonly rules: readonly string[];
  }): Promise<NewAlertEndpoint>;
  /** Oldest first. */
  list(tenantId: string): Promise<readonly AlertEndpoint[]>;
  /** Sends a message at once; one that is accepted switches the endpoint on, and ends its failing. Throws ENDPOINT_NOT_FOUND. */
  test(tenantId: string, id: string): Promise<TestResult>;
  /** The former secret signs too for so long. Throws ENDPOINT_NOT_FOUND, or INVALID_REQUEST for Slack. */
  rotate(tenantId: string, id: string, overlapMs: number): Promise<NewAlertEndpoint>;
  /** Throws ENDPOINT_NOT_FOUND. */
  remove(tenantId: string, id: string): Promise<void>;
  /**
   * Queues what is after the cursor once more, messages about incidents with the same ids as the first time. Throws ENDPOINT_NOT_FOUND, INVALID_REQUEST for an endpoint that is off, and what pages of changes throw for a cursor.
   */
  resend(tenantId: string, id: string, after: string): Promise<Queued>;
}

export interface AlertEndpointsOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly targets: Targets;
  readonly attempt: Attempt;
  readonly now: () => Date;
}

const maxEndpoints = 20;

export function createAlertEndpoints(options: AlertEndpointsOptions): AlertEndpoints {
  const { database, vault, targets, now } = options;
  return {
    async add({ tenantId, url, format, rules }) {
      const parsed = targets.parse(url);
      const id = `ale_${randomUUID().replaceAll('-', '')}`;
      const secret = format === 'SLACK' ? null : createSigningSecret();
      const secrets = secret === null ? [] : [{ secret, until: null }];
      const place = { tenantId, endpointId: id };
      const sealed = sealSecrets(vault, place, { url: parsed.href, secrets });
      const endpoint = { id, host: toHost(parsed), format, rules, sealed };
      const row = await store.insertEndpoint(database, tenantId, endpoint, maxEndpoints);
      if (row === null) {
        const message = `The tenant has ${maxEndpoints} endpoints for alerts already; remove one first.`;
        throw new GatewayError('INVALID_REQUEST', message);
      }
      return { ...toEndpoint(row), secret };
    },
    async list(tenantId) {
      return (await store.listEndpoints(database, tenantId)).map(toEndpoint);
    },
    test: createTest(options),
    rotate: createRotate(options),
    async remove(tenantId, id) {
      if (!(await store.deleteEndpoint(database, tenantId, id))) throw createNotFound(id);
    },
    async resend(tenantId, id, after) {
      const cursor = decodeCursor(after);
      const endpoint = await store.findEndpoint(database, tenantId, id);
      if (endpoint === undefined) throw createNotFound(id);
      if (endpoint.state === 'OFF') {
        const message = `Endpoint ${id} is off. Switch it on with: alert test ${id} --tenant ID.`;
        throw new GatewayError('INVALID_REQUEST', message);
      }
      return await queueAgain(database, tenantId, { endpoint, cursor, now: now() });
    },
  };
}

function createRotate({ database, vault, now }: AlertEndpointsOptions): AlertEndpoints['rotate'] {
  return async (tenantId, id, overlapMs) => {
    const secret = createSigningSecret();
    const row = await store.updateSealed(database, tenantId, id, ({ format, sealed }) => {
      if (format === 'SLACK') throw createUnsigned();
      const place = { tenantId, endpointId: id };
      const { url, secrets } = openSecrets(vault, { ...place, sealed });
      const until = new Date(now().getTime() + overlapMs).toISOString();
      const former = toValid(secrets, now()).map((it) => ({ secret: it, until }));
      // The newest of them alone: whoever rotates twice within the overlap wants to be rid of the oldest.
      const kept = overlapMs > 0 ? former.slice(0, 1) : [];
      const signing = [{ secret, until: null }, ...kept];
      return sealSecrets(vault, place, { url, secrets: signing });
    });
    if (row === undefined) throw createNotFound(id);
    return { ...toEndpoint(row), secret };
  };
}

function createTest({ database, attempt, now }: AlertEndpointsOptions): AlertEndpoints['test'] {
  return async (tenantId, id) => {
    const endpoint = await store.findEndpoint(database, tenantId, id);
    if (endpoint === undefined) throw createNotFound(id);
    const { format, sealed, state, failingSince } = endpoint;
    const message: Message<TestData> = {
      type: 'test',
      timestamp: now().toISOString(),
      data: { endpointId: id, text: 'A test of alerts: this endpoint receives them.' },
    };
    const result = await attempt(
      { tenantId, endpointId: id, format, sealed },
      { id: `msg_${randomUUID().replaceAll('-', '')}`, content: toContent(message) },
      AbortSignal.any([]),
    );
    const accepted = isAccepted(result);
    const switchedOn = accepted && state === 'OFF';
    const isFailing = state === 'OFF' || failingSince !== null;
    if (accepted && isFailing) await store.switchOn(database, tenantId, id);
    return { accepted, outcome: toOutcome(result), switchedOn };
  };
}

function toEndpoint(row: EndpointRow): AlertEndpoint {
  const { id, host, format, rules, state, offReason } = row;
  const { failingSince, lastOutcome, lastAttemptAt, createdAt } = row;
  return {
    id,
    host,
    format,
    rules,
    state,
    offReason,
    failingSince,
    lastOutcome,
    lastAttemptAt,
    createdAt,
  };
}

function createUnsigned(): GatewayError {
  const message =
    'An endpoint of the format slack has no secret. Its URL is the secret: to replace it, add a new endpoint and remove this one.';
  return new GatewayError('INVALID_REQUEST', message);
}

function createNotFound(id: string): GatewayError {
  const message = `The tenant has no endpoint ${id}; see: alert list --tenant ID.`;
  return new GatewayError('ENDPOINT_NOT_FOUND', message);
}
