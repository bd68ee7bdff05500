// The command `completion`: scripts for bash, zsh and fish, generated from the commands and their options. They start no
// process at each press of Tab, and need nothing but the shell.

import {
  Argument,
  type CommandUnknownOpts,
  type Option as CommandOption,
} from '@commander-js/extra-typings';
import type { Session } from './session.ts';

export function addCompletionCommand(program: CommandUnknownOpts, session: Session): void {
  const scripts = { bash: toBash, zsh: toZsh, fish: toFish };
  const shells = Object.keys(scripts) as (keyof typeof scripts)[];
  program
    .command('completion')
    .summary('print a completion script for a shell')
    .description(
      'Print a script that completes commands and options in bash, zsh or fish. It completes the command numbers-gateway, which may be an alias.',
    )
    .addArgument(new Argument('<shell>', 'shell that runs the script').choices(shells))
    .addHelpText('after', examples)
    .action((shell) => {
      const script = scripts[shell](program.name(), listCommands(program));
      // The script itself in a pipe too: a shell reads it.
      if (session.wantsJson()) session.print({ shell, script }, () => script);
      else session.terminal.stdout.write(script);
    });
}

const examples = `
Examples:
  $ alias numbers-gateway='node /path/to/src/main.ts'
  $ source <(numbers-gateway completion bash)                 bash: in ~/.bashrc
  $ source <(numbers-gateway completion zsh)                  zsh: in ~/.zshrc, after compinit
  $ numbers-gateway completion fish | source                  fish: in ~/.config/fish/config.fish`;

interface Word {
  readonly text: string;
  readonly summary: string;
}

interface OptionWord extends Word {
  /** What follows it; null for nothing. */
  readonly value: 'text' | 'file' | readonly string[] | null;
}

interface CommandWords {
  /** Each word of its name after a space; '' for the program itself. */
  readonly path: string;
  readonly commands: readonly Word[];
  readonly options: readonly OptionWord[];
  /** The choices of each argument. */
  readonly choices: readonly (readonly string[])[];
}

function listCommands(command: CommandUnknownOpts, path = ''): readonly CommandWords[] {
  const help = command.createHelp();
  const visible = help.visibleCommands(command);
  const options = [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
  const words: CommandWords = {
    path,
    commands: visible.map((child) => ({ text: child.name(), summary: child.summary() || 'help' })),
    options: options.map(toOptionWord),
    choices: command.registeredArguments.map(({ argChoices = [] }) => argChoices),
  };
  const children = visible.filter((child) => command.commands.includes(child));
  return [words, ...children.flatMap((child) => listCommands(child, `${path} ${child.name()}`))];
}

function toOptionWord({
  flags,
  long,
  description,
  required,
  argChoices,
}: CommandOption): OptionWord {
  const value = argChoices ?? (flags.includes('<path>') ? 'file' : 'text');
  return { text: long ?? flags, summary: description, value: required ? value : null };
}

type Shell = (name: string, commands: readonly CommandWords[]) => string;

const toBash: Shell = (name, commands) => {
  return `# bash completion for ${name}
_${toIdentifier(name)}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command='' position=0 words='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command \${COMP_WORDS[i]}" in
      ${toPattern(commands.map(({ path }) => path))}) command="$command \${COMP_WORDS[i]}" ;;
      *' -'*) case "\${COMP_WORDS[i]}" in ${toPattern(listValued(commands))}) ((i++)) ;; esac ;;
      *) ((position++)) ;;
    esac
  done
  case "$command $previous" in
${listOptionCases(commands, {
  file: `compopt -o filenames 2>/dev/null; local IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$current")); return`,
  text: 'return',
  choices: (choices) => `COMPREPLY=($(compgen -W ${joinQuoted(choices)} -- "$current")); return`,
})}
  esac
  case "$command $position" in
${listPositions(commands)
  .map(({ path, position, words }) => {
    const texts = words.map(({ text }) => text);
    return `    ${quote(`${path} ${position}`)}) words=${joinQuoted(texts)} ;;`;
  })
  .join('\n')}
  esac
  if [[ $current == -* || -z $words ]]; then
    case "$command" in
${commands
  .map(
    ({ path, options }) =>
      `      ${quote(path)}) words=${joinQuoted(options.map(({ text }) => text))} ;;`,
  )
  .join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _${toIdentifier(name)} ${name}
`;
};

const toZsh: Shell = (name, commands) => {
  return `#compdef ${name}
_${toIdentifier(name)}() {
  local current=\${words[CURRENT]} previous=\${words[CURRENT-1]} command='' i
  local -i position=0
  local -a entries
  for ((i = 2; i < CURRENT; i++)); do
    case "$command \${words[i]}" in
      ${toPattern(commands.map(({ path }) => path))}) command="$command \${words[i]}" ;;
      *' -'*) case "\${words[i]}" in ${toPattern(listValued(commands))}) ((i++)) ;; esac ;;
      *) ((position++)) ;;
    esac
  done
  case "$command $previous" in
${listOptionCases(commands, {
  file: '_files; return',
  text: "_message 'value'; return",
  choices: (choices) => `compadd -- ${choices.map((choice) => quote(choice)).join(' ')}; return`,
})}
  esac
  case "$command $position" in
${listPositions(commands)
  .map(
    ({ path, position, words }) =>
      `    ${quote(`${path} ${position}`)}) entries=(${toZshWords(words)}) ;;`,
  )
  .join('\n')}
  esac
  if [[ $current == -* || $#entries == 0 ]]; then
    case "$command" in
${commands.map(({ path, options }) => `      ${quote(path)}) entries=(${toZshWords(options)}) ;;`).join('\n')}
    esac
  fi
  _describe 'value' entries
}
if [[ \${funcstack[1]-} == _${toIdentifier(name)} ]]; then
  _${toIdentifier(name)} "$@"
else
  compdef _${toIdentifier(name)} ${name}
fi
`;
};

const toFish: Shell = (name, commands) => {
  const read = `__${toIdentifier(name)}_command`;
  const lines = commands.flatMap(({ path, commands: children, options, choices }) => {
    const start = `complete -c ${name} -n ${quote(`test "$(${read})" = ${quote(path)}`, 'fish')}`;
    return [
      ...children.map(
        ({ text, summary }) => `${start} -a ${quote(text)} -d ${quote(summary, 'fish')}`,
      ),
      ...choices.flatMap((words) =>
        words.length === 0 ? [] : [`${start} -a ${quote(words.join(' '))}`],
      ),
      ...options.map(({ text, summary, value }) => {
        const flag = `${start} -l ${text.replace(/^--/, '')} -d ${quote(summary, 'fish')}`;
        if (value === null) return flag;
        if (value === 'file') return `${flag} -r -F`;
        return value === 'text' ? `${flag} -x` : `${flag} -x -a ${quote(value.join(' '))}`;
      }),
    ];
  });
  return `# fish completion for ${name}
function ${read}
  set -l command ''
  for word in (commandline -opc)[2..-1]
    contains -- "$command $word" ${commands.map(({ path }) => quote(path)).join(' ')}
    and set command "$command $word"
  end
  echo $command
end
complete -c ${name} -e
complete -c ${name} -f
${lines.join('\n')}
`;
};

/** What may stand at each position: subcommands, or the choices of an argument. */
function listPositions(commands: readonly CommandWords[]) {
  return commands.flatMap(({ path, commands: children, choices }) => {
    if (children.length > 0) return [{ path, position: 0, words: children }];
    return choices.flatMap((texts, position) => {
      const words = texts.map((text) => ({ text, summary: text }));
      return words.length === 0 ? [] : [{ path, position, words }];
    });
  });
}

interface ValueActions {
  readonly file: string;
  readonly text: string;
  choices(choices: readonly string[]): string;
}

/** The lines of a `case` over the command and its option before the cursor. */
function listOptionCases(commands: readonly CommandWords[], actions: ValueActions): string {
  return commands
    .flatMap(({ path, options }) =>
      options.flatMap(({ text, value }) => {
        if (value === null) return [];
        const action = typeof value === 'string' ? actions[value] : actions.choices(value);
        return [`    ${quote(`${path} ${text}`)}) ${action} ;;`];
      }),
    )
    .join('\n');
}

/** The options that take a value. */
function listValued(commands: readonly CommandWords[]): readonly string[] {
  const valued = commands.flatMap(({ options }) => options.filter(({ value }) => value !== null));
  return [...new Set(valued.map(({ text }) => text))];
}

function toPattern(texts: readonly string[]): string {
  return texts
    .filter((text) => text !== '')
    .map((text) => quote(text))
    .join('|');
}

/** Entries of `_describe`, in which a colon separates the word from its description. */
function toZshWords(words: readonly Word[]): string {
  return words
    .map(({ text, summary }) => quote(`${text.replaceAll(':', String.raw`\:`)}:${summary}`))
    .join(' ');
}

/** In single quotes. Only fish knows escapes in them. */
function quote(text: string, shell: 'posix' | 'fish' = 'posix'): string {
  const escaped =
    shell === 'fish'
      ? text.replaceAll(/[\\']/g, String.raw`\$&`)
      : text.replaceAll("'", String.raw`'\''`);
  return `'${escaped}'`;
}

function joinQuoted(words: readonly string[]): string {
  return quote(words.join(' '));
}

function toIdentifier(name: string): string {
  return name.replaceAll(/\W/g, '_');
}
