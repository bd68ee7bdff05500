// The texts that Slack shows.

import { describe, expect, test } from 'vitest';
import {
  type IncidentData,
  toContent,
  toEndText,
  toRuleText,
  toSlackBody,
} from '../../src/alerts/message.ts';

const data: IncidentData = {
  incident: {
    id: 'inc_1',
    state: 'OPEN',
    scope: 'NUMBER',
    subject: 'wa_1',
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
    expect(toText({ incident, text: toEndText('SENDABLE_LOST', 1) }).split('\n')).toEqual([
      '*Over: Shop (5511999999999)*',
      'It is over: conversations can be started again.',
      '<https://numbers.example.com/board/incidents/inc_1|Open the board>',
    ]);
  });

  test('shows no JSON, and the name of an account', () => {
    const incident = { ...data.incident, scope: 'ACCOUNT', subject: '123', subjectName: 'Shops' };
    const newValue = '{"type":"RESTRICTED_BIZ_INITIATED_MESSAGING"}';
    const of = { incident, rule: 'RESTRICTED', number: null, previousValue: null, newValue };
    expect(toText({ ...of, reasons: [], text: toRuleText('RESTRICTED', 5) }).split('\n')).toEqual([
      '*CRITICAL: Account Shops*',
      'Meta has restricted the account.',
      '<https://numbers.example.com/board/incidents/inc_1|Open the board>',
    ]);
  });

  test('shows what several numbers have in common', () => {
    const incident = { ...data.incident, scope: 'ACCOUNT', subject: '123', numberCount: 12 };
    expect(toText({ incident, number: null, link: null }).split('\n')[0]).toBe(
      '*CRITICAL: 12 numbers of the account 123*',
    );
  });

  test('takes no name and no text of Meta for a link, a mention or markup', () => {
    const text = toText({
      number: { id: 'wa_1', name: '<!channel> & <https://evil.example|Log in>', number: '1' },
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
