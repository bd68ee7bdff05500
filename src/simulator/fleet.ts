// The data of the simulated systems: phones, WABAs, tokens and instances, and which token can see which WABA.

import { toObject } from '../json.ts';
import type { Fault } from './faults.ts';

export interface SimulatedPhone {
  readonly id: string;
  readonly wabaId: string;
  /** Graph's field names and values, including `health_status`; null means unset. A field unknown to Graph exists for this node. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The object of the profile edge; null means an empty `data`. */
  readonly profile: Readonly<Record<string, unknown>> | null;
}

export interface SimulatedWaba {
  readonly id: string;
  /** Calls are counted per app and WABA; `defaultAppId` by default. */
  readonly appId?: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Calls per rolling hour before the WABA is throttled; 5000 by default. */
  readonly hourlyCalls?: number;
  /** The callback URL of the app; none by default. */
  readonly callbackUrl?: string;
  /** The ids of the apps that are subscribed to webhooks; that of the app by default. */
  readonly subscribedApps?: readonly string[];
}

/** A portfolio. One that is not registered is made of what an account has in `owner_business_info`. */
export interface SimulatedBusiness {
  readonly id: string;
  readonly name: string | null;
  /** Tokens that can see the first one can see the portfolio. */
  readonly ownedWabaIds?: readonly string[];
  /** Accounts of other portfolios that were shared with this one. */
  readonly clientWabaIds?: readonly string[];
}

export interface SimulatedToken {
  readonly token: string;
  readonly wabaIds: readonly string[] | 'all';
  /** `defaultScopes` by default. */
  readonly scopes?: readonly string[];
  readonly state?: 'valid' | 'expired' | 'invalid';
  /** If set, `appsecret_proof` is required and verified. */
  readonly appSecret?: string;
  /** The portfolios that it can see, if it has the scope `business_management`. */
  readonly businessIds?: readonly string[];
  /** For a system user: the accounts that are assigned to it. */
  readonly assignedWabaIds?: readonly string[];
  /** For debug_token; never by default. */
  readonly expiresAt?: Date;
  readonly dataAccessExpiresAt?: Date;
  /** For debug_token; follows from the scopes, the WABAs and the portfolios by default. */
  readonly granularScopes?: readonly {
    readonly scope: string;
    readonly target_ids?: readonly string[];
  }[];
  /** False if debug_token refuses it. */
  readonly isInspectable?: boolean;
}

export interface SimulatedInstance {
  readonly instanceName: string;
  /** Null for an instance that is stored and not loaded: the engine knows it and gives no state. */
  readonly state: 'open' | 'connecting' | 'close' | (string & {}) | null;
}

export interface FleetContents {
  readonly phones?: readonly SimulatedPhone[];
  readonly wabas?: readonly SimulatedWaba[];
  readonly businesses?: readonly SimulatedBusiness[];
  readonly tokens?: readonly SimulatedToken[];
  readonly instances?: readonly SimulatedInstance[];
  readonly sentinels?: Sentinels;
}

/** Nodes and faults that exist without being registered. A registered node or fault of the same id takes precedence. */
export interface Sentinels {
  findPhone(id: string): SimulatedPhone | undefined;
  /** Every valid token can see these. */
  findWaba(id: string): SimulatedWaba | undefined;
  findFault(id: string): Fault | null;
}

export interface Fleet {
  setPhone(phone: SimulatedPhone): void;
  setWaba(waba: SimulatedWaba): void;
  setBusiness(business: SimulatedBusiness): void;
  setToken(token: SimulatedToken): void;
  setInstance(instance: SimulatedInstance): void;
  removePhone(id: string): void;
  findPhone(id: string): SimulatedPhone | undefined;
  findWaba(id: string): SimulatedWaba | undefined;
  findBusiness(id: string): SimulatedBusiness | undefined;
  /** The registered phones of the WABA, oldest first. */
  listPhones(wabaId: string): readonly SimulatedPhone[];
  /** The registered accounts, oldest first. */
  listWabas(): readonly SimulatedWaba[];
  /** While no token is registered, every token is valid and can see everything. */
  findToken(token: string): SimulatedToken | undefined;
  findInstance(instanceName: string): SimulatedInstance | undefined;
  canSee(token: SimulatedToken, wabaId: string): boolean;
}

export const defaultAppId = '634974688087057';
export const defaultScopes: readonly string[] = [
  'whatsapp_business_management',
  'whatsapp_business_messaging',
];

export function createFleet(contents: FleetContents): Fleet {
  const { sentinels } = contents;
  const phones = new Map(contents.phones?.map((phone) => [phone.id, phone]));
  const wabas = new Map(contents.wabas?.map((waba) => [waba.id, waba]));
  const businesses = new Map(contents.businesses?.map((business) => [business.id, business]));
  const tokens = new Map(contents.tokens?.map((token) => [token.token, token]));
  const instances = new Map(contents.instances?.map((it) => [it.instanceName, it]));
  return {
    setPhone: (phone) => void phones.set(phone.id, phone),
    setWaba: (waba) => void wabas.set(waba.id, waba),
    setBusiness: (business) => void businesses.set(business.id, business),
    setToken: (token) => void tokens.set(token.token, token),
    setInstance: (instance) => void instances.set(instance.instanceName, instance),
    removePhone: (id) => void phones.delete(id),
    findPhone: (id) => phones.get(id) ?? sentinels?.findPhone(id),
    findWaba: (id) => wabas.get(id) ?? sentinels?.findWaba(id),
    listPhones: (wabaId) => [...phones.values()].filter((phone) => phone.wabaId === wabaId),
    listWabas: () => [...wabas.values()],
    findBusiness: (id) =>
      businesses.get(id) ??
      wabas
        .values()
        .map(toBusiness)
        .find((business) => business?.id === id),
    findToken: (token) =>
      tokens.get(token) ?? (tokens.size === 0 ? { token, wabaIds: 'all' } : undefined),
    findInstance: (instanceName) => instances.get(instanceName),
    canSee: ({ wabaIds }, wabaId) =>
      wabaIds === 'all' || wabaIds.includes(wabaId) || sentinels?.findWaba(wabaId) !== undefined,
  };
}

function toBusiness({ id: wabaId, fields }: SimulatedWaba): SimulatedBusiness | undefined {
  const { id, name } = toObject(fields['owner_business_info']) ?? {};
  if (typeof id !== 'string') return undefined;
  return { id, name: typeof name === 'string' ? name : null, ownedWabaIds: [wabaId] };
}
