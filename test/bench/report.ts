// Owns how findings are shown: tables for people, one JSON value for machines.

import { availableParallelism, cpus, loadavg } from 'node:os';
import Table from 'cli-table3';
import { generator } from './load.ts';
import type { Findings, Table as Figures } from './sections/section.ts';

export interface Report extends Findings {
  readonly machine: Readonly<Record<string, string | number>>;
}

export function toReport(findings: readonly Findings[], quick: boolean): Report {
  return {
    bars: findings.flatMap(({ bars }) => bars),
    tables: findings.flatMap(({ tables }) => tables),
    notes: findings.flatMap(({ notes }) => notes),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      'load of the last minute': Number(loadavg()[0]?.toFixed(1) ?? 0),
      node: process.version,
      generator,
      mode: quick ? 'quick' : 'full',
    },
  };
}

export function toJson(report: Report): string {
  return `${JSON.stringify(report)}\n`;
}

export function toText({ bars, tables, notes, machine }: Report): string {
  const ofBars: Figures = {
    title: 'Bars',
    columns: ['what', 'measured', 'bar', 'holds', 'rounds'],
    rows: bars.map(({ name, measured, bar, holds, spread }) => [
      name,
      measured,
      bar,
      holds ? 'yes' : 'NO',
      spread === undefined ? '' : spread.join(' to '),
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

function toTableText({ title, columns, rows }: Figures): string {
  const table = new Table({ head: [...columns], style: { head: [], border: [], compact: true } });
  for (const row of rows) table.push([...row]);
  return `\n${title}\n${table.toString()}`;
}
