// The interface of a section of the bench: what it gets and what it returns.

import type { BenchDatabase, BenchServer } from '../databases.ts';
import { type Spread, toRounded } from '../statistics.ts';

export interface Workbench {
  readonly server: BenchServer;
  /** All sections together take under two minutes. */
  readonly quick: boolean;
  /** 1,000 tenants of 25 numbers and one of 10,000; seeded at the first call. */
  openFleet(): Promise<BenchDatabase>;
  /** Prints progress to standard error. */
  log(text: string): void;
}

/** A bar before it is measured. All goals are declared first, so that one without a measurement is reported as missing. */
export interface Goal {
  readonly name: string;
  readonly comparison: '>=' | '<=';
  readonly limit: number;
}

/** The figure of the goal with this name. */
export interface Measurement {
  readonly name: string;
  readonly value: number;
  /** Lowest and highest round, if there are several. */
  readonly spread?: readonly [number, number];
  /** Why the figure proves nothing. */
  readonly flaw?: string;
}

export interface Bar {
  readonly name: string;
  /** Null if it could not be measured. */
  readonly measured: number | null;
  /** A comparison with a number, for example `>= 1.25`. */
  readonly bar: string;
  /** False if it could not be measured, or has a flaw. */
  readonly holds: boolean;
}

export type Cell = string | number;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

export interface Findings {
  readonly measurements: readonly Measurement[];
  readonly tables: readonly Table[];
  /** What was left out, and what a reader of the figures should know. */
  readonly notes: readonly string[];
}

export interface Section {
  /** `quick` replaces goals that take too long by smaller ones, under names that say so. */
  toGoals(quick: boolean): readonly Goal[];
  /** Throws if nothing could be measured. */
  measure(workbench: Workbench): Promise<Findings>;
}

export const nothingFound: Findings = { measurements: [], tables: [], notes: [] };

export function combine(findings: readonly Findings[]): Findings {
  return {
    measurements: findings.flatMap(({ measurements }) => measurements),
    tables: findings.flatMap(({ tables }) => tables),
    notes: findings.flatMap(({ notes }) => notes),
  };
}

/** Runs one part. If it fails, its bars are reported as missing and the exit code becomes 1, but the bench goes on. */
export async function attempt(
  name: string,
  { log }: Pick<Workbench, 'log'>,
  work: () => Promise<Findings>,
): Promise<Findings> {
  try {
    return await work();
  } catch (error) {
    const note = `${name} could not be measured: ${String(error)}`;
    log(note);
    process.exitCode = 1;
    return { ...nothingFound, notes: [note] };
  }
}

export function atLeast(limit: number, name: string): Goal {
  return { name, comparison: '>=', limit };
}

export function atMost(limit: number, name: string): Goal {
  return { name, comparison: '<=', limit };
}

/** The median is the figure. */
export function toMeasurement(name: string, { median, lowest, highest }: Spread): Measurement {
  return { name, value: median, spread: [toRounded(lowest), toRounded(highest)] };
}

/** Throws for a measurement without a goal. */
export function toBars(
  goals: readonly Goal[],
  measurements: readonly Measurement[],
): readonly Bar[] {
  const stray = measurements.find(({ name }) => !goals.some((goal) => goal.name === name));
  if (stray !== undefined) throw new Error(`There is no goal for the measurement ${stray.name}.`);
  return goals.map(({ name, comparison, limit }) => {
    const bar = `${comparison} ${limit}`;
    const found = measurements.find((measurement) => measurement.name === name);
    if (found === undefined || Number.isNaN(found.value)) {
      return { name, measured: null, bar, holds: false };
    }
    const reached = comparison === '>=' ? found.value >= limit : found.value <= limit;
    const holds = reached && found.flaw === undefined;
    return { name, measured: toRounded(found.value), bar, holds };
  });
}
