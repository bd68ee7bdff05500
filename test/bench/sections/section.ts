// Owns what a section of the bench is given and what it answers.

import type { BenchDatabase, BenchServer } from '../databases.ts';
import { type Spread, toRounded } from '../statistics.ts';

export interface Workbench {
  readonly server: BenchServer;
  /** Under two minutes for everything. */
  readonly quick: boolean;
  /** 1,000 tenants of 25 numbers and one of 10,000; seeded when it is first asked for. */
  openFleet(): Promise<BenchDatabase>;
  /** Tells a person what goes on. */
  tell(text: string): void;
}

/** What is to be reached. Declared before anything is measured, so that what could not be measured is missed. */
export interface Goal {
  readonly name: string;
  readonly comparison: '>=' | '<=';
  readonly limit: number;
}

/** The figure for the goal of this name. */
export interface Measurement {
  readonly name: string;
  readonly value: number;
  /** Lowest and highest of the rounds, where there are several. */
  readonly spread?: readonly [number, number];
  /** Why the figure proves nothing, whatever it is. */
  readonly flaw?: string;
}

export interface Bar {
  readonly name: string;
  /** Null for what could not be measured. */
  readonly measured: number | null;
  /** A comparison with a number, for example `>= 1.25`. */
  readonly bar: string;
  /** False for what could not be measured, or not without a flaw. */
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
  /** What was left out, or should be known when the figures are read. */
  readonly notes: readonly string[];
}

export interface Section {
  /** With `quick`, goals that take too long are replaced by smaller ones, under names that say so. */
  toGoals(quick: boolean): readonly Goal[];
  /** Throws when nothing could be measured. */
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

/**
 * What goes wrong in one part of the bench is told, and ends the process with 1, but the other parts are still worth
 * their time; the bars of this one are shown as missing.
 */
export async function attempt(
  name: string,
  { tell }: Pick<Workbench, 'tell'>,
  work: () => Promise<Findings>,
): Promise<Findings> {
  try {
    return await work();
  } catch (error) {
    const note = `${name} could not be measured: ${String(error)}`;
    tell(note);
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

/** Throws for a measurement that no goal asks for: it would vanish. */
export function toBars(
  goals: readonly Goal[],
  measurements: readonly Measurement[],
): readonly Bar[] {
  const stray = measurements.find(({ name }) => !goals.some((goal) => goal.name === name));
  if (stray !== undefined) throw new Error(`Nothing is to be reached by ${stray.name}.`);
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
