// Whether Meta's webhooks about the account of the open number arrive, and what to do if they do not.

import { Fragment, h, type ComponentChild } from 'preact';
import type { NumberDetail, WebhookRoute } from '../queries.ts';
import { formatFull, toWords } from '../words.ts';
import { SeverityShape, Shape } from './shapes.ts';
import { Age } from './times.ts';

export function Routing({ number }: { readonly number: NumberDetail }): ComponentChild {
  const route = number.meta?.webhook ?? null;
  if (route === null) return null;
  const { verdict, lastEventAt, lastEventField, actualUrl, expectedUrl } = route;
  const known = Object.hasOwn(verdicts, verdict) ? verdict : 'UNKNOWN';
  const { word, help } = known === 'UNKNOWN' && lastEventAt !== null ? someEvents : verdicts[known];
  const isWrong = known === 'SILENT' || known === 'MISROUTED';
  return h(
    'section',
    null,
    h('h3', null, 'Webhooks'),
    h(
      'p',
      { class: `routing ${known}` },
      isWrong
        ? h(SeverityShape, { severity: 'WARNING' })
        : h(Shape, { verdict: known === 'RECEIVING' ? 'YES' : 'UNKNOWN' }),
      h('span', null, word),
    ),
    help === null ? null : h('p', { class: 'second' }, help),
    h(
      'dl',
      { class: 'pairs' },
      h('dt', null, 'Last event'),
      h(
        'dd',
        { title: lastEventAt === null ? undefined : formatFull(lastEventAt) },
        lastEventField === null ? null : `${toWords(lastEventField)}, `,
        h(Age, { at: lastEventAt }),
      ),
      isWrong ? h(Url, { name: 'Meta sends to', url: actualUrl ?? 'no known URL' }) : null,
      isWrong && expectedUrl !== null ? h(Url, { name: 'Should be', url: expectedUrl }) : null,
    ),
  );
}

/** For example while the gateway does not know its own URL. */
const someEvents = { word: 'Not known', help: 'Events have come; nothing shows whether all do.' };

const verdicts: Readonly<
  Record<WebhookRoute['verdict'], { readonly word: string; readonly help: string | null }>
> = {
  RECEIVING: { word: 'Receiving', help: null },
  SILENT: {
    word: 'Silent',
    help: 'Nothing arrives. Subscribe the app to the account at Meta, with the URL below.',
  },
  MISROUTED: {
    word: 'Misrouted',
    help: 'Meta sends to another URL. Enter the one below at Meta, or pass the events on from there.',
  },
  UNKNOWN: {
    word: 'Not known',
    help: 'Nothing has come, and nothing shows that anything is missing.',
  },
};

function Url({ name, url }: { readonly name: string; readonly url: string }): ComponentChild {
  return h(Fragment, null, h('dt', null, name), h('dd', { class: 'url' }, url));
}
