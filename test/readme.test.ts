import { execFile } from 'node:child_process';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../src/admin/commands.ts';
import { environmentVariables, readEnvironment, parseConfig } from '../src/config.ts';
import { type DemoAnnouncement, openDemo } from '../src/demo/demo.ts';
import { errorCatalogue } from '../src/errors.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { createLoadShedder } from '../src/http/load-shedding.ts';
import { createMetrics } from '../src/metrics.ts';
import { openTestDatabase } from './harness.ts';

const root = new URL('../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
/** Without code blocks. */
const prose = readme.replaceAll(/^```.*?^```$/gms, '');
const scripts = Object.keys(
  (
    JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
      scripts: Record<string, string>;
    }
  ).scripts,
);

/** The rows of the table whose first column has this head, as trimmed cells. */
function readTable(head: string): readonly (readonly string[])[] {
  const lines = readme.split('\n');
  const start = lines.findIndex((line) => new RegExp(`^\\| ${head} +\\|`).test(line));
  expect(start).toBeGreaterThan(0);
  const rest = lines.slice(start + 2);
  const rows = rest.slice(
    0,
    rest.findIndex((line) => !line.startsWith('|')),
  );
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** The fenced blocks of a language, in order. */
function readBlocks(language: string, text = readme): readonly string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(
    ([, block = '']) => block,
  );
}

function quote(text: string): string {
  return text === '' ? '' : `\`${text}\``;
}

describe('the tables', () => {
  test('list every environment variable with its default and meaning, and no other', () => {
    const rows = Object.entries(environmentVariables).map(([name, variable]) => [
      quote(name),
      quote(variable.default),
      variable.meaning,
    ]);
    expect(readTable('variable')).toEqual(rows);
  });

  test('list every error code with its status and meaning, and no other', () => {
    const rows = Object.entries(errorCatalogue).map(([code, { status, meaning, retryable }]) => [
      quote(code),
      String(status),
      meaning,
      retryable ? 'yes' : 'no',
    ]);
    expect(readTable('code')).toEqual(rows);
  });

  test('list every command of the command line, and no other', async () => {
    const listed = readTable('command').map(([name = '']) => name.replaceAll('`', ''));
    expect(listed.toSorted()).toEqual([...(await listCommands([]))].toSorted());
  });

  test('list every file and folder at the top of src, and every file of src/http, once', () => {
    const listed = readTable('layer').flatMap(([, where = '']) => readQuoted(where));
    const expected = [
      ...listFolder('src/').filter((path) => path !== 'src/http/'),
      ...listFolder('src/http/'),
    ];
    expect(listed.toSorted()).toEqual(expected.toSorted());
  });

  test('name only files that exist in a folder of their layer', () => {
    const missing = readTable('layer').flatMap(([, where = '', what = '']) => {
      const folders = readQuoted(where).filter((path) => path.endsWith('/'));
      const files = readQuoted(what).filter((path) => !path.startsWith('src/'));
      return files.filter(
        (file) => !folders.some((folder) => existsSync(new URL(`${folder}${file}`, root))),
      );
    });
    expect(missing).toEqual([]);
  });
});

/** Paths from the root of the project; those of folders end with a slash. */
function listFolder(folder: string): readonly string[] {
  return readdirSync(new URL(folder, root), { withFileTypes: true }).map(
    (entry) => `${folder}${entry.name}${entry.isDirectory() ? '/' : ''}`,
  );
}

/** What stands in backticks. */
function readQuoted(text: string): readonly string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, quoted = '']) => quoted);
}

describe('the text', () => {
  test('has at most 500 lines', () => {
    expect(readme.trimEnd().split('\n').length).toBeLessThanOrEqual(500);
  });

  test('has no paragraph and no list item of more than five lines of 100 characters', () => {
    const paragraphs = prose.split('\n').filter((line) => !line.startsWith('|'));
    expect(paragraphs.filter((line) => line.length > 500)).toEqual([]);
  });
});

/** The full names of all commands without subcommands. */
async function listCommands(group: readonly string[]): Promise<readonly string[]> {
  const [, list = ''] = /^Commands:\n((?: {2}.*\n)+)/m.exec(await readHelp(group)) ?? [];
  const names = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'help');
  if (names.length === 0) return [group.join(' ')];
  return (await Promise.all(names.map((name) => listCommands([...group, name])))).flat();
}

async function readHelp(command: readonly string[]): Promise<string> {
  const written: string[] = [];
  const output = new Writable({
    decodeStrings: false,
    write(text: string, _encoding, done) {
      written.push(text);
      done();
    },
  });
  const terminal = {
    stdin: Readable.from([]),
    stdout: output,
    stderr: output,
    environment: {},
    signal: new AbortController().signal,
  };
  expect(await run([...command, '--help'], terminal, { listen: refuseToListen })).toBe(0);
  return written.join('');
}

function refuseToListen(): Promise<never> {
  return Promise.reject(new Error('--help must not start the server.'));
}

describe('everything that the README names exists:', () => {
  test('npm scripts', () => {
    const named = [...readme.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name);
    const direct = [...readme.matchAll(/npm (start|test)\b/g)].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(3);
    const wanted = [...new Set([...named, ...direct])];
    expect(wanted.filter((name) => !scripts.includes(name ?? ''))).toEqual([]);
  });

  test('commands and their options', async () => {
    const shell = readBlocks('sh').join('').replaceAll('\\\n', ' ');
    const lines = [...shell.matchAll(/npm run -s gateway -- (.*)$/gm)].map(
      ([, words = '']) => words,
    );
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) {
      const [, command = ''] = /^((?:[a-z][a-z-]*\s?)+?)\s*(?=--|<|$)/.exec(line) ?? [];
      // oxlint-disable-next-line no-await-in-loop -- a handful
      const help = await readHelp(command.trim().split(/\s+/));
      const options = [...line.matchAll(/(?<=\s)--[a-z-]+/g)].map(([option]) => option);
      expect(options.filter((option) => !help.includes(option))).toEqual([]);
    }
  });

  test('the command line without the banner of npm, which would be in a pipe', () => {
    expect(readme).not.toMatch(/npm run gateway/);
  });

  test('metrics', async () => {
    const metrics = createMetrics();
    using load = createLoadShedder(parseConfig(readEnvironment({})));
    metrics.observeLoad(load);
    metrics.observePool({
      totalCount: 0,
      idleCount: 0,
      waitingCount: 0,
      usesPreparedStatements: true,
    });
    metrics.observeFeed({ isCurrent: () => true });
    const { text } = await metrics.render();
    const named = new Set(
      [...readme.matchAll(/`(gateway_(?!tenant|login|owner|app)\w+)/g)].map(([, name]) => name),
    );
    expect(named.size).toBeGreaterThan(8);
    expect([...named].filter((name) => !text.includes(`# TYPE ${name} `))).toEqual([]);
  });

  test('files and folders', () => {
    const paths = [...readme.matchAll(/`((?:src|test|migrations)\/[\w./-]*|\w+\.graphql)`/g)];
    const named = new Set(paths.map(([, path = '']) => path));
    expect(named.size).toBeGreaterThan(20);
    expect([...named].filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });

  test('log messages', () => {
    const quoted = [...prose.matchAll(/`([a-z]+(?: [a-z]+)+)` in the log|the log for `([^`]+)`/g)];
    const messages = quoted.map(([, before, after]) => before ?? after ?? '');
    expect(messages.length).toBeGreaterThan(2);
    const sources = globSync('src/**/*.ts', { cwd: fileURLToPath(root) })
      .map((path) => readFileSync(new URL(path, root), 'utf8'))
      .join('');
    expect(messages.filter((message) => !sources.includes(`'${message}'`))).toEqual([]);
  });

  test('link targets', () => {
    const links = [...prose.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path = '']) => path);
    expect(links.length).toBeGreaterThan(0);
    expect(links.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });
});

describe('the examples on the demo', () => {
  const made = new AsyncDisposableStack();
  let directory: string;
  let gateway: Gateway;
  let announcement: DemoAnnouncement;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-readme-'));
    made.defer(() => rm(directory, { recursive: true, force: true }));
    const environment = { DATA_DIR: directory, LOG_LEVEL: 'silent' };
    const demo = await openDemo(parseConfig(readEnvironment(environment)));
    const database = await openTestDatabase('PostgreSQL', { migrated: false });
    gateway = made.use(await createGateway(demo.config, { ...demo.overrides, database }));
    announcement = await demo.seed(gateway);
  });

  afterAll(() => made.disposeAsync());

  async function ask(path: string, body: string | null): Promise<Response> {
    const headers = new Headers({ 'x-api-key': announcement.tenantKey });
    if (body !== null) headers.set('content-type', 'application/json');
    const method = body === null ? 'GET' : 'POST';
    return await gateway.fetch(new Request(`http://gateway${path}`, { method, headers, body }));
  }

  test('the query returns the response in the README', async () => {
    const [query] = readBlocks('graphql');
    const [answer = ''] = readBlocks('json');
    const response = await ask('/graphql', JSON.stringify({ query }));
    expect(await response.json()).toEqual(JSON.parse(answer));
  });

  test('every curl is answered without an error', async () => {
    const shell = readBlocks('sh').join('').replaceAll('\\\n', ' ');
    const lines = shell.split('\n').filter((line) => line.startsWith('curl '));
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) {
      const [, path = ''] = /http:\/\/localhost:4000([^'\s]*)/.exec(line) ?? [];
      const [, body = null] = /-d '(.*)'/.exec(line) ?? [];
      // oxlint-disable-next-line no-await-in-loop -- a handful, in order
      const response = await ask(path, body);
      // oxlint-disable-next-line no-await-in-loop -- see above
      expect([path, response.status, await response.json()]).toEqual([
        path,
        200,
        expect.not.objectContaining({ errors: expect.anything() }),
      ]);
    }
  });

  test('every number that is named exists', async () => {
    const named = new Set([...readme.matchAll(/\bwa_[a-z]+_[a-z]+\b/g)].map(([id]) => id));
    expect(named.size).toBeGreaterThan(5);
    const owners = [...named].map((id) => gateway.numbers.getTenantOf(id));
    expect(new Set(await Promise.all(owners))).toEqual(new Set(['ten_acme', 'ten_borealis']));
  });

  test('the example with the simulator prints the output beside it', async () => {
    const folder = new URL('test/simulator/', root);
    const text = readFileSync(new URL('README.md', folder), 'utf8');
    const [code = ''] = readBlocks('ts', text);
    const [expected] = readBlocks('text', text);
    const path = join(directory, 'example.mts');
    await writeFile(path, code.replaceAll("'./", `'${fileURLToPath(folder)}`));
    const { stdout } = await promisify(execFile)(process.execPath, [path]);
    expect(stdout).toBe(expected);
  });
});
