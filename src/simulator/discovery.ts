// What a token of the simulated Graph API can find: itself, its portfolios, and the accounts in them.

import type { Fleet, SimulatedToken, SimulatedWaba } from './fleet.ts';
import { defaultAppId, defaultScopes } from './fleet.ts';
import { debugToken, type GraphCall } from './graph-request.ts';
import { type NodeContext, nodeTypeNames, parseFields, readBusiness, readWaba } from './nodes.ts';
import { toPage } from './pages.ts';
import { refuse, refuseField, refuseObject } from './refusals.ts';

const relations: Readonly<Record<string, 'ownedWabaIds' | 'clientWabaIds'>> = {
  owned_whatsapp_business_accounts: 'ownedWabaIds',
  client_whatsapp_business_accounts: 'clientWabaIds',
};

export interface Discovery {
  readonly fleet: Fleet;
  readonly nodes: NodeContext;
  readonly call: GraphCall;
  readonly token: SimulatedToken;
}

/** Answers a path of `isDiscovery`. Throws Graph's refusal. */
export function discover({ fleet, nodes, call, token }: Discovery): unknown {
  const [id = '', edge = ''] = call.segments;
  if (id === debugToken) return inspectToken(fleet, call);
  const names = parseFields(call.parameters.get('fields'));
  const toWabas = (ids: readonly string[]) =>
    toPage(
      ids
        .map((wabaId) => fleet.findWaba(wabaId))
        .filter((waba): waba is SimulatedWaba => waba !== undefined)
        .map((waba) => readWaba(nodes, waba, names, null)),
      call,
      { maxLimit: nodes.maxPageSize },
    );
  if (id === 'me') {
    if (edge === 'assigned_whatsapp_business_accounts' && token.assignedWabaIds !== undefined) {
      return toWabas(token.assignedWabaIds);
    }
    if (edge !== 'businesses') throw refuseField(edge, nodeTypeNames.user);
    if (!hasScope(token, 'business_management')) throw refuse(200);
    const businesses = (token.businessIds ?? []).map((businessId) =>
      fleet.findBusiness(businessId),
    );
    return toPage(
      businesses
        .filter((business) => business !== undefined)
        .map((business) => readBusiness(nodes, business, names, null)),
      call,
      { maxLimit: nodes.maxPageSize },
    );
  }
  const business = fleet.findBusiness(id);
  if (business === undefined || !token.businessIds?.includes(id)) throw refuseObject('GET', id);
  if (!hasScope(token, 'business_management')) throw refuse(200);
  return toWabas(business[relations[edge] ?? 'ownedWabaIds'] ?? []);
}

function inspectToken(fleet: Fleet, { parameters }: GraphCall): unknown {
  const inspected = fleet.findToken(parameters.get('input_token') ?? '');
  if (inspected === undefined) {
    return {
      data: { is_valid: false, scopes: [], error: { code: 190, message: 'Invalid token' } },
    };
  }
  if (inspected.isInspectable === false) {
    throw refuse(
      100,
      '(#100) You must provide an app access token, or a user access token that is an owner or developer of the app',
    );
  }
  const { scopes = defaultScopes, wabaIds, businessIds = [] } = inspected;
  const targets = scopes.map((scope) => {
    if (wabaIds === 'all') return { scope };
    return { scope, target_ids: scope === 'business_management' ? businessIds : wabaIds };
  });
  return {
    data: {
      app_id: defaultAppId,
      type: inspected.assignedWabaIds === undefined ? 'USER' : 'SYSTEM_USER',
      application: 'Simulated app',
      expires_at: toSeconds(inspected.expiresAt),
      data_access_expires_at: toSeconds(inspected.dataAccessExpiresAt),
      is_valid: (inspected.state ?? 'valid') === 'valid',
      scopes,
      granular_scopes: inspected.granularScopes ?? targets,
      user_id: '122100000000000000',
    },
  };
}

/** Graph has 0 for never. */
function toSeconds(time: Date | undefined): number {
  return time === undefined ? 0 : Math.floor(time.getTime() / 1_000);
}

function hasScope({ scopes = defaultScopes }: SimulatedToken, scope: string): boolean {
  return scopes.includes(scope);
}
