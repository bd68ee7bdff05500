// The rules of the code base, such as the layer table. Planted violations prove that each rule can fail.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

interface SourceFile {
  /** Relative to the root of the project, with slashes. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly from: string;
  /** The text between `import` and `from`. */
  readonly clause: string;
  readonly target: string;
}

/** Returns the violations, one sentence each. */
type Rule = (files: readonly SourceFile[]) => readonly string[];

interface Layer {
  readonly name: string;
  readonly files: RegExp;
  /** What its files may import from src, in addition to each other. */
  readonly imports: readonly RegExp[];
  /** Imports that are allowed as one type and nothing else. */
  readonly types?: Readonly<Record<string, string>>;
}

const foundation =
  /^src\/(errors|clock|config|config\/values|config\/sync-settings|telemetry|tracing|secrets|json|maybe-promise|http\/(bulkhead|event-stream|message|negotiation))\.ts$/;
const requestContext = /^src\/http\/request-context\.ts$/;
const errors = /^src\/errors\.ts$/;
const configValues = /^src\/config\/(values|sync-settings)\.ts$/;
const eventStream = /^src\/http\/event-stream\.ts$/;
const storage = /^src\/database\//;
const coreWithoutStores =
  /^src\/(access|numbers|fleet|history|sync|alerts)\/(?!([a-z]+-)?(store|queries)\.ts$)/;
const endpoint = /^src\/http\/(response-cache|endpoint)\.ts$/;
const port =
  /^src\/(numbers\/(provider|meta|vocabulary|number|phone-digits)|fleet\/account-reader)\.ts$/;
const process =
  /^src\/((main|http\/server|http\/write-batching)\.ts|operations\/compile-cache\.js)$/;
const composition =
  /^src\/((gateway|jobs)\.ts|http\/(pipeline|compression|cors|load-shedding|streams)\.ts|metrics\.ts|operations\/metric-table\.ts|admin\/|demo\/)/;

const layers: readonly Layer[] = [
  { name: 'foundation', files: foundation, imports: [errors, configValues, eventStream] },
  { name: 'request context', files: requestContext, imports: [foundation] },
  { name: 'storage', files: storage, imports: [foundation] },
  { name: 'access', files: /^src\/access\//, imports: [foundation, requestContext, storage] },
  {
    name: 'numbers',
    files: /^src\/numbers\//,
    imports: [foundation, requestContext, storage],
    types: { 'src/access/access.ts': 'Access', 'src/access/key.ts': 'KeyHint' },
  },
  {
    // One statement reads a page and its numbers, so the fleet composes it with the SQL of numbers.
    name: 'fleet',
    files: /^src\/fleet\//,
    imports: [
      foundation,
      requestContext,
      storage,
      coreWithoutStores,
      /^src\/numbers\/(selection|status)-queries\.ts$/,
    ],
  },
  {
    name: 'history',
    files: /^src\/history\//,
    imports: [foundation, storage, /^src\/numbers\/number\.ts$/],
    types: { 'src/access/access.ts': 'Access', 'src/access/key.ts': 'KeyHint' },
  },
  {
    name: 'alerts',
    files: /^src\/alerts\//,
    imports: [
      foundation,
      storage,
      /^src\/history\/(change|change-fields|cursor)\.ts$/,
      // Which restrictions block conversations.
      /^src\/numbers\/(number|numbers|restriction)\.ts$/,
      // Callers acknowledge incidents, as they operate numbers.
      /^src\/access\/access\.ts$/,
      /^src\/fleet\/note\.ts$/,
    ],
    types: { 'src/access/key.ts': 'KeyHint' },
  },
  {
    name: 'sync',
    files: /^src\/sync\//,
    imports: [foundation, requestContext, storage, coreWithoutStores],
  },
  {
    name: 'endpoint',
    files: endpoint,
    imports: [foundation, requestContext, storage],
    types: {
      'src/access/access.ts': 'Access',
      'src/access/key.ts': 'KeyScope',
      'src/access/rate-limit.ts': 'Admission',
    },
  },
  { name: 'providers', files: /^src\/providers\//, imports: [foundation, port] },
  { name: 'simulator', files: /^src\/simulator\//, imports: [foundation, port] },
  {
    name: 'graphql',
    files: /^src\/graphql\//,
    imports: [foundation, requestContext, endpoint, coreWithoutStores],
  },
  {
    name: 'rest',
    files: /^src\/rest\//,
    imports: [foundation, requestContext, endpoint, coreWithoutStores],
  },
  {
    // Both the URL and what is behind it: nothing else uses that. What an event announces of an account is stored in the
    // transaction of the event.
    name: 'webhooks',
    files: /^src\/webhooks\//,
    imports: [
      foundation,
      requestContext,
      storage,
      endpoint,
      coreWithoutStores,
      /^src\/numbers\/notice-store\.ts$/,
    ],
  },
  {
    name: 'board',
    files: /^src\/board\/(?!client\/)/,
    imports: [foundation],
  },
  {
    // Runs in the browser, so it shares nothing with the rest, and nothing else imports it.
    name: "board's client",
    files: /^src\/board\/client\//,
    imports: [],
  },
  {
    name: 'composition',
    files: composition,
    imports: [/^src\/(?!((main|http\/server|http\/write-batching)\.ts$|board\/client\/))/],
  },
  { name: 'process', files: process, imports: [foundation, composition] },
];

/** Layers whose files may import each other only where the table says so. */
const independent: ReadonlySet<string> = new Set(['foundation']);

const commandLine = /^src\/(admin\/|main\.ts)/;
const store =
  /^src\/(access|numbers|fleet|history|sync|alerts|webhooks|admin)\/([a-z]+-)?(store|queries)\.ts$/;

/** Which files may import a package. A package that is not listed may not be imported. */
const packages: readonly (readonly [name: RegExp, files: RegExp])[] = [
  [/^node:/, /^(src\/(?!board\/client\/)|migrations\/)/],
  [/^(preact(\/hooks)?|@preact\/signals|eventsource-parser)$/, /^src\/board\/client\//],
  [/^pino$/, /^src\/telemetry\.ts$/],
  [/^@opentelemetry\/api$/, /^src\/tracing\.ts$/],
  [/^kysely(\/|$)/, /^(src\/database\/|migrations\/)/],
  // What the demo has not observed, no store can record.
  [/^kysely$/, /^src\/demo\/past\.ts$/],
  [/^kysely$/, store],
  [/^(pg|@electric-sql\/pglite)$/, storage],
  [/^(graphql|graphql-yoga|@graphql-yoga\/.*|@pothos\/.*|dataloader)$/, /^src\/graphql\//],
  [/^cockatiel$/, /^src\/providers\//],
  [/^lru-cache$/, /^src\//],
  [/^rate-limiter-flexible$/, /^src\/access\/counters\.ts$/],
  [/^ipaddr\.js$/, /^src\/alerts\/endpoint-url\.ts$/],
  [/^standardwebhooks$/, /^src\/alerts\/signature\.ts$/],
  [/^prom-client$/, /^src\/metrics\.ts$/],
  [/^(commander|@commander-js\/extra-typings|cli-progress|cli-truncate)$/, commandLine],
  [/^(string-width|wrap-ansi)$/, commandLine],
  // For the version.
  [/^package\.json$/, commandLine],
  [/^package\.json$/, /^src\/metrics\.ts$/],
];

/** Everything that may be at the top level. */
const topLevel: ReadonlySet<string> = new Set(
  `package.json package-lock.json tsconfig.json src schema.graphql migrations test README.md
   .ci .gitignore Dockerfile .dockerignore`.split(/\s+/),
);

const rules = {
  'imports follow the layer table': (files) =>
    toImports(files).flatMap(({ from, clause, target }) => {
      if (!from.startsWith('src/') || !isOurs(target)) return [];
      const layer = layers.find((candidate) => candidate.files.test(from));
      if (layer === undefined) return [`${from} belongs to no layer`];
      const allowed =
        (!independent.has(layer.name) && layer.files.test(target)) ||
        layer.imports.some((pattern) => pattern.test(target)) ||
        isTypeAlone(clause, layer.types?.[target]);
      return allowed ? [] : [`${from} imports ${target}`];
    }),

  'imports follow the package table': (files) =>
    toImports(files).flatMap(({ from, target }) => {
      if (!/^(src|migrations)\//.test(from) || isOurs(target)) return [];
      const allowed = packages.some(
        ([name, importers]) => name.test(target) && importers.test(from),
      );
      return allowed ? [] : [`${from} imports ${target}`];
    }),

  'there are no import cycles': (files) => {
    const edges = toImports(files).filter(({ from, target }) => isOurs(target) && isOurs(from));
    const graph = Map.groupBy(edges, ({ from }) => from);
    return [...graph.keys()].flatMap((start) => {
      const cycle = findPath(graph, start, start);
      // Each cycle is reported once, from the first of its files.
      const isFirst = cycle?.every((file) => file >= start);
      return cycle !== undefined && isFirst ? [`cycle: ${cycle.join(' -> ')}`] : [];
    });
  },

  'a file name says what the file is for': (files) =>
    files
      .filter(({ path }) => path.startsWith('src/'))
      .filter(({ path }) =>
        path
          .split('/')
          .some((name) =>
            /^(index|utils?|helpers?|common|services?|types?|misc)(\.|$)/i.test(name),
          ),
      )
      .map(({ path }) => `${path} has a name that says nothing`),

  'a file has at most 400 lines': (files) =>
    files
      .filter(({ path }) => /^src\/.*\.[jt]s$/.test(path))
      .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > 400)
      .map(({ path, lines }) => `${path} has ${lines} lines`),

  'nothing is exported by default': forbid(
    /\bexport\s+default\b|\bexport\s*\{[^}]*\bas\s+default\b/,
    (path) => path.startsWith('src/'),
  ),

  'only config.ts reads the environment': forbid(
    /\bprocess\s*(\?\.|\.)\s*env\b|\bprocess\s*\[|\benv\b[^;]*from\s*['"]node:process['"]/,
    (path) => /^(src|migrations)\//.test(path) && path !== 'src/config.ts',
  ),

  'only telemetry.ts and the command line write to the console': forbid(
    /\bconsole\s*(\.|\[|\?\.)/,
    (path) =>
      /^(src|migrations)\//.test(path) && path !== 'src/telemetry.ts' && !commandLine.test(path),
  ),

  'the board writes text, never HTML': forbid(
    /\b(inner|outer|dangerouslySetInner)HTML\b|\binsertAdjacentHTML\b|\bdocument\s*\.\s*write|\beval\s*\(|\bnew\s+Function\b/,
    (path) => path.startsWith('src/board/client/'),
  ),

  'a store function takes the tenant or says that it looks across tenants': (files) =>
    files
      .filter(({ path }) => store.test(path))
      .flatMap(({ path, text }) => {
        const code = withoutComments(text);
        return toExportedFunctions(code)
          .filter(({ parameters }) => /\b(Database|\w*Transaction|Kysely)\b/.test(parameters))
          .filter(
            ({ name, parameters }) =>
              !name.endsWith('AcrossTenants') && !takesTenant(code, parameters),
          )
          .map(({ name }) => `${path} exports ${name}, which takes no tenantId`);
      }),

  'no test is skipped': forbid(
    /\b(it|test|describe|suite|bench)\b[\w.()[\]' ]*\.(skip|only|todo)\b/,
    (path) => path.startsWith('test/'),
  ),

  'no file contains a path of a machine': forbid(
    /(?<![\w.:/@*-])\/(home|root|Users|work|workspace|mnt)\/[\w.-]+|\b[A-Z]:\\(?!\\?[nrt"'])\w+/,
    // Paths in a Dockerfile are those of the image.
    (path) => path !== 'Dockerfile' && path !== '.dockerignore',
    (text) => text,
  ),

  'names and prose use the terms of the field': forbid(
    /\b(passages?|purses?|shel(f|ves)|farewells?|(?<!\bas )soon|pulses?|unread|witness(es)?|passengers?|straight way|doors?)\b/i,
    (path) => /^(src|test|README\.md)/.test(path) && path !== 'test/architecture.test.ts',
    (text) => splitIdentifiers(text).replaceAll(doorLabel, ''),
  ),

  'the name of a maximum begins with max': forbid(
    /\b(most|maximum|longest|largest)[A-Z]\w*/,
    (path) => /^(src|test)\//.test(path) && path !== 'test/architecture.test.ts',
  ),

  'the top level is closed': (files) =>
    [...new Set(files.map(({ path }) => path.split('/')[0] ?? ''))]
      .filter((entry) => !topLevel.has(entry))
      .map((entry) => `${entry} is at the top level`),
} as const satisfies Record<string, Rule>;

function forbid(
  pattern: RegExp,
  isInScope: (path: string) => boolean,
  toText: (text: string) => string = withoutComments,
): Rule {
  return (files) =>
    files
      .filter(({ path }) => isInScope(path))
      .flatMap(({ path, text }) => {
        const found = pattern.exec(toText(text))?.[0];
        return found === undefined ? [] : [`${path} has ${found.trim()}`];
      });
}

/** Separates the words of camelCase and snake_case identifiers by spaces. */
function splitIdentifiers(text: string): string {
  return text.replace(/([a-z\d])([A-Z])/g, '$1 $2').replaceAll('_', ' ');
}

// `door` is a label of gateway_request_duration_seconds, which is public.
const doorLabel = /'door'|\bdoor(?==|: )/g;

function isOurs(target: string): boolean {
  return /^(src|migrations|test)\/|^\.\./.test(target);
}

/** `import type { Access }` or `import { type Access }`, with no other name. */
function isTypeAlone(clause: string, name: string | undefined): boolean {
  const match = /^(type\s*\{\s*(\w+)|\{\s*type\s+(\w+))\s*,?\s*\}$/.exec(clause.trim());
  return name !== undefined && match !== null && (match[2] ?? match[3]) === name;
}

// Strings are matched first, so that a comment marker in a string is kept.
function withoutComments(text: string): string {
  return text.replace(
    /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, string: string | undefined) => string ?? ' ',
  );
}

// Static imports, re-exports, side effect imports, dynamic imports, and the type `import('…')`.
const importPattern =
  /^\s*(?:import|export)\s+([^'"`;()]*?)\s*from\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\s*\(\s*(?:['"`]([^'"`$]+)['"`])?|\brequire\s*\(\s*['"`]([^'"`]+)/gm;

function toImports(files: readonly SourceFile[]): readonly Import[] {
  return files
    .filter(({ path }) => /^(src|migrations)\/.*\.[cm]?[jt]sx?$/.test(path))
    .flatMap(({ path, text }) =>
      [...withoutComments(text).matchAll(importPattern)].flatMap((match) => {
        const specifier = match[2] ?? match[3] ?? match[4] ?? match[5];
        // The migrations are imported by listing their directory.
        if (specifier === undefined && path === 'src/database/tables.ts') return [];
        const target = toTarget(path, specifier ?? 'something that is known only at run time');
        return [{ from: path, clause: match[1] ?? '', target }];
      }),
    );
}

function toTarget(from: string, specifier: string): string {
  return specifier.startsWith('.')
    ? posix.normalize(posix.join(posix.dirname(from), specifier))
    : specifier;
}

function findPath(
  graph: ReadonlyMap<string, readonly Import[]>,
  from: string,
  to: string,
): readonly string[] | undefined {
  const ways: (readonly string[])[] = [[from]];
  const seen = new Set<string>();
  for (const way of ways) {
    for (const { target } of graph.get(way.at(-1) ?? from) ?? []) {
      if (target === to) return [...way, target];
      if (!seen.has(target)) ways.push([...way, target]);
      seen.add(target);
    }
  }
  return undefined;
}

function toExportedFunctions(code: string): readonly { name: string; parameters: string }[] {
  const heads = /\bexport\s+(?:async\s+)?(?:function\s*\*?\s*|const\s+|let\s+)(\w+)/g;
  return [...code.matchAll(heads)].flatMap((match) => {
    const rest = code.slice(match.index + match[0].length);
    const head = /^(?:<[^(]*>)?\s*(?::[^=]*)?(?:=\s*(?:async\s*)?(?:<[^(]*>)?\s*)?\(/.exec(rest);
    // The constant is not a function.
    if (head === null) return [];
    return [{ name: match[1] ?? '', parameters: toBalanced(rest.slice(head[0].length)) }];
  });
}

/** As a parameter, or as a member of an interface of the same file. */
function takesTenant(code: string, parameters: string): boolean {
  const member = /\btenantId\s*[:,}]/;
  const types = parameters.match(/\b[A-Z]\w*/g) ?? [];
  return [parameters, ...types.map((type) => toInterfaceBody(code, type))].some((text) =>
    member.test(text),
  );
}

function toInterfaceBody(code: string, name: string): string {
  return new RegExp(`\\binterface ${name}\\b[^{]*\\{([^}]*)`).exec(code)?.[1] ?? '';
}

/** The text up to the bracket that closes the one before the text. */
function toBalanced(text: string): string {
  let depth = 1;
  for (const { 0: bracket, index } of text.matchAll(/[()]/g)) {
    depth += bracket === '(' ? 1 : -1;
    if (depth === 0) return text.slice(0, index);
  }
  return text;
}

const root = fileURLToPath(new URL('..', import.meta.url));

function listFiles(): readonly string[] {
  try {
    const listed = ['ls-files', '--cached', '--others', '--exclude-standard', '-z'];
    const list = execFileSync('git', listed, { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] });
    return list.toString().split('\0').filter(Boolean);
  } catch {
    // An unpacked archive is not a git repository.
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => posix.relative(root, posix.join(entry.parentPath, entry.name)))
      .filter((path) => !/^(node_modules|\.git|\.data)\/|\.log$/.test(path));
  }
}

function readFiles(): readonly SourceFile[] {
  return listFiles().flatMap((path) => {
    try {
      return [{ path, text: readFileSync(posix.join(root, path), 'utf8') }];
    } catch {
      // Listed by git, but deleted.
      return [];
    }
  });
}

describe('the code base', () => {
  const files = readFiles();

  test('is read', () => {
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining(['src/errors.ts', 'test/architecture.test.ts', 'package.json']),
    );
    const targets = toImports(files).map(({ target }) => target);
    expect(targets).toEqual(expect.arrayContaining(['src/errors.ts', 'kysely', 'node:crypto']));
  });

  test.each(Object.entries(rules))('%s', (_, rule) => {
    expect(rule(files)).toEqual([]);
  });
});

type Planted = readonly [rule: keyof typeof rules, path: string, text: string];

// Broken up, or they would be found in this file.
const leave = (word: string) => `it${'.'}${word}('x', () => {})`;
const machinePath = (...names: readonly string[]) => ['', ...names].join('/');

const planted: readonly Planted[] = [
  ['imports follow the layer table', 'src/errors.ts', `import { parseConfig } from './config.ts'`],
  ['imports follow the layer table', 'src/config.ts', `import type { T } from './telemetry.ts'`],
  [
    'imports follow the layer table',
    'src/secrets.ts',
    `import { x } from './database/database.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/database/database.ts',
    `import { x } from '../access/store.ts'`,
  ],
  ['imports follow the layer table', 'src/access/access.ts', `import '../numbers/number.ts'`],
  [
    'imports follow the layer table',
    'src/access/key.ts',
    `import type { Health } from '../numbers/number.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/numbers/numbers.ts',
    `import { Access } from '../access/access.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/numbers/numbers.ts',
    `import type { Access, Tenant } from '../access/access.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/numbers/numbers.ts',
    `import { type Access, createAccessControl } from '../access/access.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/numbers/meta.ts',
    `import { x } from '../providers/meta/meta.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/providers/meta/meta.ts',
    `import { x } from '../../numbers/store.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/fleet/fleet.ts',
    `import { x } from '../numbers/number-store.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/providers/meta/account-reader.ts',
    `import { x } from '../../fleet/fleet.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/providers/pilot-status.ts',
    `import { x } from '../simulator/transport.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/simulator/graph.ts',
    `export * from '../access/access.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/graphql/number.ts',
    `import { x } from '../numbers/store.ts'`,
  ],
  [
    'imports follow the layer table',
    'src/numbers/numbers.ts',
    `import { createFleet } from '../fleet/fleet.ts'`,
  ],
  ['imports follow the layer table', 'src/fleet/fleet.ts', `import '../numbers/status-store.ts'`],
  ['imports follow the layer table', 'src/rest/fleet.ts', `import '../fleet/fleet-queries.ts'`],
  [
    'imports follow the layer table',
    'src/graphql/server.ts',
    `await import('../database/database.ts')`,
  ],
  ['imports follow the layer table', 'src/graphql/server.ts', `import { x } from '../rest/a.ts'`],
  [
    'imports follow the layer table',
    'src/rest/numbers.ts',
    `export {\n  x,\n} from '../access/store.ts'`,
  ],
  ['imports follow the layer table', 'src/rest/routes.ts', `type A = import('../gateway.ts').A`],
  ['imports follow the layer table', 'src/gateway.ts', `import { listen } from './http/server.ts'`],
  [
    'imports follow the layer table',
    'src/http/server.ts',
    `import { x } from '../numbers/numbers.ts'`,
  ],
  ['imports follow the package table', 'src/gateway.ts', `import p from '../package.json'`],
  [
    'imports follow the layer table',
    'src/board/board.ts',
    `import { x } from '../http/request-context.ts'`,
  ],
  ['imports follow the layer table', 'src/board/page.ts', `import './client/main.ts'`],
  ['imports follow the layer table', 'src/gateway.ts', `import './board/client/main.ts'`],
  [
    'imports follow the layer table',
    'src/board/client/api.ts',
    `import { x } from '../../errors.ts'`,
  ],
  ['imports follow the package table', 'src/board/client/api.ts', `import 'node:fs'`],
  ['imports follow the package table', 'src/board/board.ts', `import { h } from 'preact'`],
  ['imports follow the layer table', 'src/attic/thing.ts', `import '../errors.ts'`],
  ['imports follow the layer table', 'src/gateway.ts', `import { x } from '../test/harness.ts'`],
  ['imports follow the package table', 'src/access/access.ts', `import { sql } from 'kysely'`],
  ['imports follow the package table', 'src/numbers/store.ts', `import pg from 'pg'`],
  ['imports follow the package table', 'src/gateway.ts', `import('@electric-sql/pglite')`],
  ['imports follow the package table', 'src/rest/routes.ts', `import { parse } from 'graphql'`],
  ['imports follow the package table', 'src/numbers/numbers.ts', `import D from 'dataloader'`],
  ['imports follow the package table', 'src/errors.ts', `import { pino } from 'pino'`],
  ['imports follow the package table', 'src/demo/demo.ts', `import T from 'cli-truncate'`],
  ['imports follow the package table', 'src/secrets.ts', `import _ from 'lodash'`],
  ['imports follow the package table', 'src/secrets.ts', `const x = require('lodash')`],
  ['imports follow the package table', 'src/secrets.ts', `await import(name)`],
  ['imports follow the package table', 'migrations/0001_x.ts', `import pg from 'pg'`],
  [
    'there are no import cycles',
    'src/graphql/a.ts',
    `import { b } from './b.ts'\nimport type { a } from './a.ts'`,
  ],
  ['a file name says what the file is for', 'src/graphql/index.ts', ''],
  ['a file name says what the file is for', 'src/utils/time.ts', ''],
  ['a file name says what the file is for', 'src/rest/helpers.ts', ''],
  ['a file name says what the file is for', 'src/numbers/common.ts', ''],
  ['a file name says what the file is for', 'src/services/numbers.ts', ''],
  ['a file name says what the file is for', 'src/numbers/types.ts', ''],
  ['a file name says what the file is for', 'src/misc.ts', ''],
  ['a file has at most 400 lines', 'src/errors.ts', 'x\n'.repeat(401)],
  ['nothing is exported by default', 'src/errors.ts', 'export default function f() {}'],
  ['nothing is exported by default', 'src/errors.ts', 'export { f as default }'],
  [
    'only config.ts reads the environment',
    'src/database/database.ts',
    `const p = process.env['PORT']`,
  ],
  ['only config.ts reads the environment', 'src/rest/routes.ts', 'const { env } = process.env'],
  ['only config.ts reads the environment', 'src/main.ts', `import { env } from 'node:process'`],
  [
    'only telemetry.ts and the command line write to the console',
    'src/gateway.ts',
    `console.log('x')`,
  ],
  ['the board writes text, never HTML', 'src/board/client/main.ts', `a.innerHTML = name`],
  [
    'the board writes text, never HTML',
    'src/board/client/main.ts',
    `h('p', { dangerouslySetInnerHTML: { __html: name } })`,
  ],
  [
    'a store function takes the tenant or says that it looks across tenants',
    'src/numbers/store.ts',
    'export async function listNumbers(database: Database): Promise<void> {}',
  ],
  [
    'a store function takes the tenant or says that it looks across tenants',
    'src/access/store.ts',
    'export const findKey = async (database: Database, tenantIds: string[]) => null',
  ],
  [
    'a store function takes the tenant or says that it looks across tenants',
    'src/access/store.ts',
    'export function find<T>(database: Database, load: (tenant: string) => T): T {}',
  ],
  [
    'a store function takes the tenant or says that it looks across tenants',
    'src/access/store.ts',
    `interface Asked { readonly id: string }
     interface Other { readonly tenantId: string }
     export function find(transaction: TenantTransaction, asked: Asked): Other {}`,
  ],
  ['no test is skipped', 'test/x.test.ts', leave('skip')],
  ['no test is skipped', 'test/x.test.ts', leave('only')],
  ['no test is skipped', 'test/x.test.ts', leave('todo')],
  ['no test is skipped', 'test/x.test.ts', leave('concurrent.only')],
  ['no file contains a path of a machine', 'README.md', `see ${machinePath('home', 'me', 'x')}`],
  ['no file contains a path of a machine', 'src/main.ts', `// ${machinePath('work', 'x')}`],
  ['no file contains a path of a machine', 'test/a.ts', `'C:${'\\'}Users${'\\'}me'`],
  ['names and prose use the terms of the field', 'src/http/pipeline.ts', '// The passage.'],
  ['names and prose use the terms of the field', 'src/gateway.ts', 'function findDoor() {}'],
  ['names and prose use the terms of the field', 'src/metrics.ts', 'const door = 1'],
  ['names and prose use the terms of the field', 'test/a.test.ts', `test('it ends soon', f)`],
  ['names and prose use the terms of the field', 'README.md', 'Go the straight way.'],
  ['the name of a maximum begins with max', 'src/http/server.ts', 'const longestWaitMs = 1'],
  ['the name of a maximum begins with max', 'test/faults/load.ts', 'maximumRate()'],
  ['the top level is closed', 'docs/readme.md', ''],
  ['the top level is closed', '.env', 'A=1'],
];

/** A file beside the planted one, so that it can be imported. */
const surroundings: readonly SourceFile[] = [
  { path: 'src/graphql/b.ts', text: `import { a } from './a.ts'` },
];

describe('a planted violation', () => {
  test.each(planted)('of "%s" is found in %s', (rule, path, text) => {
    expect(rules[rule]([...surroundings, { path, text }])).toHaveLength(1);
  });

  test('exists for every rule', () => {
    expect([...new Set(planted.map(([rule]) => rule))]).toEqual(Object.keys(rules));
  });
});

const legal: readonly SourceFile[] = [
  {
    path: 'src/errors.ts',
    text: `// import { x } from './gateway.ts'\n/* process.env */ const a = 1`,
  },
  { path: 'src/config.ts', text: `import { x } from './errors.ts'\nexport const e = process.env` },
  { path: 'src/telemetry.ts', text: `import { pino } from 'pino'\nconsole.error('x')` },
  {
    path: 'src/database/tables.ts',
    text: `import pg from 'pg'\nawait import(new URL(file).href)`,
  },
  {
    path: 'src/numbers/refresh.ts',
    text: `import type { Access } from '../access/access.ts'\nimport { a } from './store.ts'`,
  },
  {
    path: 'src/numbers/store.ts',
    text: `import { sql } from 'kysely'
      export interface Row { readonly id: string }
      export const columns = ['id'] as const
      export const toKey = ({ id }: Row) => id
      export interface Wish { readonly tenantId: string }
      export const findWish = async (database: Database, wish: Wish) => null
      export async function findNumber<T>(
        database: Database,
        tenantId: string,
        toValue: (row: Row) => T,
      ): Promise<T> { return await load(database) }
      export function listAllAcrossTenants(database: Database): void {}
      function load(database: Database): void {}`,
  },
  {
    path: 'src/graphql/server.ts',
    text: `import { x } from 'graphql-yoga'\nimport {\n  type Numbers,\n} from '../numbers/numbers.ts'`,
  },
  { path: 'src/gateway.ts', text: `import { x } from './numbers/store.ts'` },
  {
    path: 'src/admin/commands.ts',
    text: `import T from 'cli-truncate'\nimport { x } from '../gateway.ts'`,
  },
  {
    path: 'src/main.ts',
    text: `import { x } from './admin/commands.ts'\nimport { y } from './http/server.ts'`,
  },
  { path: 'test/a.test.ts', text: `import { test } from 'vitest'\ntest.each([1])('x', () => {})` },
  { path: 'src/metrics.ts', text: `const labels = ['door']\nconst series = { door: 'rest' }` },
  { path: 'src/http/server.ts', text: 'const maxWaitMs = 1 // as soon as possible, at most once' },
  { path: 'README.md', text: 'see https://example.com/home/page and /etc/hosts' },
];

test.each(Object.entries(rules))('legal files pass the rule: %s', (_, rule) => {
  expect(rule(legal)).toEqual([]);
});
