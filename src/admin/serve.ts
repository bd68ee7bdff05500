// Owns the command that serves, from the opened gateway to the last answer. How requests come in is left to whoever
// gives `listen`.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { type Config, ConfigurationError } from '../config.ts';
import type { DemoAnnouncement } from '../demo.ts';
import type { Gateway } from '../gateway.ts';
import { openMigratedGateway, readConfig } from './opening.ts';
import type { Session } from './session.ts';

/** Rejects when the address cannot be had. */
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
    .summary('answer requests; the default')
    .description(
      'Answer requests over GraphQL and REST until told to stop by SIGTERM or SIGINT; what is under way is finished first, and a second signal ends it at once. Without DATABASE_URL it is a demo with a database, a fleet of numbers and a simulated Meta of its own.',
    )
    .action(() => serve(session, listen));
}

async function serve(session: Session, listen: Listen): Promise<void> {
  const { terminal } = session;
  await using opened = await openMigratedGateway(readConfig(terminal), terminal);
  const { config, gateway, seed } = opened;
  const announcement = seed === null ? null : await seed();
  if (config.mode === 'production') await warnOfPower(gateway);
  const server = await listen(gateway, {
    host: config.host,
    port: config.port,
    // A person who tries things out has no balancer that must learn that we are leaving.
    noticeMs: config.mode === 'demo' ? 0 : 1_000,
  }).catch((error: unknown) => {
    throw toAddressError(error, config);
  });
  void gateway.database.warm();
  gateway.telemetry.info('listening', { url: server.url, mode: config.mode });
  announce(session, server.url, config, announcement);
  await untilAborted(terminal.signal);
  gateway.telemetry.info('draining');
  await server.drain();
  gateway.telemetry.info('stopped');
}

// The filters on the tenant still hold, but the belt to these braces is off.
async function warnOfPower({ database, telemetry }: Gateway): Promise<void> {
  const { role } = await database.inspect();
  if (!role.superuser && !role.bypassesRowSecurity) return;
  telemetry.warn('the login role is above row-level security; run doctor', { role: role.name });
}

const addressProblems: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use; stop what listens there, or set PORT to another port, 0 for a free one',
  EACCES: 'may not be had by this user; set PORT to a port above 1023',
  EADDRNOTAVAIL: 'is not an address of this machine; set HOST to one that is, or to 0.0.0.0',
  ENOTFOUND: 'is not known; set HOST to an address of this machine',
};

function toAddressError(error: unknown, { host, port }: Config): unknown {
  const problem = addressProblems[(error as NodeJS.ErrnoException).code ?? ''];
  return problem === undefined
    ? error
    : new ConfigurationError([`PORT ${port} at HOST ${host} ${problem}`]);
}

function announce(
  session: Session,
  url: string,
  config: Config,
  announcement: DemoAnnouncement | null,
): void {
  if (announcement === null) {
    session.answer({ url }, () => `Listening at ${url}`);
    return;
  }
  const page = config.graphiql ? `${url}/graphql` : null;
  if (session.wantsJson()) {
    session.answer({ url, graphiql: page, ...announcement }, () => '');
    return;
  }
  // Not JSON in a pipe either: the keys and commands are meant to be copied out of whatever shows this.
  session.terminal.stdout.write(toDemoText(url, page, config.dataDirectory, announcement));
}

function toDemoText(
  url: string,
  page: string | null,
  directory: string,
  demo: DemoAnnouncement,
): string {
  const { tenantName, tenantKey, numberKey, numberId } = demo;
  const query = `query($id: ID!) { number(id: $id, refresh: true) { name state health { qualityRating sendability { verdict } } meta { waba { name } } } }`;
  const body = JSON.stringify({ query, variables: { id: numberId } });
  return `
Numbers gateway, demo: ${url}
Its data is in ${directory}; upstreams that are not configured are simulated.

  tenant key  ${tenantKey}   all numbers of ${tenantName}
  number key  ${numberKey}   bound to one of them
${page === null ? '' : `  GraphiQL    ${page}   in a browser; the key is filled in\n`}
REST, the list, then one number read live:
  curl -s ${url}/v1/numbers -H 'x-api-key: ${tenantKey}'
  curl -s '${url}/v1/numbers/${numberId}?refresh=1' -H 'x-api-key: ${tenantKey}'

GraphQL, the same number read live:
  curl -s ${url}/graphql -H 'content-type: application/json' -H 'x-api-key: ${tenantKey}' -d '${body}'

Stop with Ctrl-C; the data and the keys stay.

`;
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener('abort', resolve, { once: true });
  });
}
