// What Meta restricts the account of the open number from, and how long that still lasts.

import { h, type ComponentChild } from 'preact';
import type { NumberDetail, Restriction } from '../queries.ts';
import { toWords } from '../words.ts';
import { Countdown } from './times.ts';

export function Restrictions({ number }: { readonly number: NumberDetail }): ComponentChild {
  const restrictions = number.meta?.waba?.restrictions ?? [];
  if (restrictions.length === 0) return null;
  return h(
    'section',
    null,
    h('h3', null, 'Restrictions of the account'),
    restrictions.map((restriction) => h(Item, { key: restriction.typeRaw, restriction })),
  );
}

const typeWords: Readonly<Record<string, string>> = {
  RESTRICTED_BIZ_INITIATED_MESSAGING: 'No new conversations',
  RESTRICTED_CUSTOMER_INITIATED_MESSAGING: 'No replies',
  RESTRICTED_ADD_PHONE_NUMBER_ACTION: 'No more phone numbers',
  RESTRICTION_ON_ADD_PHONE_NUMBER_ACTION: 'No more phone numbers',
};

/** The clock of the page counts down. */
function Item({ restriction }: { readonly restriction: Restriction }): ComponentChild {
  const { type, typeRaw, expiresAt, remediation } = restriction;
  return h(
    'div',
    { class: 'reason BLOCKS' },
    h('p', null, typeWords[type] ?? toWords(typeRaw)),
    h(Countdown, { expiresAt }),
    remediation === null ? null : h('p', { class: 'second' }, remediation),
  );
}
