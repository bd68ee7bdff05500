// The alert rules and the dashboard: Prometheus accepts them, every metric and label in them exists, and the alerts fire.

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test, type TestContext } from 'vitest';
import { metricTable } from '../../src/operations/metric-table.ts';
import { firingSeries, healthySeries } from './firing-series.ts';

const directory = new URL('../../src/operations/', import.meta.url);
const rulesPath = fileURLToPath(new URL('prometheus-rules.yml', directory));
const rules = readFileSync(rulesPath, 'utf8');

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>;
  readonly targets?: readonly { readonly expr: string }[];
}

const dashboardText = readFileSync(new URL('grafana-dashboard.json', directory), 'utf8');
const dashboard = JSON.parse(dashboardText) as { readonly panels: readonly Panel[] };
const dashboardExpressions = dashboard.panels.flatMap(({ targets = [] }) =>
  targets.map(({ expr }) => expr),
);

/** The text of each alert, from its name to the next one. */
const alerts = new Map(
  rules
    .split(/^ +- alert: /m)
    .slice(1)
    .map((text) => [/^\w+/.exec(text)?.[0] ?? '', text]),
);

/** The names under which Prometheus stores the series of each metric, with its labels. */
const series = new Map(
  Object.values(metricTable).flatMap(({ type, name, labels }): [string, readonly string[]][] =>
    type === 'histogram'
      ? ['_bucket', '_count', '_sum'].map((suffix) => [`${name}${suffix}`, [...labels, 'le']])
      : [[name, labels]],
  ),
);

/** What Prometheus adds to every series. */
const targetLabels = ['job', 'instance'];

function listUnknown(text: string): readonly string[] {
  const names = text.match(/\bgateway_\w+/g) ?? [];
  const matchers = [...text.matchAll(/\b(gateway_\w+)\{([^}]*)\}/g)].flatMap(
    ([, name = '', list = '']) =>
      [...list.matchAll(/(\w+) *(?:=|!=|=~|!~) *"/g)].map(
        ([, label = '']) => [name, label] as const,
      ),
  );
  return [
    ...names.filter((name) => !series.has(name)),
    ...matchers
      .filter(([name, label]) => ![...(series.get(name) ?? []), ...targetLabels].includes(label))
      .map(([name, label]) => `${name}{${label}}`),
  ];
}

test('every metric and every label that the rules and the dashboard name exists', () => {
  expect(rules.match(/\bgateway_\w+/g)?.length).toBeGreaterThan(20);
  expect(listUnknown(rules)).toEqual([]);
  expect(dashboardExpressions.length).toBeGreaterThan(20);
  expect(listUnknown(dashboardExpressions.join('\n'))).toEqual([]);
  expect(listUnknown('rate(gateway_typo_total[5m]) + gateway_numbers{tenant="x"}')).toHaveLength(2);
});

test('every metric of the gateway is on the dashboard', () => {
  const shown = dashboardExpressions.join('\n');
  const names = Object.values(metricTable).map(({ name }) => name);
  expect(names.filter((name) => !shown.includes(name))).toEqual([]);
});

test('every alert has a severity, a summary, and what to do', () => {
  expect(alerts.size).toBeGreaterThan(15);
  const required = [/severity: (critical|warning|info) /, /summary: .{20}/, /description: .{40}/];
  const incomplete = [...alerts].filter(([, text]) => !required.every((part) => part.test(text)));
  expect(incomplete).toEqual([]);
});

test('every alert that a panel names exists, and panels have ids of their own and do not overlap', () => {
  const named = dashboardText.match(/\bGateway[A-Z]\w+/g) ?? [];
  expect(named.filter((name) => !alerts.has(name))).toEqual([]);
  const { panels } = dashboard;
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, at) => `${x + (at % w)} ${y + Math.floor(at / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  expect(panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
});

const promtool = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((path) => existsSync(path));

/** Rejects with what promtool says when it finds a problem. */
async function runPromtool({ skip }: TestContext, ...words: readonly string[]): Promise<string> {
  if (promtool === undefined) {
    console.warn('NOT CHECKED: promtool is missing; install the package prometheus.');
    return skip('promtool is missing');
  }
  const { stdout } = await promisify(execFile)(promtool, words);
  return stdout;
}

/** JSON is YAML too. */
async function writeJson(value: unknown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'numbers-gateway-rules-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'file.json');
  await writeFile(path, JSON.stringify(value));
  return path;
}

describe('promtool', () => {
  test('accepts the rules', async (context) => {
    const output = await runPromtool(context, 'check', 'rules', '--lint-fatal', rulesPath);
    expect(output).toContain(`SUCCESS: ${alerts.size} rules found`);
  });

  test('accepts every expression of the dashboard', async (context) => {
    const recorded = dashboardExpressions.map((expr, at) => ({
      record: `panel_${at}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$job', 'numbers-gateway'),
    }));
    const path = await writeJson({ groups: [{ name: 'dashboard', rules: recorded }] });
    expect(await runPromtool(context, 'check', 'rules', path)).toContain('SUCCESS');
  });

  test('sees every alert fire on what it is for, and none of them in a healthy fleet', async (context) => {
    expect(Object.keys(firingSeries).toSorted()).toEqual([...alerts.keys()].toSorted());
    const tests = Object.entries(firingSeries).map(([alert, { given, labels, at = '2h' }]) => ({
      name: alert,
      interval: '1m',
      input_series: given,
      promql_expr_test: [
        {
          expr: `ALERTS{alertname="${alert}", alertstate="firing"}`,
          eval_time: at,
          exp_samples: labels.map((set) => ({
            labels: `ALERTS{alertname="${alert}", alertstate="firing", ${set}}`,
            value: 1,
          })),
        },
      ],
    }));
    const healthy = {
      name: 'healthy',
      interval: '1m',
      input_series: healthySeries,
      promql_expr_test: [{ expr: 'ALERTS', eval_time: '3h', exp_samples: [] }],
    };
    const path = await writeJson({
      rule_files: [rulesPath],
      evaluation_interval: '5m',
      tests: [...tests, healthy],
    });
    expect(await runPromtool(context, 'test', 'rules', path)).toContain('SUCCESS');
  }, 60_000);
});
