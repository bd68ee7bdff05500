// The texts that Slack shows.

import { describe, expect, test } from 'vitest';
import {
  type IncidentData,
  toContent,
  type ToldSubject,
  toEndText,
  toRuleText,
  toSlackBody,
  toTitle,
} from '../../src/alerts/message.ts';

const data: IncidentData = {
  incident: {
    id: 'inc_1',
    state: 'OPEN',
    scope: 'NUMBER',
    subject: 'wa_1',
    title: 'Shop (5511999999999)',
    openedAt: '2026-11-29T12:00:00.000Z',
    closedAt: null,
    numberCount: 1,
  },
  rule: 'SENDABLE_LOST',
  severity: 'CRITICAL',
  text: 'The number cannot start conversations any more.',
  previousValue: 'YES',
  newValue: 'NO',
  sequence: 7,
  cursor: 'c1.x.7',
  number: { id: 'wa_1', name: 'Shop', number: '5511999999999' },
  numbers: [],
  reasons: [{ text: 'A payment method is missing.', solution: 'Add one.' }],
  link: 'https://numbers.example.com/board/incidents/inc_1',
};

const told = (more: Partial<ToldSubject>): ToldSubject => ({
  rule: 'SENDABLE_LOST',
  scope: 'NUMBER',
  subject: 'wa_1',
  subjectName: null,
  isOfWhole: false,
  accountCount: null,
  numberCount: 1,
  newValue: null,
  covers: [],
  ...more,
});

const toText = (more: Partial<IncidentData>): string => {
  const isOver = more.incident?.state === 'CLOSED';
  const type = isOver ? 'incident.closed' : 'incident.opened';
  const message = { type, timestamp: '', data: { ...data, ...more } };
  return (JSON.parse(toSlackBody(toContent(message))) as { text: string }).text;
};

describe('Slack', () => {
  test('shows what happened to which number, why, and what to do', () => {
    expect(toText({}).split('\n')).toEqual([
      '*CRITICAL: Shop (5511999999999)*',
      'The number cannot start conversations any more.',
      'YES → NO',
      '• A payment method is missing. Add one.',
      '<https://numbers.example.com/board/incidents/inc_1|Open the board>',
    ]);
  });

  test('shows that it is over', () => {
    const incident = { ...data.incident, state: 'CLOSED' } as const;
    expect(toText({ incident, text: toEndText(told({})) }).split('\n')).toEqual([
      '*Over: Shop (5511999999999)*',
      'It is over: conversations can be started again.',
      '<https://numbers.example.com/board/incidents/inc_1|Open the board>',
    ]);
  });

  test('shows no JSON', () => {
    const newValue = '{"type":"RESTRICTED_BIZ_INITIATED_MESSAGING"}';
    const incident = { ...data.incident, title: 'Account Shops' };
    const of = { rule: 'RESTRICTED', number: null, previousValue: null, newValue, reasons: [] };
    const restricted = told({ rule: 'RESTRICTED', scope: 'ACCOUNT', isOfWhole: true });
    expect(toText({ ...of, incident, text: toRuleText(restricted) }).split('\n')).toEqual([
      '*CRITICAL: Account Shops*',
      'Meta has restricted the account.',
      '<https://numbers.example.com/board/incidents/inc_1|Open the board>',
    ]);
  });

  test('shows messages of an earlier release, which have no title', () => {
    const { title: _, ...incident } = { ...data.incident, scope: 'ACCOUNT', subjectName: 'Shops' };
    expect(toText({ incident, number: null }).split('\n')[0]).toBe('*CRITICAL: Shops*');
  });

  test('takes no name and no text of Meta for a link, a mention or markup', () => {
    const number = { id: 'wa_1', name: '<!channel> & <https://evil.example|Log in>', number: '1' };
    const text = toText({
      incident: { ...data.incident, title: toTitle(told({}), number) },
      reasons: [{ text: '<@U123>', solution: null }],
      newValue: '<!here>',
      link: 'https://numbers.example.com/a|b>c',
    });
    expect(text).toContain('&lt;!channel&gt; &amp; &lt;https://evil.example|Log in&gt; (1)');
    expect(text).toContain('• &lt;@U123&gt;');
    expect(text).toContain('YES → &lt;!here&gt;');
    expect(text).toContain('<https://numbers.example.com/a%7Cb&gt;c|Open the board>');
    expect(text.match(/<(?!https:\/\/numbers\.example\.com\/)/g)).toBeNull();
  });
});

describe('what happened to what', () => {
  const shops = { scope: 'ACCOUNT', subject: '123', subjectName: 'Shops' } as const;
  test.each<[Partial<ToldSubject>, title: string, text: string]>([
    [
      { ...shops, rule: 'ACCOUNT_BANNED', isOfWhole: true, numberCount: 5 },
      'Account Shops',
      'Meta has disabled the account.',
    ],
    [
      { ...shops, rule: 'ACCOUNT_BANNED', numberCount: 3 },
      '3 numbers of the account Shops',
      '3 numbers were banned by Meta.',
    ],
    [
      { ...shops, scope: 'PORTFOLIO', rule: 'LIMIT_CHANGED', isOfWhole: true, numberCount: 12 },
      'Portfolio Shops',
      'The messaging limit that all numbers of a business portfolio share has changed.',
    ],
    [
      { ...shops, scope: 'TOKEN', rule: 'WEBHOOK_SILENT', accountCount: 3, numberCount: 12 },
      '3 accounts of the token Shops',
      "Meta's webhooks about several accounts do not arrive.",
    ],
    [
      { ...shops, rule: 'SYNC_LATE', isOfWhole: true, newValue: 'META_TIMEOUT', numberCount: 12 },
      'Account Shops',
      'The numbers of the account, or their health, could not be read in the background for more than twice as long as planned, and for more than 10 minutes. The last read failed: Meta did not respond in time.',
    ],
    [
      { scope: 'ENGINE', subject: 'engine', rule: 'DISCONNECTED', numberCount: 4 },
      '4 numbers of the session engine',
      '4 numbers have lost their connection.',
    ],
    [
      { ...shops, rule: 'DISCONNECTED', numberCount: 4, covers: ['SENDABLE_LOST'] },
      '4 numbers of the account Shops',
      '4 numbers have lost their connection. Conversations cannot be started any more.',
    ],
    [
      { ...shops, scope: 'TOKEN', rule: 'TOKEN_REJECTED', numberCount: 3 },
      '3 numbers of the token Shops',
      '3 numbers cannot be read: Meta refuses, because of the access token, a permission, the app, the account or an id; the reasons of the numbers say why.',
    ],
    [
      { ...shops, rule: 'OF_A_LATER_RELEASE', numberCount: 2 },
      '2 numbers of the account Shops',
      'OF_A_LATER_RELEASE',
    ],
  ])('%o', (incident, title, text) => {
    const subject = told(incident);
    expect(toTitle(subject, null)).toBe(title);
    expect(toRuleText(subject)).toBe(text);
  });

  test('a single number is named with its phone number', () => {
    const banned = told({ rule: 'ACCOUNT_BANNED' });
    expect(toTitle(banned, data.number)).toBe('Shop (5511999999999)');
    expect(toTitle(banned, { id: 'wa_1', name: null, number: null })).toBe('wa_1');
    expect(toRuleText(banned)).toBe('Meta has banned the number.');
    expect(toRuleText(told({ rule: 'TOKEN_REJECTED' }))).toBe(
      'Meta refuses reads of the number, because of the access token, a permission, the app, the account or an id; the reasons of the number say why.',
    );
  });
});
