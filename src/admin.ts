// Owns the command line: its commands put together, and how a run of it ends. What a command does is in its file under
// admin/; the process around it is main.ts's.

import { Command, CommanderError } from '@commander-js/extra-typings';
import manifest from '../package.json' with { type: 'json' };
import { UsageError } from './admin/arguments.ts';
import { addAuditCommands } from './admin/audit.ts';
import { addDoctorCommand } from './admin/doctor.ts';
import { addEncryptionCommands } from './admin/encryption.ts';
import { addKeyCommands } from './admin/keys.ts';
import { addNumberCommands } from './admin/numbers.ts';
import { addServeCommand, type Listen } from './admin/serve.ts';
import type { Session } from './admin/session.ts';
import { addMigrateCommand, addTenantCommands } from './admin/tenants.ts';
import {
  createAnswer,
  reportProblem,
  reportThrown,
  type Terminal,
  toCauseText,
  toPrintable,
} from './admin/terminal.ts';
import { redact } from './telemetry.ts';

export type { Terminal } from './admin/terminal.ts';

export interface RunOptions {
  readonly listen: Listen;
}

/**
 * Runs one command line, without the program's own name; none at all means `serve`. Answers the exit code: 0, 1 for a
 * problem, 2 for wrong usage. Never rejects, and says on standard error what went wrong.
 */
export async function run(
  args: readonly string[],
  terminal: Terminal,
  { listen }: RunOptions,
): Promise<number> {
  const found = { problems: 0 };
  const wantsJson = () => program.opts().json === true;
  const session: Session = {
    terminal,
    wantsJson,
    answer: createAnswer(terminal, wantsJson),
    report(code, message) {
      found.problems += 1;
      reportProblem(terminal, code, message);
    },
    remark: (code, message) => reportProblem(terminal, code, message),
  };
  const program = createProgram(terminal);
  addServeCommand(program, session, listen);
  addMigrateCommand(program, session);
  addTenantCommands(program, session);
  addKeyCommands(program, session);
  addNumberCommands(program, session);
  addAuditCommands(program, session);
  addEncryptionCommands(program, session);
  addDoctorCommand(program, session);
  try {
    await program.parseAsync(args.every((arg) => arg === '--json') ? ['serve', ...args] : args, {
      from: 'user',
    });
    return found.problems === 0 ? 0 : 1;
  } catch (error) {
    return toExitCode(error, terminal);
  }
}

const seeHelp = 'Add --help to see what is expected.';

const examples = `
Examples:
  $ numbers-gateway                                   the demo, or with DATABASE_URL the server
  $ numbers-gateway tenant create --name "Acme LTDA"
  $ numbers-gateway key create --tenant ten_…
  $ numbers-gateway number list --tenant ten_… --json | jq '.[].id'
  $ numbers-gateway doctor

A terminal gets tables and sentences; a pipe, or --json, gets one JSON value. Problems go to standard error.
Exit codes: 0, 1 for a problem, 2 for wrong usage. Everything is configured by environment variables; see README.md.`;

// What is set here is inherited by the commands that are added to it.
function createProgram({ stdout, stderr }: Terminal) {
  return new Command('numbers-gateway')
    .description(`${manifest.description}.`)
    .version(manifest.version, '--version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show the help of a command')
    .option('--json', 'one JSON value on standard output, also on a terminal')
    .addHelpText('after', examples)
    .exitOverride()
    .showHelpAfterError(seeHelp)
    .configureHelp({
      showGlobalOptions: true,
      optionTerm: (option) => (option.mandatory ? `${option.flags} (required)` : option.flags),
    })
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(redact(text.split('\n').map(toPrintable).join('\n'))),
      outputError: (text, write) => write(text.replace(/^error: /, 'INVALID_REQUEST: ')),
      getOutHelpWidth: () => stdout.columns ?? 100,
      getErrHelpWidth: () => stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
}

function toExitCode(thrown: unknown, terminal: Terminal): number {
  // Commander has said it already.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  if (thrown instanceof UsageError) {
    reportProblem(terminal, 'INVALID_REQUEST', `${thrown.message}\n${seeHelp}`);
    return 2;
  }
  if (terminal.signal.aborted)
    reportProblem(terminal, 'STOPPED', toCauseText(terminal.signal.reason));
  else reportThrown(terminal, thrown);
  return 1;
}
