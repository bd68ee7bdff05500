// What is different after a sequence of changes: of each number and account, the first value that each field had and the last.

import type { NumberChange } from '../history/change.ts';
import { readAddedFields } from './change-text.ts';

export interface Difference {
  readonly numberId: string | null;
  readonly wabaId: string | null;
  readonly change: 'CHANGED' | 'ADDED' | 'REMOVED';
  /** Of a number that was added, all its fields; none of one that was removed. */
  readonly fields: readonly FieldDifference[];
}

export interface FieldDifference {
  /** READ: the values are codes of errors of reading the part that `field` names. */
  readonly kind: 'FIELD' | 'VERDICT' | 'READ';
  readonly field: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  /** What was read for the first time, if the value was not known before because of that. */
  readonly block: string | null;
}

interface Subject {
  readonly numberId: string | null;
  readonly wabaId: string | null;
  wasAdded: boolean;
  isRemoved: boolean;
  readonly fields: Map<string, FieldDifference>;
}

/** Nothing of what has changed back, and of a number that was added and removed again. In the order of the first changes. */
export function compareChanges(changes: readonly NumberChange[]): readonly Difference[] {
  const subjects = new Map<string, Subject>();
  for (const change of changes) {
    const { numberId, wabaId } = change;
    const key = `${numberId} ${wabaId}`;
    const subject = subjects.get(key) ?? {
      numberId,
      wabaId,
      wasAdded: false,
      isRemoved: false,
      fields: new Map<string, FieldDifference>(),
    };
    subjects.set(key, subject);
    apply(subject, change);
  }
  return [...subjects.values()].flatMap(toDifference);
}

function apply(subject: Subject, change: NumberChange): void {
  const { kind, field, previousValue, newValue } = change;
  switch (kind) {
    case 'ADDED':
      if (field === null) subject.wasAdded = true;
      // An account is added and removed with its numbers.
      subject.isRemoved = false;
      for (const [name, value] of Object.entries(readAddedFields(newValue))) {
        set(subject, {
          kind: 'FIELD',
          field: name,
          previousValue: null,
          newValue: value,
          block: field,
        });
      }
      break;
    case 'REMOVED':
      subject.isRemoved = true;
      break;
    case 'FIELD':
    case 'VERDICT':
      set(subject, { kind, field: field ?? '', previousValue, newValue, block: null });
      break;
    case 'READ_FAILING':
    case 'READ_RECOVERED':
      set(subject, { kind: 'READ', field: field ?? '', previousValue, newValue, block: null });
      break;
    default:
    // A gap in the past makes no difference.
  }
}

/** Keeps the value that the field had first. */
function set({ fields }: Subject, difference: FieldDifference): void {
  const key = `${difference.kind} ${difference.field}`;
  const first = fields.get(key);
  fields.set(key, first === undefined ? difference : { ...first, newValue: difference.newValue });
}

function toDifference({
  numberId,
  wabaId,
  wasAdded,
  isRemoved,
  fields,
}: Subject): readonly Difference[] {
  const subject = { numberId, wabaId };
  if (isRemoved) return wasAdded ? [] : [{ ...subject, change: 'REMOVED', fields: [] }];
  const different = [...fields.values()].filter(
    ({ previousValue, newValue }) => previousValue !== newValue,
  );
  if (!wasAdded && different.length === 0) return [];
  const change = wasAdded ? 'ADDED' : 'CHANGED';
  return [{ ...subject, change, fields: different }];
}
