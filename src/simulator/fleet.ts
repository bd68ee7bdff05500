// What the simulated systems know: phones, WABAs, tokens and instances, and who may see what.
// Standing nodes, the sentinels, are there without being registered; a registered node of the same id goes before them.

export interface SimulatedPhone {
  readonly id: string;
  readonly wabaId: string;
  /** Graph's names with the values on the wire, `health_status` included; null is unset. A name that Graph does not have yet becomes one it has. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The flat object of the profile edge; null is an empty `data`. */
  readonly profile: Readonly<Record<string, unknown>> | null;
}

export interface SimulatedWaba {
  readonly id: string;
  /** Calls are counted per app and WABA; the default app unless told. */
  readonly appId?: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Calls in a rolling hour before the WABA is throttled; 5000 unless told. */
  readonly hourlyCalls?: number;
}

export interface SimulatedToken {
  readonly token: string;
  readonly wabaIds: readonly string[] | 'all';
  /** Both `whatsapp_business_*` scopes unless told. */
  readonly scopes?: readonly string[];
  readonly state?: 'valid' | 'expired' | 'invalid';
  /** When set, `appsecret_proof` is demanded and verified. */
  readonly appSecret?: string;
}

export interface SimulatedInstance {
  readonly instanceName: string;
  readonly state: 'open' | 'connecting' | 'close' | (string & {});
}

export interface FleetContents {
  readonly phones?: readonly SimulatedPhone[];
  readonly wabas?: readonly SimulatedWaba[];
  readonly tokens?: readonly SimulatedToken[];
  readonly instances?: readonly SimulatedInstance[];
}

export interface Fleet {
  setPhone(phone: SimulatedPhone): void;
  setWaba(waba: SimulatedWaba): void;
  setToken(token: SimulatedToken): void;
  setInstance(instance: SimulatedInstance): void;
  findPhone(id: string): SimulatedPhone | undefined;
  findWaba(id: string): SimulatedWaba | undefined;
  /** While no token is registered, every token is valid and sees everything. */
  findToken(token: string): SimulatedToken | undefined;
  findInstance(instanceName: string): SimulatedInstance | undefined;
  /** In order of registration; standing phones are not listed. */
  listPhones(wabaId: string): readonly SimulatedPhone[];
  /** Standing WABAs are seen with every valid token. */
  canSee(token: SimulatedToken, wabaId: string): boolean;
}

export interface StandingNodes {
  findPhone(id: string): SimulatedPhone | undefined;
  findWaba(id: string): SimulatedWaba | undefined;
}

export const defaultAppId = '634974688087057';
export const defaultScopes: readonly string[] = [
  'whatsapp_business_management',
  'whatsapp_business_messaging',
];

export function createFleet(contents: FleetContents, standing: StandingNodes): Fleet {
  const phones = new Map(contents.phones?.map((phone) => [phone.id, phone]));
  const wabas = new Map(contents.wabas?.map((waba) => [waba.id, waba]));
  const tokens = new Map(contents.tokens?.map((token) => [token.token, token]));
  const instances = new Map(contents.instances?.map((it) => [it.instanceName, it]));
  return {
    setPhone: (phone) => void phones.set(phone.id, phone),
    setWaba: (waba) => void wabas.set(waba.id, waba),
    setToken: (token) => void tokens.set(token.token, token),
    setInstance: (instance) => void instances.set(instance.instanceName, instance),
    findPhone: (id) => phones.get(id) ?? standing.findPhone(id),
    findWaba: (id) => wabas.get(id) ?? standing.findWaba(id),
    findToken: (token) =>
      tokens.get(token) ?? (tokens.size === 0 ? { token, wabaIds: 'all' } : undefined),
    findInstance: (instanceName) => instances.get(instanceName),
    listPhones: (wabaId) => [...phones.values()].filter((phone) => phone.wabaId === wabaId),
    canSee: ({ wabaIds }, wabaId) =>
      wabaIds === 'all' || wabaIds.includes(wabaId) || standing.findWaba(wabaId) !== undefined,
  };
}
