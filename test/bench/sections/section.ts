// Owns what a section of the bench is given and what it answers.

import type { BenchDatabase, BenchServer } from '../databases.ts';

export interface Workbench {
  readonly server: BenchServer;
  /** Under two minutes for everything. */
  readonly quick: boolean;
  /** 1,000 tenants of 25 numbers and one of 10,000; seeded when it is first asked for. */
  openFleet(): Promise<BenchDatabase>;
  /** Tells a person what goes on. */
  tell(text: string): void;
}

export interface Bar {
  readonly name: string;
  readonly measured: number;
  /** A comparison with a number, for example `>= 1.25`. */
  readonly bar: string;
  readonly holds: boolean;
  /** Lowest and highest of the rounds, where there are several. */
  readonly spread?: readonly [number, number];
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

export interface Findings {
  readonly bars: readonly Bar[];
  readonly tables: readonly Table[];
  /** What was left out, or should be known when the figures are read. */
  readonly notes: readonly string[];
}

export type Section = (workbench: Workbench) => Promise<Findings>;

export function toBar(
  name: string,
  measured: number,
  comparison: '>=' | '<=',
  limit: number,
  spread?: readonly [number, number],
): Bar {
  const holds = comparison === '>=' ? measured >= limit : measured <= limit;
  const rounded = Number(measured.toPrecision(3));
  const bar = { name, measured: rounded, bar: `${comparison} ${limit}`, holds };
  return spread === undefined ? bar : { ...bar, spread };
}
