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

export interface Comparison {
  /** Changes that follow those before. */
  add(changes: readonly NumberChange[]): void;
  /** How many numbers and accounts are different. No more than these is kept of all changes. */
  readonly size: number;
  /** Nothing of what has changed back, and of a number that was added and removed again. In the order of the first changes. */
  list(): readonly Difference[];
}

export function createComparison(): Comparison {
  const subjects = new Map<string, Subject>();
  return {
    add(changes) {
      for (const change of changes) {
        const { numberId, wabaId } = change;
        const key = `${numberId} ${wabaId}`;
        const fields = new Map<string, FieldDifference>();
        const subject = subjects.get(key) ?? {
          numberId,
          wabaId,
          wasAdded: false,
          isRemoved: false,
          fields,
        };
        apply(subject, change);
        if (isDifferent(subject)) subjects.set(key, subject);
        else subjects.delete(key);
      }
    },
    get size() {
      return subjects.size;
    },
    list: () => [...subjects.values()].map(toDifference),
  };
}

function isDifferent({ wasAdded, isRemoved, fields }: Subject): boolean {
  return wasAdded || isRemoved ? wasAdded !== isRemoved : fields.size > 0;
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

/** Keeps the value that the field had first, and nothing of a field that has it again. */
function set({ fields }: Subject, difference: FieldDifference): void {
  const { kind, field, newValue } = difference;
  const key = `${kind} ${field}`;
  const first = fields.get(key) ?? difference;
  if (first.previousValue === newValue) fields.delete(key);
  else fields.set(key, { ...first, newValue });
}

function toDifference({ numberId, wabaId, wasAdded, isRemoved, fields }: Subject): Difference {
  if (isRemoved) return { numberId, wabaId, change: 'REMOVED', fields: [] };
  return { numberId, wabaId, change: wasAdded ? 'ADDED' : 'CHANGED', fields: [...fields.values()] };
}
