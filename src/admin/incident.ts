// The commands `incident list` and `incident acknowledge`.

import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { maxPageSize } from '../alerts/incidents.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toIncidentJson } from '../rest/incidents.ts';
import { parseId, parseLimit } from './arguments.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatTime, toPrintable } from './table.ts';

export function addIncidentCommands(program: CommandUnknownOpts, session: Session): void {
  const incident = program
    .command('incident')
    .summary('see and acknowledge incidents')
    .description('See what is wrong with the numbers of a tenant, and say that you look after it.');
  addList(incident, session);
  addAcknowledge(incident, session);
}

const states = { open: 'OPEN', closed: 'CLOSED', all: null } as const;

function addList(incident: CommandUnknownOpts, session: Session): void {
  incident
    .command('list')
    .summary('list incidents, newest first')
    .description('List the incidents of a tenant, newest first.')
    .requiredOption('--tenant <id>', 'tenant of the incidents', parseId)
    .addOption(
      new Option('--state <state>', 'which ones')
        .choices(Object.keys(states) as (keyof typeof states)[])
        .default('open' as const),
    )
    .option('--limit <count>', `how many, at most ${maxPageSize}`, parseLimit, 50)
    .action(({ tenant, state, limit: first }) =>
      withGateway(session, async ({ access, incidents }) => {
        await access.getTenant(tenant);
        const request = { state: states[state], first, counted: false };
        const { edges } = await incidents.list(toOperatorAccess(tenant), request);
        const listed = edges.map(({ node }) => toIncidentJson(node));
        session.printTable(listed, columns, 'The tenant has no such incidents.');
      }),
    );
}

function addAcknowledge(incident: CommandUnknownOpts, session: Session): void {
  incident
    .command('acknowledge')
    .summary('say that somebody looks after an incident')
    .description(
      'Say that somebody looks after an incident. Endpoints that have not accepted the message about its beginning are not sent it any more. It stays open until its cause is gone.',
    )
    .argument('<id>', 'id of the incident, from: incident list', parseId)
    .requiredOption('--tenant <id>', 'tenant of the incident', parseId)
    .option('--note <text>', 'what others should know')
    .action((id, { tenant, note = null }) =>
      withGateway(session, async ({ access, incidents }) => {
        await access.getTenant(tenant);
        const found = await incidents.acknowledge(toOperatorAccess(tenant), { id, note });
        session.print(toIncidentJson(found), () => `Acknowledged ${id}: ${found.text}`);
      }),
    );
}

const columns: readonly Column<ReturnType<typeof toIncidentJson>>[] = [
  { title: 'id', cell: ({ id }) => id },
  {
    title: 'severity',
    cell: ({ severity }) => severity,
    tone: ({ severity, state }) => (severity === 'CRITICAL' && state === 'OPEN' ? 'bad' : null),
  },
  { title: 'rule', cell: ({ rule }) => rule },
  { title: 'about', cell: ({ subjectName }) => toPrintable(subjectName), minWidth: 12 },
  { title: 'numbers', cell: ({ numberCount }) => String(numberCount), omitOrder: 3 },
  { title: 'opened', cell: ({ openedAt }) => formatTime(openedAt) },
  {
    title: 'closed',
    cell: ({ closedAt }) => (closedAt === null ? null : formatTime(closedAt)),
    omitOrder: 2,
  },
  {
    title: 'acknowledged',
    cell: ({ acknowledgedAt }) => (acknowledgedAt === null ? null : formatTime(acknowledgedAt)),
    omitOrder: 1,
  },
];
