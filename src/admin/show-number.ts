// The command `number show`, which prints everything that is stored about a number.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Gateway } from '../gateway.ts';
import type { HealthStatus } from '../numbers/meta-values.ts';
import type { Freshness } from '../numbers/number.ts';
import { listAddresses } from '../numbers/number-queries.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toFailureText } from '../numbers/provider.ts';
import type { Reason } from '../numbers/reason.ts';
import { parseId } from './arguments.ts';
import { toDetailJson, toTone } from './number-json.ts';
import { type Session, withGateway } from './session.ts';
import { type Field, formatAge, formatFields, formatTime, type Layout, toLayout } from './table.ts';

export function addShowCommand(group: CommandUnknownOpts, session: Session): void {
  group
    .command('show')
    .summary('show everything that is stored about a number')
    .description(
      'Show everything that is stored about a number: whether it can send and why, what Meta reported, and how old that is. This reads the database only; for new values run: number refresh ID',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .action((id) =>
      withGateway(session, async (gateway) => {
        session.print(await readNumber(gateway, id), (number) =>
          formatNumber(number, toLayout(session.terminal.stdout)),
        );
      }),
    );
}

async function readNumber({ numbers, database }: Gateway, id: string) {
  const tenantId = await numbers.getTenantOf(id);
  const access = toOperatorAccess(tenantId);
  const number = await numbers.get(access, { id, refresh: null }, AbortSignal.any([]));
  const [address] = await listAddresses(database, tenantId, [id]);
  const { phoneNumberId = null, wabaId = null } = address ?? {};
  return { ...toDetailJson(number), tenantId, phoneNumberId, wabaId };
}

type NumberJson = Awaited<ReturnType<typeof readNumber>>;

function formatNumber(number: NumberJson, layout: Layout): string {
  const sections: readonly (readonly [string, readonly Field[]])[] = [
    ['Number', toOwnFields(number)],
    ['Health', toHealthFields(number)],
    ['Freshness', Object.entries(number.freshness).map(toFreshnessField)],
    ['Meta: number', toMetaFields(number.meta?.phone)],
    ['Meta: business profile', toMetaFields(number.meta?.profile)],
    ['Meta: account', toMetaFields(number.meta?.waba)],
  ];
  return sections
    .filter(([, fields]) => fields.length > 0)
    .map(([title, fields]) => `${layout.style('bold', title)}\n${formatFields(fields, layout)}`)
    .join('\n\n');
}

function toOwnFields(number: NumberJson): readonly Field[] {
  const keys = number.apiKeys.map((key) => `${key.name} (${key.keyPrefix}…${key.keyLast4})`);
  return toFields({
    id: number.id,
    name: number.name,
    number: number.number,
    provider: number.provider,
    state: number.state,
    tenant: number.tenantId,
    instance: number.instanceName,
    'phone number id': number.phoneNumberId,
    'account (WABA)': number.wabaId,
    'bound API keys': keys.length === 0 ? null : keys.join(', '),
    added: formatTime(number.createdAt),
    updated: formatTime(number.updatedAt),
  });
}

function toHealthFields({ health }: NumberJson): readonly Field[] {
  const { verdict, replyVerdict, reasons } = health.sendability;
  return [
    ...toFields({
      verdict,
      'reply verdict': replyVerdict,
      quality: health.qualityRating,
      'messaging limit': health.messagingLimitTier,
      'status at Meta': health.metaStatus,
    }),
    ...reasons.map((reason) => ({ label: effects[reason.effect], value: formatReason(reason) })),
  ];
}

const effects: Readonly<Record<Reason['effect'], string>> = {
  BLOCKS: 'blocked by',
  INCONCLUSIVE: 'in doubt by',
  INFORMS: 'note',
};

const scopes: Readonly<Record<Reason['scope'], string>> = {
  ALL: '',
  BUSINESS_INITIATED: ', for starting conversations',
  REPLIES: ', for replies',
};

function formatReason({ entity, entityId, text, code, solution, scope }: Reason): string {
  const subject = `${entity}${entityId === null ? '' : ` ${entityId}`}${scopes[scope]}`;
  const suffix = code === null ? '' : ` (Meta's code ${code})`;
  return [`${subject}: ${text}${suffix}`, ...(solution === null ? [] : [solution])].join(' ');
}

function toFreshnessField([block, freshness]: readonly [string, Freshness | null]): Field {
  if (freshness === null) return { label: block, value: 'never read' };
  const { observedAt, ageSeconds, stale, error } = freshness;
  const age =
    observedAt === null
      ? 'never read successfully'
      : `read ${formatAge(ageSeconds)} ago, at ${formatTime(observedAt)}${stale ? '; stale' : ''}`;
  if (error === null) return { label: block, value: age };
  return { label: block, value: `${age}; ${error.code}: ${toFailureText(error)}`, tone: 'bad' };
}

/** By the names of GraphQL, without what is unknown. */
function toMetaFields(block: object | null | undefined): readonly Field[] {
  return toFields(
    Object.fromEntries(Object.entries(block ?? {}).map(([name, value]) => [name, toText(value)])),
  );
}

function toText(value: unknown): string | null {
  if (value === null || typeof value === 'string') return value;
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value !== 'object') return String(value);
  // The only object is the health status; what is wrong with an entity is among the reasons.
  const { entities } = value as HealthStatus;
  return entities.map((it) => `${it.entityType} ${it.canSendMessage ?? 'unknown'}`).join(', ');
}

function toFields(values: Readonly<Record<string, string | null>>): readonly Field[] {
  return Object.entries(values).flatMap(([label, value]) =>
    value === null ? [] : [{ label, value, tone: toTone(value) }],
  );
}
