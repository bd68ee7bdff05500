// The command line: its commands, and the exit code of a run.

import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import manifest from '../../package.json' with { type: 'json' };
import { addAccountCommands } from './account.ts';
import { addAlertCommands } from './alert.ts';
import { addAuditCommands, addKeyCommands, addTenantCommands } from './access.ts';
import { UsageError } from './arguments.ts';
import { addChangeCommands } from './change-number.ts';
import { addCompletionCommand } from './completion.ts';
import { addCredentialCommands } from './credential.ts';
import { addDiffCommand } from './diff.ts';
import { addDiscoverCommands } from './discover.ts';
import { addDoctorCommand } from './doctor.ts';
import { addEncryptionCommands } from './encryption.ts';
import { addFeedCommands } from './feed.ts';
import { addFleetCommands } from './fleet.ts';
import { addHistoryCommand } from './history.ts';
import { addIncidentCommands } from './incident.ts';
import { addNumberCommands } from './numbers.ts';
import { addOperateCommands } from './operate-number.ts';
import { addRefreshCommand } from './refresh.ts';
import { addMigrateCommand, addServeCommand, type Listen } from './serve.ts';
import type { Session } from './session.ts';
import { addShowCommand } from './show-number.ts';
import { addSyncCommands } from './sync.ts';
import { addWebhookCommands } from './webhook.ts';
import { createStyle, toPrintable } from './table.ts';
import {
  createPrinter,
  createTablePrinter,
  describeCause,
  reportError,
  reportProblem,
  type Terminal,
} from './terminal.ts';
import { addWatchCommand } from './watch.ts';
import { redact } from '../telemetry.ts';

export type { Terminal } from './terminal.ts';

export interface RunOptions {
  readonly listen: Listen;
}

/**
 * Runs one command; `args` does not include the program's own name, and no arguments at all mean `serve`. Returns the
 * exit code: 0, 1 for a problem, 2 for wrong usage, or another one that a command defines. Never rejects: problems are written to standard error.
 */
export async function run(
  args: readonly string[],
  terminal: Terminal,
  { listen }: RunOptions,
): Promise<number> {
  let exitCode = 0;
  const wantsJson = () => program.opts().json === true;
  const print = createPrinter(terminal, wantsJson);
  const session: Session = {
    terminal,
    wantsJson,
    print,
    printTable: createTablePrinter(terminal, print),
    fail(code, message, failure = 1) {
      exitCode = failure;
      reportProblem(terminal, code, message);
    },
    warn: (code, message) => reportProblem(terminal, code, message),
  };
  const program = createProgram(terminal);
  addServeCommand(program, session, listen);
  addMigrateCommand(program, session);
  addTenantCommands(program, session);
  addKeyCommands(program, session);
  addNumberGroups(program, session);
  addCredentialCommands(program, session);
  addAccountCommands(program, session);
  addSyncCommands(program, session);
  addWebhookCommands(program, session);
  addAlertCommands(program, session);
  addIncidentCommands(program, session);
  addFeedCommands(program, session);
  addAuditCommands(program, session);
  addEncryptionCommands(program, session);
  addDoctorCommand(program, session);
  addCompletionCommand(program, session);
  try {
    await program.parseAsync(args.every((arg) => arg === '--json') ? ['serve', ...args] : args, {
      from: 'user',
    });
    return exitCode;
  } catch (error) {
    return reportFailure(error, terminal);
  }
}

function addNumberGroups(program: CommandUnknownOpts, session: Session): void {
  const number = addNumberCommands(program, session);
  const fleet = addFleetCommands(program, number, session);
  addWatchCommand(fleet, session);
  addDiffCommand(fleet, session);
  addHistoryCommand(number, session);
  addOperateCommands(number, session);
  addChangeCommands(number, session);
  addShowCommand(number, session);
  addRefreshCommand(number, session);
  addDiscoverCommands(number, session);
}

const seeHelp = 'Add --help to see the usage.';

const examples = `
Examples:
  $ numbers-gateway                                   start the server, or the demo without DATABASE_URL
  $ numbers-gateway tenant create --name "Acme LTDA"
  $ numbers-gateway key create --tenant ten_…
  $ numbers-gateway number list --tenant ten_… --json | jq '.[].id'
  $ numbers-gateway doctor

Output is text on a terminal, and one JSON value in a pipe or with --json, of
fleet watch one a line. Problems go to standard error.
Exit codes: 0 for success, 1 for a problem, 2 for wrong usage, 3 if number discover or import sees nothing.
Environment variables configure everything; README.md lists them.`;

// Commands that are added to it inherit these settings.
function createProgram({ stdout, stderr }: Terminal) {
  return new Command('numbers-gateway')
    .description(`${manifest.description}.`)
    .version(manifest.version, '--version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .option('--json', 'print one JSON value, also on a terminal')
    .addHelpText('after', examples)
    .exitOverride()
    .showHelpAfterError(seeHelp)
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: (title) => createStyle(stdout)('bold', title),
      optionTerm: (option) => (option.mandatory ? `${option.flags} (required)` : option.flags),
    })
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(redact(text.split('\n').map(toPrintable).join('\n'))),
      outputError: (text, write) => write(text.replace(/^error: /, 'INVALID_REQUEST: ')),
      getOutHelpWidth: () => stdout.columns ?? 100,
      getErrHelpWidth: () => stderr.columns ?? 100,
      // Titles are plain already where colours are off.
      getOutHasColors: () => true,
      getErrHasColors: () => false,
    });
}

/** Returns the exit code. */
function reportFailure(thrown: unknown, terminal: Terminal): number {
  // Commander has written its message already.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  if (thrown instanceof UsageError) {
    reportProblem(terminal, 'INVALID_REQUEST', `${thrown.message}\n${seeHelp}`);
    return 2;
  }
  if (terminal.signal.aborted)
    reportProblem(terminal, 'STOPPED', describeCause(terminal.signal.reason));
  else reportError(terminal, thrown);
  return 1;
}
