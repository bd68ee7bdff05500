// Tests what a sequence of changes makes different.

import { expect, test } from 'vitest';
import { createComparison } from '../../src/admin/differences.ts';
import type { NumberChange } from '../../src/history/change.ts';

type Values = readonly [
  kind: string,
  field: string | null,
  previousValue: string | null,
  newValue: string | null,
];

const toChanges = (sequence: readonly Values[], wabaId: string | null = null) =>
  sequence.map(([kind, field, previousValue, newValue], index): NumberChange => ({
    sequence: index + 1,
    cursor: `c1.${index + 1}`,
    numberId: wabaId === null ? 'wa_1' : null,
    wabaId,
    kind,
    field,
    previousValue,
    newValue,
    source: 'READ',
    actorKeyId: null,
    actorKey: null,
    observation: null,
    occurredAt: '2026-01-01T00:00:00.000Z',
    recordedAt: '2026-01-01T00:00:00.000Z',
  }));

function compareChanges(changes: readonly NumberChange[]) {
  const comparison = createComparison();
  comparison.add(changes);
  return comparison.list();
}

const compare = (sequence: readonly Values[]) =>
  compareChanges(toChanges(sequence)).map(({ change, fields }) => {
    const texts = fields.map(({ kind, field, previousValue, newValue, block }) =>
      [kind, field, previousValue, newValue, block].join(' '),
    );
    return [change as string].concat(texts);
  });

test.each<readonly [string, readonly Values[], readonly (readonly string[])[]]>([
  ['nothing', [], []],
  [
    'a field that changes twice',
    [
      ['FIELD', 'STATE', 'OPEN', 'CONNECTING'],
      ['FIELD', 'STATE', 'CONNECTING', 'CLOSE'],
    ],
    [['CHANGED', 'FIELD STATE OPEN CLOSE ']],
  ],
  [
    'a verdict that changes back, and a gap',
    [
      ['VERDICT', 'VERDICT', 'YES', 'UNKNOWN'],
      ['GAP', null, '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z'],
      ['VERDICT', 'VERDICT', 'UNKNOWN', 'YES'],
    ],
    [],
  ],
  [
    'a first read, whose value changes afterwards',
    [
      ['ADDED', 'PHONE', null, '{"QUALITY_RATING":"GREEN","META_STATUS":"CONNECTED"}'],
      ['FIELD', 'QUALITY_RATING', 'GREEN', 'RED'],
    ],
    [['CHANGED', 'FIELD QUALITY_RATING  RED PHONE', 'FIELD META_STATUS  CONNECTED PHONE']],
  ],
  [
    'reads that fail, and those that fail and recover',
    [
      ['READ_FAILING', 'PHONE', null, 'META_TIMEOUT'],
      ['READ_FAILING', 'PROFILE', null, 'META_TIMEOUT'],
      ['READ_RECOVERED', 'PROFILE', 'META_TIMEOUT', null],
    ],
    [['CHANGED', 'READ PHONE  META_TIMEOUT ']],
  ],
  [
    'a number that was added',
    [['ADDED', null, null, '{"STATE":"OPEN"}']],
    [['ADDED', 'FIELD STATE  OPEN ']],
  ],
  [
    'a number that was removed',
    [
      ['FIELD', 'STATE', 'OPEN', 'CLOSE'],
      ['REMOVED', null, null, null],
    ],
    [['REMOVED']],
  ],
  [
    'a number that was added and removed',
    [
      ['ADDED', null, null, '{"STATE":"OPEN"}'],
      ['REMOVED', null, null, null],
    ],
    [],
  ],
  ['a kind of a later release', [['INCIDENT', 'STATE', 'OPEN', 'CLOSE']], []],
])('%s', (_name, sequence, expected) => {
  expect(compare(sequence)).toEqual(expected);
});

test('numbers and accounts are apart', () => {
  const rename: readonly Values[] = [['FIELD', 'ACCOUNT_NAME', 'a', 'b']];
  const changes = [...toChanges(rename, '1'), ...toChanges(rename, '2'), ...toChanges(rename)];
  expect(compareChanges(changes).map(({ numberId, wabaId }) => [numberId, wabaId])).toEqual([
    [null, '1'],
    [null, '2'],
    ['wa_1', null],
  ]);
});

test('keeps nothing of what is not different, and continues with the next page', () => {
  const comparison = createComparison();
  comparison.add(toChanges([['FIELD', 'STATE', 'OPEN', 'CLOSE']]));
  expect(comparison.size).toBe(1);
  comparison.add(toChanges([['FIELD', 'STATE', 'CLOSE', 'OPEN']]));
  comparison.add(toChanges([['GAP', null, 'a', 'b']]));
  comparison.add(toChanges([['ADDED', null, null, '{"STATE":"OPEN"}']], '1'));
  comparison.add(toChanges([['REMOVED', null, null, null]], '1'));
  expect([comparison.size, comparison.list()]).toEqual([0, []]);
});
