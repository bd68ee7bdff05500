// The commands `serve` and `migrate`: the server from startup to shutdown, and the migration of its database.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { type Config, ConfigurationError } from '../config.ts';
import type { DemoAnnouncement } from '../demo/demo.ts';
import type { Gateway } from '../gateway.ts';
import {
  openGateway,
  openMigratedGateway,
  readCommandConfig,
  readConfig,
  type Session,
} from './session.ts';

/** Starts the HTTP server. Rejects when it cannot listen on the address. */
export type Listen = (
  gateway: Gateway,
  options: { readonly host: string; readonly port: number; readonly noticeMs: number },
) => Promise<{ readonly url: string; drain(): Promise<void> }>;

export function addServeCommand(
  program: CommandUnknownOpts,
  session: Session,
  listen: Listen,
): void {
  program
    .command('serve')
    .summary('start the server (default)')
    .description(
      'Serve GraphQL and REST. The first SIGTERM or SIGINT stops the server after it has answered the requests in flight; a second one stops it at once. Without DATABASE_URL it runs as a demo, with an embedded database, demo numbers and a simulated Meta.',
    )
    .action(() => serve(session, listen));
}

export function addMigrateCommand(program: CommandUnknownOpts, session: Session): void {
  program
    .command('migrate')
    .summary('apply the pending database migrations')
    .description(
      'Apply the pending database migrations. The role in DATABASE_URL must own the tables. It is safe to run this repeatedly, and while the gateway is serving.',
    )
    .action(async () => {
      const { terminal, print } = session;
      await using opened = await openGateway(readCommandConfig(terminal), terminal);
      const applied = await opened.gateway.database.migrate();
      print({ applied }, () =>
        applied.length === 0
          ? 'The database is up to date.'
          : [`Applied ${applied.length} migration(s):`, ...applied].join('\n  '),
      );
    });
}

async function serve(session: Session, listen: Listen): Promise<void> {
  const { terminal } = session;
  await using opened = await openMigratedGateway(readConfig(terminal), terminal);
  const { config, gateway, seed, play } = opened;
  const demo = seed === null ? null : await seed();
  if (config.mode === 'production') await warnOfPrivilegedRole(gateway);
  const server = await listen(gateway, {
    host: config.host,
    port: config.port,
    // In demo mode no load balancer has to notice that the process is draining.
    noticeMs: config.mode === 'demo' ? 0 : 1_000,
  }).catch((error: unknown) => {
    throw explainListenError(error, config);
  });
  void gateway.database.warm();
  gateway.startJobs();
  await using running = new AsyncDisposableStack();
  running.use(play?.() ?? null);
  gateway.telemetry.info('listening', { url: server.url, mode: config.mode });
  announce(session, server.url, config, demo);
  await untilAborted(terminal.signal);
  gateway.telemetry.info('draining');
  await server.drain();
  gateway.telemetry.info('stopped');
}

// Such a role can bypass row-level security; only the tenant conditions of the queries are left to separate tenants.
async function warnOfPrivilegedRole({ database, telemetry }: Gateway): Promise<void> {
  const { role } = await database.inspect();
  if (!role.superuser && !role.bypassesRowSecurity) return;
  telemetry.warn('the login role bypasses row-level security; run doctor', { role: role.name });
}

const listenProblems: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'is already in use; stop the process that uses it, or set PORT to another port, or to 0 for any free port',
  EACCES: 'is not permitted for this user; set PORT to a port above 1023',
  EADDRNOTAVAIL:
    'is not an address of this machine; set HOST to one of its addresses, or to 0.0.0.0 for all',
  ENOTFOUND: 'cannot be resolved; set HOST to an address of this machine',
};

function explainListenError(error: unknown, { host, port }: Config): unknown {
  const problem = listenProblems[(error as NodeJS.ErrnoException).code ?? ''];
  return problem === undefined
    ? error
    : new ConfigurationError([`PORT ${port} at HOST ${host} ${problem}`]);
}

function announce(
  session: Session,
  url: string,
  config: Config,
  demo: DemoAnnouncement | null,
): void {
  if (demo === null) {
    session.print({ url }, () => `Listening on ${url}`);
    return;
  }
  const board = config.board ? `${url}/board` : null;
  const graphiql = config.graphiql ? `${url}/graphql` : null;
  if (session.wantsJson()) {
    session.print({ url, board, graphiql, ...demo }, () => '');
    return;
  }
  // Text in a pipe too: the keys and commands are for a person to copy.
  session.terminal.stdout.write(formatDemo({ url, board, graphiql }, config.dataDirectory, demo));
}

interface Addresses {
  readonly url: string;
  /** Null if there is no such page. */
  readonly board: string | null;
  readonly graphiql: string | null;
}

function formatDemo(
  { url, board, graphiql }: Addresses,
  directory: string,
  demo: DemoAnnouncement,
): string {
  const { tenantName, tenantKey, numberKey, numberId, fleetName, fleetKey } = demo;
  const query = `query($id: ID!) { number(id: $id, refresh: true) { name state health { qualityRating sendability { verdict } } meta { waba { name } } } }`;
  const body = JSON.stringify({ query, variables: { id: numberId } });
  return `
${
  board === null
    ? ''
    : `Board: ${board}   open in a browser; the key is filled in
`
}Numbers gateway demo: ${url}
Data is stored in ${directory}. Upstreams that are not configured are simulated.

  tenant key  ${tenantKey}   all numbers of ${tenantName}
  number key  ${numberKey}   bound to one number
  fleet key   ${fleetKey}   1,000 numbers of ${fleetName}
${graphiql === null ? '' : `  GraphiQL    ${graphiql}   open in a browser; the key is filled in\n`}
Watch what happens; something does about once a minute:
  GATEWAY_KEY=${tenantKey} npm run -s gateway -- fleet watch --url ${url}

REST: list the numbers, then refresh one:
  curl -s ${url}/v1/numbers -H 'x-api-key: ${tenantKey}'
  curl -s '${url}/v1/numbers/${numberId}?refresh=1' -H 'x-api-key: ${tenantKey}'

GraphQL: refresh the same number:
  curl -s ${url}/graphql -H 'content-type: application/json' -H 'x-api-key: ${tenantKey}' -d '${body}'

A fleet: filter, order, page and count 1,000 numbers:
  curl -s '${url}/v1/fleet?verdict=NO,UNKNOWN&limit=5&include=facets' -H 'x-api-key: ${fleetKey}'

Press Ctrl-C to stop. The data and the keys are kept.

`;
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener('abort', resolve, { once: true });
  });
}
