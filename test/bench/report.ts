// Owns how findings are shown: tables for people, one JSON value for machines.

import { availableParallelism, cpus } from 'node:os';
import CliTable from 'cli-table3';
import { generator } from './load.ts';
import {
  type Bar,
  type Findings,
  type Goal,
  type Measurement,
  type Table,
  toBars,
} from './sections/section.ts';

export interface Report {
  readonly bars: readonly Bar[];
  /** By the name of a bar: lowest and highest of its rounds. */
  readonly spreads: Readonly<Record<string, readonly [number, number]>>;
  readonly tables: readonly Table[];
  readonly notes: readonly string[];
  readonly machine: Readonly<Record<string, string | number>>;
}

export interface Measured {
  readonly goals: readonly Goal[];
  readonly findings: Findings;
}

/** `loadBefore`: that of the last minute before the run began. */
export function toReport(
  sections: readonly Measured[],
  quick: boolean,
  loadBefore: number,
): Report {
  const findings = sections.map((section) => section.findings);
  const measurements = findings.flatMap((found) => found.measurements);
  return {
    bars: sections.flatMap((section) => toBars(section.goals, section.findings.measurements)),
    spreads: Object.fromEntries(
      measurements.flatMap(({ name, spread }) => (spread === undefined ? [] : [[name, spread]])),
    ),
    tables: findings.flatMap(({ tables }) => tables),
    notes: [
      ...findings.flatMap(({ notes }) => notes),
      ...measurements.flatMap(toFlaw),
      ...(loadBefore > availableParallelism() / 2
        ? [
            'The machine was busy before the bench began: times and ratios are no more than indications.',
          ]
        : []),
    ],
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      'load before': Number(loadBefore.toFixed(1)),
      node: process.version,
      generator,
      mode: quick ? 'quick' : 'full',
    },
  };
}

export function toJson(report: Report): string {
  return `${JSON.stringify(report)}\n`;
}

export function toText({ bars, spreads, tables, notes, machine }: Report): string {
  const ofBars: Table = {
    title: 'Bars',
    columns: ['what', 'measured', 'bar', 'holds', 'rounds'],
    rows: bars.map(({ name, measured, bar, holds }) => [
      name,
      measured ?? 'missing',
      bar,
      holds ? 'yes' : 'NO',
      spreads[name]?.join(' to ') ?? '',
    ]),
  };
  const about = Object.entries(machine).map(([name, value]) => `${name}: ${value}`);
  return [
    ...[...tables, ofBars].map(toTableText),
    ...notes.map((note) => `- ${note}`),
    `\n${about.join(', ')}`,
    '',
  ].join('\n');
}

function toFlaw({ name, flaw }: Measurement): readonly string[] {
  return flaw === undefined ? [] : [`${name} does not hold, whatever the figure: ${flaw}.`];
}

function toTableText({ title, columns, rows }: Table): string {
  const table = new CliTable({
    head: [...columns],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push([...row]);
  return `\n${title}\n${table.toString()}`;
}
