// Counts the calls of a rolling hour per app and WABA, and reports them in Graph's usage headers.

export type UsageBucket = 'whatsapp_business_management' | 'whatsapp';

export interface RateLimit {
  readonly appId: string;
  readonly wabaId: string;
  readonly callsPerHour: number;
}

export interface Usage {
  /** Counts one call, including a refused one. */
  record(rateLimit: RateLimit, bucket: UsageBucket): void;
  /** Minutes until the next call is allowed; 0 while the limit is not exceeded. */
  minutesToRegain(rateLimit: RateLimit, bucket: UsageBucket): number;
  /** `regainMinutes`, by WABA id, overrides what was counted. */
  toHeaders(
    appId: string,
    rateLimits: readonly RateLimit[],
    regainMinutes: ReadonlyMap<string, number>,
  ): Readonly<Record<string, string>>;
}

const windowMinutes = 60;
const appLimit = 100_000;
const maxEntries = 32;
const buckets: readonly UsageBucket[] = ['whatsapp_business_management', 'whatsapp'];

export function createUsage(now: () => Date): Usage {
  const { currentMinute, minutesOf, add, count } = createMinuteCounters(now);
  const minutesToRegain = (rateLimit: RateLimit, bucket: UsageBucket): number => {
    const key = toKey(rateLimit, bucket);
    let remaining = count(key);
    if (remaining <= rateLimit.callsPerHour) return 0;
    for (const [minute, calls] of minutesOf(key)) {
      remaining -= calls;
      if (remaining < rateLimit.callsPerHour)
        return Math.max(1, minute + windowMinutes - currentMinute());
    }
    return windowMinutes;
  };

  const toEntry = (limit: RateLimit, type: UsageBucket, minutes: number | undefined): unknown => {
    const percent = toPercent(count(toKey(limit, type)), limit.callsPerHour);
    return {
      type,
      ...toLoad(minutes === undefined ? percent : 100),
      estimated_time_to_regain_access: minutes ?? minutesToRegain(limit, type),
    };
  };

  return {
    record(rateLimit, bucket) {
      add(rateLimit.appId);
      add(toKey(rateLimit, bucket));
    },
    minutesToRegain,
    toHeaders(appId, rateLimits, regainMinutes) {
      const app = { 'x-app-usage': JSON.stringify(toLoad(toPercent(count(appId), appLimit))) };
      if (rateLimits.length === 0) return app;
      const entries = rateLimits.slice(0, maxEntries).map((limit) => {
        const minutes = regainMinutes.get(limit.wabaId);
        return [
          limit.wabaId,
          buckets.map((type) => toEntry(limit, type, type === 'whatsapp' ? undefined : minutes)),
        ];
      });
      return { ...app, 'x-business-use-case-usage': JSON.stringify(Object.fromEntries(entries)) };
    },
  };
}

/** The calls of each minute of the rolling hour, by key. */
function createMinuteCounters(now: () => Date) {
  const counters = new Map<string, Map<number, number>>();
  const currentMinute = (): number => Math.floor(now().getTime() / 60_000);
  const minutesOf = (key: string): Map<number, number> => {
    const minutes = counters.get(key) ?? new Map<number, number>();
    counters.set(key, minutes);
    const oldest = currentMinute() - windowMinutes;
    for (const minute of minutes.keys()) if (minute <= oldest) minutes.delete(minute);
    return minutes;
  };
  return {
    currentMinute,
    minutesOf: (key: string): ReadonlyMap<number, number> => minutesOf(key),
    add(key: string): void {
      const minutes = minutesOf(key);
      const minute = currentMinute();
      minutes.set(minute, (minutes.get(minute) ?? 0) + 1);
    },
    count: (key: string): number =>
      minutesOf(key)
        .values()
        .reduce((sum, n) => sum + n, 0),
  };
}

function toKey(rateLimit: RateLimit, bucket: UsageBucket): string {
  return `${rateLimit.appId} ${rateLimit.wabaId} ${bucket}`;
}

function toPercent(calls: number, limit: number): number {
  return limit < 1 ? 100 : Math.min(100, Math.floor((100 * calls) / limit));
}

/** CPU time and total time are not simulated separately: they are the percentage of calls. */
function toLoad(percent: number): Readonly<Record<string, number>> {
  return { call_count: percent, total_cputime: percent, total_time: percent };
}
