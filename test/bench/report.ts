// Formats findings: tables for people, one JSON value for programs.

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
  /** Lowest and highest round, by the name of the bar. */
  readonly spreads: Readonly<Record<string, readonly [number, number]>>;
  readonly tables: readonly Table[];
  readonly notes: readonly string[];
  readonly machine: Readonly<Record<string, string | number>>;
}

export interface Measured {
  readonly goals: readonly Goal[];
  readonly findings: Findings;
}

/** `loadBefore`: the load average of the minute before the run. */
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
        ? ['The machine was busy before the bench started: times and ratios are only indications.']
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
  const barTable: Table = {
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
  const facts = Object.entries(machine).map(([name, value]) => `${name}: ${value}`);
  return [
    ...[...tables, barTable].map(toTableText),
    ...notes.map((note) => `- ${note}`),
    `\n${facts.join(', ')}`,
    '',
  ].join('\n');
}

function toFlaw({ name, flaw }: Measurement): readonly string[] {
  return flaw === undefined ? [] : [`${name} does not hold whatever the figure, because ${flaw}.`];
}

function toTableText({ title, columns, rows }: Table): string {
  const table = new CliTable({
    head: [...columns],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push([...row]);
  return `\n${title}\n${table.toString()}`;
}
