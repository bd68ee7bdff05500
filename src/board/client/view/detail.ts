// Everything about the open number, beside the list.

import { h, type ComponentChild } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { ApiError } from '../api.ts';
import { detailDays, refreshOpenNumber, reloadNumber } from '../number-loading.ts';
import type { Change, NumberDetail, Reason } from '../queries.ts';
import { navigate, now, openNumber, type OpenNumber } from '../state.ts';
import { formatShare } from '../timeline.ts';
import {
  describeChange,
  findMainReason,
  formatDay,
  formatDuration,
  formatFull,
  formatLimit,
  formatMoment,
  formatName,
  formatNumber,
  formatQuality,
  formatStatus,
  formatValue,
  toWords,
  verdictWords,
} from '../words.ts';
import { FailedAgain } from './frame.ts';
import { Freshness } from './freshness.ts';
import { OpenIncident } from './incident-facts.ts';
import { Restrictions } from './restrictions.ts';
import { Routing } from './routing.ts';
import { Shape } from './shapes.ts';
import { Notes } from './tags.ts';
import { Past } from './times.ts';

export function Detail(): ComponentChild {
  const open = openNumber.value;
  const heading = useRef<HTMLHeadingElement>(null);
  const id = open?.id ?? null;
  // Where it covers the list, the keyboard goes with it.
  useEffect(() => {
    if (id !== null && matchMedia('(max-width: 1250px)').matches) heading.current?.focus();
  }, [id]);
  if (open === null) return null;
  const { data, error } = open;
  return h(
    'aside',
    { class: 'detail', 'aria-label': 'Number' },
    h(
      'div',
      { class: 'detail-head' },
      h(
        'h2',
        { ref: heading, tabIndex: -1 },
        data === null ? (error === null ? 'Reading…' : toFailure(error)) : formatName(data),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'close',
          'aria-label': 'Close',
          title: 'Close (Esc)',
          onClick: () => navigate({ numberId: null }),
        },
        '×',
      ),
    ),
    error === null
      ? null
      : data === null
        ? h(Missing, { open })
        : h(FailedAgain, { error, role: 'status' }),
    data === null ? null : h(Facts, { open, number: data }),
  );
}

function toFailure({ code }: ApiError): string {
  return code === 'NUMBER_NOT_FOUND' ? 'No such number' : 'The number cannot be read';
}

function Missing({ open }: { readonly open: OpenNumber }): ComponentChild {
  const isMissing = open.error?.code === 'NUMBER_NOT_FOUND';
  return h(
    'div',
    { class: 'missing' },
    h(
      'p',
      { class: 'place' },
      isMissing
        ? 'It was removed, or it belongs to another tenant. The command number history shows what was recorded.'
        : open.error?.message,
    ),
    isMissing
      ? null
      : h(
          'p',
          { class: 'acts' },
          h('button', { type: 'button', class: 'do', onClick: reloadNumber }, 'Try again'),
        ),
  );
}

function Facts({
  open,
  number,
}: {
  readonly open: OpenNumber;
  readonly number: NumberDetail;
}): ComponentChild {
  return h(
    'div',
    { class: 'facts' },
    h('p', { class: 'place' }, toPlace(number)),
    h(Verdicts, { number }),
    h(Why, { number }),
    h(Restrictions, { number }),
    h(Actions, { open, number }),
    h(OpenIncident, { incident: number.incident }),
    h(AtMeta, { number }),
    h(Notes, { number }),
    h(Freshness, { number }),
    h(Routing, { number }),
    h(Month, { number }),
    h(Changes, { number }),
  );
}

function toPlace(number: NumberDetail): string {
  const { meta, portfolio, instanceName } = number;
  const account = meta?.waba?.name ?? null;
  return [
    ...(number.name.trim() === '' ? [] : [formatNumber(number)]),
    ...(account === null ? [] : [`account ${account}`]),
    ...(portfolio?.name && portfolio.name !== account ? [`portfolio ${portfolio.name}`] : []),
    ...(instanceName === null ? [] : [`session ${instanceName}`]),
  ].join(' · ');
}

const replyWords = { YES: 'can reply', NO: 'cannot reply', UNKNOWN: 'replies unknown' } as const;

function Verdicts({ number }: { readonly number: NumberDetail }): ComponentChild {
  const { verdict, replyVerdict } = number.health.sendability;
  const isSame = verdict === 'UNKNOWN' && replyVerdict === 'UNKNOWN';
  const text = isSame
    ? 'Sending and replies unknown'
    : `${verdictWords[verdict]}, ${replyWords[replyVerdict]}`;
  return h('p', { class: `pill ${verdict}` }, h(Shape, { verdict }), text);
}

function Why({ number }: { readonly number: NumberDetail }): ComponentChild {
  const main = findMainReason(number.health);
  const { reasons: all } = number.health.sendability;
  const reasons = main === null ? all : [main, ...all.filter((reason) => reason !== main)];
  return h(
    'section',
    null,
    h('h3', null, 'Why'),
    reasons.length === 0
      ? h('p', { class: 'quiet' }, 'Nothing keeps it from sending.')
      : reasons.map((reason, index) => h(ReasonItem, { key: index, reason })),
  );
}

const scopeWords = {
  ALL: null,
  BUSINESS_INITIATED: 'starting conversations only',
  REPLIES: 'replies only',
} as const;

function ReasonItem({ reason }: { readonly reason: Reason }): ComponentChild {
  const { effect, scope, text, solution, field, value, code } = reason;
  const source = [
    ...(scopeWords[scope] === null ? [] : [scopeWords[scope]]),
    ...(value === null || value === 'true'
      ? []
      : [`${field.replace(/^error\./, '').replaceAll('_', ' ')} ${value}`]),
    ...(code === null || String(code) === value ? [] : [`code ${code}`]),
  ].join(' · ');
  return h(
    'div',
    { class: `reason ${effect}` },
    h('p', null, text),
    solution === null ? null : h('p', { class: 'second' }, solution),
    source === '' ? null : h('p', { class: 'source' }, source),
  );
}

function Actions({
  open,
  number,
}: {
  readonly open: OpenNumber;
  readonly number: NumberDetail;
}): ComponentChild {
  const { refresh } = open;
  const isMeta = number.provider === 'META';
  const calls = isMeta ? '3 calls' : '1 call';
  const wabaId = number.meta?.waba?.id;
  return h(
    'div',
    { class: 'acts' },
    h(
      'button',
      {
        type: 'button',
        class: 'do first',
        disabled: refresh === 'running',
        onClick: () => void refreshOpenNumber(),
      },
      refresh === 'running' ? 'Reading…' : 'Read now',
      ' ',
      h('span', null, calls),
    ),
    isMeta
      ? h(
          'a',
          { class: 'do', href: toManager(wabaId), target: '_blank', rel: 'noopener noreferrer' },
          'WhatsApp Manager',
          h('span', { class: 'quiet', 'aria-hidden': 'true' }, ' ↗'),
        )
      : null,
    h('p', { class: 'outcome', role: 'status' }, toOutcome(open)),
  );
}

function toOutcome({ refresh }: OpenNumber): string {
  if (refresh === 'none' || refresh === 'running') return '';
  if (refresh.error !== null) return refresh.error.message;
  const { cost } = refresh;
  if (cost === null) return 'Read.';
  const calls = cost.upstreamCalls === 1 ? '1 call' : `${cost.upstreamCalls} calls`;
  return `Read: ${calls}, ${cost.actual} points.`;
}

/** The page of the phone numbers of an account. https://business.facebook.com/wa/manage */
function toManager(wabaId: string | undefined): string {
  const url = new URL('https://business.facebook.com/wa/manage/phone-numbers/');
  if (wabaId !== undefined) url.searchParams.set('waba_id', wabaId);
  return url.href;
}

function AtMeta({ number }: { readonly number: NumberDetail }): ComponentChild {
  const phone = number.meta?.phone ?? null;
  if (number.provider !== 'META') return null;
  const facts: readonly (readonly [name: string, value: string | null])[] = [
    ['Status', formatStatus(number)],
    ['Quality', formatQuality(number.health)],
    ['Limit', formatLimit(number.health)],
    ['Name', phone?.verifiedName ?? null],
    ['Name review', phone?.nameStatusRaw ? toWords(phone.nameStatusRaw) : null],
    ['Throughput', phone?.throughputLevelRaw ? toWords(phone.throughputLevelRaw) : null],
    [
      'Two-step PIN',
      phone?.isPinEnabled === null || phone === null
        ? null
        : phone.isPinEnabled
          ? 'set'
          : 'not set',
    ],
  ];
  return h(
    'section',
    null,
    h('h3', null, 'At Meta'),
    h(
      'dl',
      { class: 'pairs' },
      facts
        .filter(([, value]) => value !== null)
        .flatMap(([name, value]) => [
          h('dt', { key: name }, name),
          h('dd', { key: `${name} value` }, value),
        ]),
    ),
  );
}

function Month({ number }: { readonly number: NumberDetail }): ComponentChild {
  const { availability, timeline } = number;
  const { sendableShare, observedShare } = availability;
  const observed = formatDuration(observedShare * detailDays * 86_400_000);
  const summary =
    sendableShare === null
      ? 'nothing observed'
      : `could send ${formatShare(sendableShare)} of ${observed} observed`;
  return h(
    'section',
    null,
    h('h3', null, `Thirty days · ${summary}`),
    h(Past, { spans: timeline, days: detailDays, columns: 332, label: 'Last thirty days' }),
    h(
      'div',
      { class: 'scale', 'aria-hidden': 'true' },
      h('span', null, formatDay(new Date(now.peek() - detailDays * 86_400_000))),
      h('span', null, 'today'),
    ),
  );
}

function Changes({ number }: { readonly number: NumberDetail }): ComponentChild {
  const { nodes, pageInfo } = number.history;
  return h(
    'section',
    null,
    h('h3', null, 'What changed'),
    nodes.length === 0 ? h('p', { class: 'quiet' }, 'Nothing since it was added.') : null,
    h(
      'ol',
      { class: 'changes' },
      // Some are recorded a while after they happened.
      nodes
        .toSorted((a, b) => b.occurredAt.localeCompare(a.occurredAt))
        .map((change, index, all) =>
          h(ChangeItem, { key: change.cursor, change, previous: all[index - 1] ?? null }),
        ),
    ),
    pageInfo.hasNextPage
      ? h('p', { class: 'quiet' }, 'The command number history shows older changes.')
      : null,
  );
}

interface ChangeItemProps {
  readonly change: Change;
  /** The one above it. */
  readonly previous: Change | null;
}

function ChangeItem({ change, previous }: ChangeItemProps): ComponentChild {
  const moment = formatMoment(change.occurredAt, now.peek());
  // A column of equal dates says nothing.
  const isRepeated = previous !== null && formatMoment(previous.occurredAt, now.peek()) === moment;
  const { kind, occurredAt, previousValue, newValue } = change;
  const hasValues = kind === 'FIELD' || kind === 'VERDICT';
  const before =
    previousValue === null
      ? null
      : h('span', { class: 'before' }, ` ${formatValue(previousValue)}`);
  return h(
    'li',
    null,
    h(
      'time',
      { class: isRepeated ? 'same' : '', dateTime: occurredAt, title: formatFull(occurredAt) },
      moment,
    ),
    h(
      'span',
      null,
      describeChange(change),
      ...(hasValues ? [before, ` → ${formatValue(newValue)}`] : []),
    ),
  );
}
