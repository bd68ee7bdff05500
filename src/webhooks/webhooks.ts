// The use cases of Meta's webhooks: endpoints, which operators manage, and receiving the events that are sent to them.

import { randomBytes, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { toKeyHash } from '../access/key.ts';
import type { Database } from '../database/database.ts';
import { GatewayError } from '../errors.ts';
import { pathOfEndpoints } from '../numbers/webhook-route.ts';
import type { SealedLocation, Vault } from '../secrets.ts';
import type { Sync } from '../sync/sync.ts';
import { toReadRequest } from './due-reads.ts';
import { type Delivery, type EventKind, toKind } from './event.ts';
import * as store from './store.ts';
import type { EventOutcome, Proof } from './store.ts';

export type { Proof } from './store.ts';

/** What operators see of an endpoint. */
export interface WebhookEndpoint {
  readonly id: string;
  /** Of the URL to configure at Meta or at the relay; whoever knows it can send requests there, but no events. */
  readonly path: string;
  readonly proof: Proof;
  /** How many app secrets are accepted. */
  readonly appSecrets: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** The only time that the verify token is returned. */
export interface NewWebhookEndpoint extends WebhookEndpoint {
  /** To be entered at Meta with the URL. */
  readonly verifyToken: string;
}

/** An endpoint as a request to it needs it. */
export interface OpenEndpoint {
  readonly tenantId: string;
  readonly id: string;
  readonly proof: Proof;
  readonly verifyToken: string;
  /** Any of them may have signed; empty unless the proof is SIGNED. */
  readonly appSecrets: readonly string[];
}

export interface Webhooks {
  /** `appSecrets`: at least one if the proof is SIGNED, and none otherwise. */
  add(request: {
    readonly tenantId: string;
    readonly proof: Proof;
    readonly appSecrets: readonly string[];
  }): Promise<NewWebhookEndpoint>;
  /** Oldest first. */
  list(tenantId: string): Promise<readonly WebhookEndpoint[]>;
  /**
   * Replaces the verify token, and the app secrets if the proof is SIGNED; with `keepsFormer` those from before are accepted
   * too. Throws WEBHOOK_NOT_FOUND, or INVALID_REQUEST for secrets that do not fit the proof.
   */
  rotate(request: {
    readonly tenantId: string;
    readonly id: string;
    readonly appSecrets: readonly string[];
    readonly keepsFormer: boolean;
  }): Promise<NewWebhookEndpoint>;
  /** Its events stay. Throws WEBHOOK_NOT_FOUND. */
  remove(tenantId: string, id: string): Promise<void>;
  /** The endpoint with this last segment of the path. Undefined, without a query for a text of another form, if there is none. */
  find(segment: string): Promise<OpenEndpoint | undefined>;
  /** Stores the events, each once, and returns when they are committed. */
  receive(endpoint: Pick<OpenEndpoint, 'tenantId' | 'id'>, delivery: Delivery): Promise<void>;
}

export interface WebhooksOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly pepper: string;
  readonly now: () => Date;
  /** Called once for each content of a delivery. */
  readonly onReceived: (kind: EventKind, outcome: EventOutcome | 'dropped') => void;
  readonly sync: Pick<Sync, 'request' | 'wake'>;
}

/** What is sealed of an endpoint. */
export interface Secrets {
  /** The last segment of the path. */
  readonly segment: string;
  readonly verifyToken: string;
  readonly appSecrets: readonly string[];
}

/** Two for a rotation, and more for a few apps that send to one endpoint. */
const maxAppSecrets = 5;

export function createWebhooks(options: WebhooksOptions): Webhooks {
  const { database, vault, pepper } = options;
  return {
    async add({ tenantId, proof, appSecrets }) {
      assertFitting(proof, appSecrets);
      const id = `whe_${randomUUID().replaceAll('-', '')}`;
      const secrets = { segment: createToken(), verifyToken: createToken(), appSecrets };
      const sealed = vault.seal(JSON.stringify(secrets), toEndpointPlace(tenantId, id));
      const path_hash = toKeyHash(secrets.segment, pepper);
      const row = await store.insertEndpoint(database, tenantId, { id, proof, sealed, path_hash });
      return { ...toEndpoint(row, secrets), verifyToken: secrets.verifyToken };
    },
    async list(tenantId) {
      const rows = await store.listEndpoints(database, tenantId);
      return rows.map((row) => toEndpoint(row, openSecrets(vault, tenantId, row)));
    },
    async rotate({ tenantId, id, appSecrets, keepsFormer }) {
      let secrets: Secrets | undefined;
      const row = await store.updateEndpoint(database, tenantId, id, ({ proof, sealed }) => {
        assertFitting(proof, appSecrets);
        const former = openSecrets(vault, tenantId, { id, sealed });
        secrets = rotateSecrets(former, appSecrets, keepsFormer);
        return vault.seal(JSON.stringify(secrets), toEndpointPlace(tenantId, id));
      });
      if (row === undefined || secrets === undefined) throw createNotFound(id);
      return { ...toEndpoint(row, secrets), verifyToken: secrets.verifyToken };
    },
    async remove(tenantId, id) {
      if (!(await store.deleteEndpoint(database, tenantId, id))) throw createNotFound(id);
    },
    async find(segment) {
      if (!segmentFormat.test(segment)) return undefined;
      const hash = toKeyHash(segment, pepper);
      const found = await store.findEndpointAcrossTenants(database, hash);
      if (found === undefined) return undefined;
      const { tenantId, id, proof } = found;
      const { verifyToken, appSecrets } = openSecrets(vault, tenantId, found);
      return { tenantId, id, proof, verifyToken, appSecrets };
    },
    receive: createReceive(options),
  };
}

/** Of so many endpoints, a process remembers that it has stored lately when they received something. */
const maxEndpoints = 10_000;
const receiptIntervalMs = 600_000;

function createReceive({ database, now, onReceived, sync }: WebhooksOptions): Webhooks['receive'] {
  const received = new LRUCache<string, true>({ max: maxEndpoints, ttl: receiptIntervalMs });
  return async ({ tenantId, id }, { events, dropped }) => {
    // Most bodies of a messaging app hold nothing to store.
    const outcomes =
      events.length === 0
        ? []
        : await store.insertEvents(database, tenantId, events, now(), (transaction, stored) => {
            const requests = stored.map(toReadRequest).filter((request) => request !== null);
            return sync.request(transaction, tenantId, requests);
          });
    if (!received.has(id)) {
      await store.setReceived(database, tenantId, id, now());
      received.set(id, true);
    }
    if (outcomes.includes('stored')) sync.wake();
    for (const kind of dropped) onReceived(kind, 'dropped');
    for (const [index, outcome] of outcomes.entries()) {
      onReceived(toKind(events[index]!), outcome);
    }
  };
}

function rotateSecrets(
  { segment, appSecrets: former }: Secrets,
  appSecrets: readonly string[],
  keepsFormer: boolean,
): Secrets {
  const accepted = new Set([...appSecrets, ...(keepsFormer ? former : [])]);
  if (accepted.size > maxAppSecrets) {
    const message = `The endpoint would accept ${accepted.size} app secrets with the former ones, and at most ${maxAppSecrets} are possible. Rotate it without keeping them, and pass all secrets that are to be accepted.`;
    throw new GatewayError('INVALID_REQUEST', message);
  }
  return { segment, verifyToken: createToken(), appSecrets: [...accepted] };
}

/** What the secrets of an endpoint are bound to. */
export function toEndpointPlace(tenantId: string, id: string): SealedLocation {
  return { table: 'webhook_endpoint', column: 'sealed', tenantId, rowId: id };
}

/** 22 characters from 16 random bytes. */
function createToken(): string {
  return randomBytes(16).toString('base64url');
}

const segmentFormat = /^[\w-]{22}$/;

function assertFitting(proof: Proof, appSecrets: readonly string[]): void {
  if (appSecrets.length > maxAppSecrets) {
    const message = `An endpoint accepts at most ${maxAppSecrets} app secrets.`;
    throw new GatewayError('INVALID_REQUEST', message);
  }
  if (proof === 'SIGNED' && appSecrets.length === 0) {
    const message =
      'An endpoint with the proof signed needs the app secret with which Meta signs; pass it with --secrets.';
    throw new GatewayError('INVALID_REQUEST', message);
  }
  if (proof === 'KEY' && appSecrets.length > 0) {
    const message =
      'An endpoint with the proof key has no app secrets; the relay sends an API key with the scope webhooks.';
    throw new GatewayError('INVALID_REQUEST', message);
  }
}

export function openSecrets(
  vault: Vault,
  tenantId: string,
  { id, sealed }: Pick<store.EndpointRow, 'id' | 'sealed'>,
): Secrets {
  return JSON.parse(vault.open(sealed, toEndpointPlace(tenantId, id))) as Secrets;
}

function toEndpoint(
  { id, proof, createdAt, updatedAt }: store.EndpointRow,
  { segment, appSecrets }: Secrets,
): WebhookEndpoint {
  const path = `${pathOfEndpoints}${segment}`;
  return { id, path, proof, appSecrets: appSecrets.length, createdAt, updatedAt };
}

function createNotFound(id: string): GatewayError {
  const message = `The tenant has no webhook endpoint ${id}; see: webhook meta list --tenant ID.`;
  return new GatewayError('WEBHOOK_NOT_FOUND', message);
}
