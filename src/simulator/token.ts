// Access tokens of the simulated Graph API: authentication, scopes, and `debug_token`.

import { createHmac } from 'node:crypto';

import { defaultAppId, defaultScopes, type Fleet, type SimulatedToken } from './fleet.ts';
import type { GraphCall } from './graph-request.ts';
import { messageOf, refuse, refuseExpired, type GraphRefusal } from './refusals.ts';

/** Throws Graph's refusal when the token is missing or invalid, or the proof that its app requires is. */
export function authenticate(fleet: Fleet, now: Date, call: GraphCall): SimulatedToken {
  const text = call.parameters.get('access_token') ?? call.bearer;
  if (text === undefined || text === '') throw refuseAnonymous(call);
  const token = fleet.findToken(text);
  const refusal = findRefusal(token, now);
  if (token === undefined || refusal !== undefined) throw refusal ?? refuse(190);
  checkProof(token, call.parameters.get('appsecret_proof'));
  return token;
}

/** As Meta does, the profile edge asks for an app id when there is no token. */
function refuseAnonymous(call: GraphCall): GraphRefusal {
  return call.segments[1] === 'whatsapp_business_profile'
    ? refuse(200, '(#200) Provide valid app ID')
    : refuse(190);
}

function findRefusal(token: SimulatedToken | undefined, now: Date): GraphRefusal | undefined {
  switch (token?.state) {
    case 'expired':
      return refuseExpired(now);
    case 'invalid':
      return refuse(
        190,
        'Error validating access token: The session is invalid because the user logged out.',
        { subcode: 467 },
      );
    default:
      return token === undefined ? refuse(190) : undefined;
  }
}

function checkProof(token: SimulatedToken, proof: string | null): void {
  if (token.appSecret === undefined) return;
  const details = { type: 'GraphMethodException' };
  if (proof === null) {
    throw refuse(100, 'API calls from the server require an appsecret_proof argument', details);
  }
  if (proof !== createHmac('sha256', token.appSecret).update(token.token).digest('hex')) {
    throw refuse(100, 'Invalid appsecret_proof provided in the API argument', details);
  }
}

/** Throws Graph's refusal when the token lacks every one of the accepted scopes. */
export function requireScope(
  token: SimulatedToken,
  accepted: readonly string[],
  code: 10 | 200,
): void {
  const scopes = token.scopes ?? defaultScopes;
  if (!accepted.some((scope) => scopes.includes(scope))) throw refuse(code, messageOf(code));
}

/** The body of `GET /debug_token`, which requires an app token (`id|secret`) or any valid token. */
export function describeToken(fleet: Fleet, now: Date, call: GraphCall): unknown {
  const caller = call.parameters.get('access_token') ?? call.bearer ?? '';
  if (!/^\d+\|.+/.test(caller)) authenticate(fleet, now, call);
  const text = call.parameters.get('input_token');
  if (text === null) throw refuse(100, '(#100) The parameter input_token is required');
  const token = fleet.findToken(text);
  const refusal = findRefusal(token, now)?.error;
  if (token === undefined || refusal !== undefined) {
    const { code, message, error_subcode: subcode } = refusal ?? refuse(190).error;
    return { data: { error: { code, message, subcode }, is_valid: false, scopes: [] } };
  }
  return { data: toTokenData(fleet, token) };
}

function toTokenData(fleet: Fleet, token: SimulatedToken): unknown {
  const { wabaIds } = token;
  const scopes = token.scopes ?? defaultScopes;
  const target_ids = wabaIds === 'all' ? undefined : wabaIds;
  const firstWaba = wabaIds === 'all' ? undefined : fleet.findWaba(wabaIds[0] ?? '');
  return {
    app_id: firstWaba?.appId ?? defaultAppId,
    type: 'SYSTEM_USER',
    application: 'Simulated app',
    data_access_expires_at: 0,
    expires_at: 0,
    is_valid: true,
    scopes,
    granular_scopes: scopes.map((scope) => ({ scope, target_ids })),
  };
}
