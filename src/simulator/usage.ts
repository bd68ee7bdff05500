// Counts the calls of a rolling hour per app and WABA, and tells them the way Graph does: in percent and minutes.
// Whether a call is refused for it is decided in graph.ts.

export type UsageBucket = 'whatsapp_business_management' | 'whatsapp';

export interface Subject {
  readonly appId: string;
  readonly wabaId: string;
  /** Calls a rolling hour may hold. */
  readonly limit: number;
}

export interface Usage {
  /** Counts one call; calls that are refused count as well. */
  record(subject: Subject, bucket: UsageBucket): void;
  /** Minutes until one more call would pass; 0 while the hour has not been overdrawn. */
  minutesToRegain(subject: Subject, bucket: UsageBucket): number;
  /** The header values; `regainMinutes` overrides, per WABA id, what was counted. */
  toHeaders(
    appId: string,
    subjects: readonly Subject[],
    regainMinutes: ReadonlyMap<string, number>,
  ): Readonly<Record<string, string>>;
}

const windowMinutes = 60;
const appLimit = 100_000;
const maxSubjects = 32;
const buckets: readonly UsageBucket[] = ['whatsapp_business_management', 'whatsapp'];

export function createUsage(now: () => Date): Usage {
  const { currentMinute, minutesOf, add, count } = createMinuteCounters(now);
  const minutesToRegain = (subject: Subject, bucket: UsageBucket): number => {
    const key = toKey(subject, bucket);
    let remaining = count(key);
    if (remaining <= subject.limit) return 0;
    for (const [minute, calls] of minutesOf(key)) {
      remaining -= calls;
      if (remaining < subject.limit) return Math.max(1, minute + windowMinutes - currentMinute());
    }
    return windowMinutes;
  };

  const toEntry = (subject: Subject, bucket: UsageBucket, minutes: number | undefined): unknown => {
    const percent = toPercent(count(toKey(subject, bucket)), subject.limit);
    return {
      type: bucket,
      ...toLoad(minutes === undefined ? percent : 100),
      estimated_time_to_regain_access: minutes ?? minutesToRegain(subject, bucket),
    };
  };

  return {
    record(subject, bucket) {
      add(subject.appId);
      add(toKey(subject, bucket));
    },
    minutesToRegain,
    toHeaders(appId, subjects, regainMinutes) {
      const app = { 'x-app-usage': JSON.stringify(toLoad(toPercent(count(appId), appLimit))) };
      if (subjects.length === 0) return app;
      const entries = subjects
        .slice(0, maxSubjects)
        .map((subject) => [
          subject.wabaId,
          buckets.map((bucket) =>
            toEntry(
              subject,
              bucket,
              bucket === 'whatsapp' ? undefined : regainMinutes.get(subject.wabaId),
            ),
          ),
        ]);
      return { ...app, 'x-business-use-case-usage': JSON.stringify(Object.fromEntries(entries)) };
    },
  };
}

/** By key, the calls of each minute of the rolling hour. */
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

function toKey(subject: Subject, bucket: UsageBucket): string {
  return `${subject.appId} ${subject.wabaId} ${bucket}`;
}

function toPercent(calls: number, limit: number): number {
  return limit < 1 ? 100 : Math.min(100, Math.floor((100 * calls) / limit));
}

/** CPU time and total time are not simulated apart: they follow the calls. */
function toLoad(percent: number): Readonly<Record<string, number>> {
  return { call_count: percent, total_cputime: percent, total_time: percent };
}
