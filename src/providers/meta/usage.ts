// Owns the usage headers of the Graph API: what they say about budgets that are nearly spent.
// What follows from it is left to whoever sends. https://developers.facebook.com/docs/graph-api/overview/rate-limiting

import { type JsonObject, parseJson, toObject } from '../../json.ts';

/** One budget of one business object. */
export interface BusinessUsage {
  /** The business object whose budget it is; for our reads a WABA. */
  readonly businessId: string;
  /** Meta's name of the budget, such as `whatsapp_business_management`. */
  readonly type: string | null;
  /** The highest of calls, CPU time and total time; above 100 while overdrawn. */
  readonly percent: number;
  /** Minutes until it may be used again; 0 while it may be used. */
  readonly regainMinutes: number;
}

export interface GraphUsage {
  /** Of the app's budget; null when Meta did not say. */
  readonly appPercent: number | null;
  readonly businesses: readonly BusinessUsage[];
}

export const unknownUsage: GraphUsage = { appPercent: null, businesses: [] };

/** Whatever is missing or malformed counts as not said; nothing throws. */
export function parseUsage(headers: Headers): GraphUsage {
  const app = toObject(parseJson(headers.get('x-app-usage') ?? ''));
  const businesses = toObject(parseJson(headers.get('x-business-use-case-usage') ?? '')) ?? {};
  return {
    appPercent: app === null ? null : toPercent(app),
    businesses: Object.entries(businesses).flatMap(([businessId, budgets]) =>
      (Array.isArray(budgets) ? budgets : [])
        .map(toObject)
        .filter((budget) => budget !== null)
        .map((budget) => toBusinessUsage(businessId, budget)),
    ),
  };
}

/** The highest of all budgets; null when Meta said nothing. */
export function toHighestPercent({ appPercent, businesses }: GraphUsage): number | null {
  const percents = businesses.map(({ percent }) => percent);
  if (appPercent !== null) percents.push(appPercent);
  return percents.length === 0 ? null : Math.max(...percents);
}

/** Minutes until every budget may be used again; 0 when none is spent. */
export function toRegainMinutes({ businesses }: GraphUsage): number {
  return Math.max(0, ...businesses.map(({ regainMinutes }) => regainMinutes));
}

function toBusinessUsage(businessId: string, budget: JsonObject): BusinessUsage {
  return {
    businessId,
    type: typeof budget['type'] === 'string' ? budget['type'] : null,
    percent: toPercent(budget),
    regainMinutes: toCount(budget['estimated_time_to_regain_access']),
  };
}

function toPercent(budget: JsonObject): number {
  const { call_count, total_cputime, total_time } = budget;
  return Math.max(toCount(call_count), toCount(total_cputime), toCount(total_time));
}

// As minutes this is a day, which is as long as any budget is to be left alone.
function toCount(value: unknown): number {
  return typeof value === 'number' && value > 0 ? Math.min(value, 1_440) : 0;
}
