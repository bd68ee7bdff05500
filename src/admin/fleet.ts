// The commands that filter, order and count the numbers of a tenant.

import { type CommandUnknownOpts, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { FleetConditions, FleetFilter } from '../fleet/filter.ts';
import { type FleetCounts, type FleetRequest, maxPageSize } from '../fleet/fleet.ts';
import {
  defaultDirectionOf,
  defaultOrder,
  directions,
  type FleetOrder,
  type FleetOrderField,
  orderFields,
} from '../fleet/order.ts';
import type { Gateway } from '../gateway.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { fullProjection } from '../numbers/projection.ts';
import { connectionStates, providers } from '../numbers/provider.ts';
import { verdicts } from '../numbers/reason.ts';
import { writeOutdatedOfTenant } from '../numbers/status-upkeep.ts';
import { wordsOf } from '../rest/fleet-schemas.ts';
import { parseDate, parseId, parseLimit, parseWords, splitList } from './arguments.ts';
import { numberColumns, toListJson, toTone } from './number-json.ts';
import { type Session, withGateway } from './session.ts';
import { type Column, formatCount, formatTable, toLayout } from './table.ts';

const examples = `
Examples:
  $ numbers-gateway number list --tenant ten_… --verdict NO,UNKNOWN --order-by ATTENTION
  $ numbers-gateway number list --tenant ten_… --quality-rating RED --limit 20 --json`;

/** Returns the command group `fleet`, for further commands. */
export function addFleetCommands(
  program: CommandUnknownOpts,
  number: CommandUnknownOpts,
  session: Session,
): CommandUnknownOpts {
  addFilters(number.command('list'))
    .summary('list the numbers of a tenant')
    .description('List the numbers of a tenant from the database, oldest first.')
    .addOption(
      new Option('--order-by <field>', 'order; ATTENTION lists the worst first').choices(
        orderFields,
      ),
    )
    .addOption(
      new Option('--direction <direction>', 'ASC or DESC; ASC for NAME, otherwise DESC').choices(
        directions,
      ),
    )
    .option('--limit <count>', 'how many numbers to list', parseLimit)
    .addHelpText('after', examples)
    .action((...args) => list(args[0] as ListOptions, session));
  const fleet = program
    .command('fleet')
    .summary('count the numbers of a tenant')
    .description('Count the numbers of a tenant.');
  addFilters(fleet.command('summary'))
    .summary('count the numbers of a tenant by verdict, quality, account and more')
    .description(
      'Count the numbers of a tenant by verdict, quality, account and more. Each count ignores the filter that has its name. Of the accounts and of the portfolios, the 20 with the most numbers are counted.',
    )
    .action((...args) => summarize(args[0] as FilterOptions, session));
  return fleet;
}

/** The values of the options, by their names in camel case. */
type FilterOptions = Readonly<Record<string, unknown>> & { readonly tenant: string };

type ListOptions = FilterOptions & {
  readonly orderBy?: FleetOrderField;
  readonly direction?: FleetOrder['direction'];
  readonly limit?: number;
};

interface FilterOption {
  readonly name: string;
  readonly member: keyof FleetConditions;
  /** The name of its value; null for one that is set or not. */
  readonly value: string | null;
  readonly description: string;
  readonly parse: (text: string) => unknown;
}

const filterOptions: readonly FilterOption[] = [
  {
    name: 'search',
    member: 'search',
    value: 'text',
    description: 'part of the name, or digits of the number',
    parse: (text) => text,
  },
  toListOption('id', 'ids', 'ids of numbers'),
  toWordOption('provider', 'providers', 'META, PILOT_STATUS', providers),
  toWordOption('state', 'states', 'OPEN, CONNECTING, CLOSE', connectionStates),
  toWordOption('verdict', 'verdicts', 'YES, NO, UNKNOWN: can it start conversations', verdicts),
  toWordOption('reply-verdict', 'replyVerdicts', 'YES, NO, UNKNOWN: can it reply', verdicts),
  toWordOption(
    'quality-rating',
    'qualityRatings',
    'Meta’s rating: GREEN, YELLOW, RED, …',
    wordsOf('QualityRating'),
  ),
  toWordOption(
    'meta-status',
    'metaStatuses',
    'Meta’s status: CONNECTED, BANNED, …',
    wordsOf('MetaStatus'),
  ),
  toWordOption(
    'messaging-limit-tier',
    'messagingLimitTiers',
    'Meta’s limit: TIER_250, TIER_2K, …',
    wordsOf('MessagingLimitTier'),
  ),
  toListOption('waba-id', 'wabaIds', 'Meta’s ids of accounts'),
  toListOption('portfolio-id', 'portfolioIds', 'Meta’s ids of business portfolios'),
  toFlagOption('stale', 'values older than an hour, or never read'),
  toFlagOption('failing', 'the last attempt to read failed'),
  toFlagOption('restricted', 'Meta’s status is RESTRICTED'),
  {
    name: 'changed-since',
    member: 'changedSince',
    value: 'time',
    description: 'the verdict or the state has changed since',
    parse: (text) => parseDate(text).toISOString(),
  },
];

/** What a flag means when it is not set. */
const oppositeOf: Readonly<Record<string, string>> = {
  stale: 'values of the last hour',
  failing: 'the last attempt to read succeeded',
  restricted: 'Meta’s status is another one',
};

function toListOption(
  name: string,
  member: FilterOption['member'],
  description: string,
): FilterOption {
  return { name, member, value: 'ids', description, parse: splitList };
}

function toWordOption(
  name: string,
  member: FilterOption['member'],
  description: string,
  words: readonly string[],
): FilterOption {
  return { name, member, value: 'words', description, parse: parseWords(words) };
}

function toFlagOption(name: 'stale' | 'failing' | 'restricted', description: string): FilterOption {
  return { name, member: name, value: null, description, parse: (text) => parseFlag(name, text) };
}

function addFilters(command: CommandUnknownOpts): CommandUnknownOpts {
  command.requiredOption('--tenant <id>', 'tenant of the numbers', parseId);
  for (const { name, value, description, parse } of filterOptions) {
    if (value !== null) command.option(`--${name} <${value}>`, description, parse);
    else command.option(`--${name}`, description).option(`--no-${name}`, oppositeOf[name]);
  }
  return command.option(
    '--not <filter>',
    'leave out numbers that match all of these, such as: --not verdict=YES --not stale; can be repeated',
    parseExclusion,
  );
}

function parseFlag(name: string, text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InvalidArgumentError(`Use ${name}, ${name}=true or ${name}=false.`);
}

/** `verdict=YES`, or a flag. */
function parseExclusion(text: string, before: FleetConditions = {}): FleetConditions {
  const [given = '', ...values] = text.split('=');
  const option = filterOptions.find(({ name }) => name === given);
  if (option === undefined) {
    const names = filterOptions.map(({ name }) => name).join(', ');
    throw new InvalidArgumentError(`There is no filter ${given}. Use one of ${names}.`);
  }
  const { name, member, value, parse } = option;
  if (values.length === 0 && value !== null) {
    throw new InvalidArgumentError(`Use ${name} with a value: ${name}=…`);
  }
  return { ...before, [member]: values.length === 0 ? true : parse(values.join('=')) };
}

function toFilter({ not, ...options }: FilterOptions): FleetFilter {
  const entries = filterOptions.map(({ name, member }) => [member, options[toCamelCase(name)]]);
  return { ...Object.fromEntries(entries), not: not as FleetConditions | undefined };
}

/** The name under which commander keeps the value of an option. */
function toCamelCase(name: string): string {
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

async function list(options: ListOptions, session: Session): Promise<void> {
  const { tenant } = options;
  const isWhole = Object.values({ ...options, tenant: undefined }).every((it) => it === undefined);
  await withGateway(session, async (gateway) => {
    await gateway.access.getTenant(tenant);
    const listed = isWhole
      ? await gateway.numbers.list(toOperatorAccess(tenant))
      : await listMatching(gateway, options);
    const advice = isWhole
      ? 'The tenant has no numbers. Add one with: number add'
      : 'No number of the tenant matches.';
    session.printTable(listed.map(toListJson), numberColumns, advice);
  });
}

const nothing = { facets: false, wabas: null, portfolios: null } as const;

async function listMatching(
  { fleet, database }: Gateway,
  options: ListOptions,
): Promise<readonly WhatsAppNumber[]> {
  const { tenant, limit = Infinity, orderBy } = options;
  await writeOutdatedOfTenant(database, tenant);
  const listed: WhatsAppNumber[] = [];
  // Without an order, the oldest come first, as in the list of all.
  const ofField = orderBy === undefined ? 'ASC' : defaultDirectionOf(orderBy);
  const request: FleetRequest = {
    filter: toFilter(options),
    order: { field: orderBy ?? 'CREATED_AT', direction: options.direction ?? ofField },
    selection: { ...nothing, page: true, projection: fullProjection },
  };
  let after: string | null = null;
  do {
    const first = Math.min(maxPageSize, limit - listed.length);
    // oxlint-disable-next-line no-await-in-loop -- a page has the cursor of the next one
    const page = await fleet.list(toOperatorAccess(tenant), { ...request, first, after });
    listed.push(...page.edges.map(({ node }) => node).filter((node) => node !== null));
    after = page.hasNextPage ? (page.edges.at(-1)?.cursor ?? null) : null;
  } while (after !== null && listed.length < limit);
  return listed;
}

async function summarize(options: FilterOptions, session: Session): Promise<void> {
  const { tenant } = options;
  await withGateway(session, async ({ access, fleet, database }) => {
    await access.getTenant(tenant);
    await writeOutdatedOfTenant(database, tenant);
    const { asOf, counts } = await fleet.list(toOperatorAccess(tenant), {
      filter: toFilter(options),
      order: defaultOrder,
      selection: { facets: true, wabas: 20, portfolios: 20, page: false, projection: null },
    });
    // They were selected.
    const { totalCount: total, facets, wabas, portfolios } = counts!;
    session.print(
      { asOf, total, facets: { ...facets, waba: wabas, portfolio: portfolios } },
      () => {
        const layout = toLayout(session.terminal.stdout);
        return `${formatTable(toRows(counts!), summaryColumns, layout)}\n\n${formatCount(total, 'number')} ${total === 1 ? 'matches' : 'match'}.`;
      },
    );
  });
}

interface SummaryRow {
  readonly facet: string;
  readonly value: string;
  readonly count: number;
}

function toRows({ facets, wabas, portfolios }: FleetCounts): readonly SummaryRow[] {
  const { stale, failing, restricted, ...words } = facets;
  const ofWords = Object.entries(words).flatMap(([facet, counts]) =>
    counts.map(({ value, count }) => ({ facet, value, count })),
  );
  const ofFlags = Object.entries({ stale, failing, restricted }).map(([facet, count]) => ({
    facet,
    value: 'true',
    count,
  }));
  const ofAccounts = wabas.map(({ id, name, count }) => ({
    facet: 'waba',
    value: name === null ? id : `${id} ${name}`,
    count,
  }));
  const ofPortfolios = portfolios.map(({ id, name, messagingLimitTier, count }) => ({
    facet: 'portfolio',
    value: [id, name, messagingLimitTier].filter((part) => part !== null).join(' '),
    count,
  }));
  return [...ofWords, ...ofFlags, ...ofAccounts, ...ofPortfolios];
}

const summaryColumns: readonly Column<SummaryRow>[] = [
  { title: 'facet', cell: ({ facet }) => facet },
  { title: 'value', cell: ({ value }) => value, tone: ({ value }) => toTone(value), minWidth: 12 },
  { title: 'numbers', cell: ({ count }) => String(count) },
];
