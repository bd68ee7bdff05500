// The bench's command line: runs the selected sections on a real PostgreSQL and reports which bars hold. See README.md.

import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { installPackages } from '../install-packages.ts';
import type { Section, Workbench } from './sections/section.ts';

const help = `Usage: npm run bench -- [options]

  --quick      short rounds and no database of 1,000,000 numbers; takes under two minutes
  --only NAME  run one section; may be repeated:
               changing, unchanged, feed, stream, growth, statements, fleet, economy, latency,
               footprint
  --json       print one JSON value on standard output
  --help       print this text

Uses the PostgreSQL server of TEST_DATABASE_URL, or starts one. The exit code is 0 whether or not the bars hold, 1 if
something could not be measured, and 2 for wrong usage.
`;

interface Options {
  readonly quick: boolean;
  readonly json: boolean;
  readonly help: boolean;
  readonly sections: readonly SectionName[];
}

const sectionNames = [
  'changing',
  'unchanged',
  'feed',
  'stream',
  'growth',
  'statements',
  'fleet',
  'economy',
  'latency',
  'footprint',
] as const;
type SectionName = (typeof sectionNames)[number];

await main();

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === null) return;
  if (options.help) {
    process.stdout.write(help);
    return;
  }
  const made = new AsyncDisposableStack();
  stopOnSignals(made);
  // A limit, in case the bench hangs.
  const minutes = options.quick ? 6 : 60;
  const timeout = setTimeout(
    () => void stop(made, `timed out after ${minutes} minutes`, 1),
    minutes * 60_000,
  );
  try {
    await run(options, made);
  } catch (error) {
    process.stderr.write(`Could not measure: ${String(error)}\n`);
    process.exitCode = 1;
  } finally {
    clearTimeout(timeout);
    await made.disposeAsync();
  }
}

/** Null for wrong usage, after printing what is wrong. */
function readOptions(args: readonly string[]): Options | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
      },
    });
    const { quick, json, help: showHelp, only: selected } = values;
    const unknown = selected.find((name) => !(sectionNames as readonly string[]).includes(name));
    if (unknown !== undefined) throw new Error(`Unknown section: ${unknown}.`);
    const sections = sectionNames.filter(
      (name) => selected.length === 0 || selected.includes(name),
    );
    return { quick, json, help: showHelp, sections };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}`);
    process.exitCode = 2;
    return null;
  }
}

async function run({ quick, json, sections }: Options, made: AsyncDisposableStack): Promise<void> {
  const [loadBefore = 0] = loadavg();
  await installPackages(new URL('./', import.meta.url));
  // These modules need the packages.
  const { inTurn } = await import('./in-turn.ts');
  const { toJson, toReport, toText } = await import('./report.ts');
  const { attempt } = await import('./sections/section.ts');
  const all = await loadSections();
  const workbench = await openWorkbench(quick, made);
  const measured = await inTurn(sections, async (name) => ({
    goals: all[name].toGoals(quick),
    findings: await attempt(name, workbench, () => all[name].measure(workbench)),
  }));
  const report = toReport(measured, quick, loadBefore);
  process.stdout.write(json ? toJson(report) : toText(report));
}

async function loadSections(): Promise<Readonly<Record<SectionName, Section>>> {
  const { changing } = await import('./sections/changing.ts');
  const { unchanged } = await import('./sections/unchanged.ts');
  const { feed } = await import('./sections/feed.ts');
  const { stream } = await import('./sections/stream.ts');
  const { growth } = await import('./sections/growth.ts');
  const { statements } = await import('./sections/statements.ts');
  const { fleet } = await import('./sections/fleet.ts');
  const { economy } = await import('./sections/economy.ts');
  const { latency } = await import('./sections/latency.ts');
  const { footprint } = await import('./sections/footprint.ts');
  return {
    changing,
    unchanged,
    feed,
    stream,
    growth,
    statements,
    fleet,
    economy,
    latency,
    footprint,
  };
}

async function openWorkbench(quick: boolean, made: AsyncDisposableStack): Promise<Workbench> {
  const { openBenchServer } = await import('./databases.ts');
  const { toRange } = await import('./in-turn.ts');
  const { seed } = await import('./seed.ts');
  log('starting PostgreSQL');
  const server = made.use(await openBenchServer());
  let fleet: ReturnType<Workbench['openFleet']> | undefined;
  const openFleet = async () => {
    log('seeding 35,000 numbers');
    const database = await server.createDatabase();
    const keyed = toRange(1_000).map((index) => index + 1);
    await seed(database, { tenants: 1_000, keyed, large: true });
    return database;
  };
  return { server, quick, log, openFleet: () => (fleet ??= openFleet()) };
}

function log(text: string): void {
  const seconds = Math.round(process.uptime());
  process.stderr.write(`${String(seconds).padStart(4)} s  ${text}\n`);
}

function stopOnSignals(made: AsyncDisposableStack): void {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => void stop(made, `stopped by ${signal}`, code));
  }
}

async function stop(made: AsyncDisposableStack, reason: string, code: number): Promise<void> {
  process.stderr.write(`Could not measure: ${reason}\n`);
  await made.disposeAsync().catch(() => undefined);
  process.exit(code);
}
