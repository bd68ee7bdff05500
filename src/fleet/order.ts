// The orders of a fleet, and the columns of number_status that each of them compares.

export const orderFields = [
  'ATTENTION',
  'NAME',
  'CREATED_AT',
  'VERDICT_CHANGED_AT',
  'OBSERVED_AT',
] as const;
export type FleetOrderField = (typeof orderFields)[number];

export const directions = ['ASC', 'DESC'] as const;
export type OrderDirection = (typeof directions)[number];

export interface FleetOrder {
  readonly field: FleetOrderField;
  readonly direction: OrderDirection;
}

export const defaultOrder: FleetOrder = { field: 'ATTENTION', direction: 'DESC' };

/** With it, the worst, the newest, or the first by name comes first. */
export function defaultDirectionOf(field: FleetOrderField): OrderDirection {
  return field === 'NAME' ? 'ASC' : 'DESC';
}

export interface KeyColumn {
  readonly name: string;
  readonly type: 'smallint' | 'text' | 'timestamptz';
}

const byTime = (name: string): readonly KeyColumn[] => [{ name, type: 'timestamptz' }, id];
const id: KeyColumn = { name: 'number_id', type: 'text' };

/** All columns of a key are compared in one direction, so that an index serves the range and the order. */
export const keyColumns: Readonly<Record<FleetOrderField, readonly KeyColumn[]>> = {
  ATTENTION: [{ name: 'rank', type: 'smallint' }, ...byTime('observed_at')],
  NAME: [{ name: 'name_key', type: 'text' }, id],
  CREATED_AT: byTime('created_at'),
  VERDICT_CHANGED_AT: byTime('verdict_changed_at'),
  OBSERVED_AT: byTime('observed_at'),
};

/** Whether the keys of a page ascend. The worst numbers have the lowest rank, so they come first when attention descends. */
export function isAscending({ field, direction }: FleetOrder): boolean {
  return (direction === 'ASC') !== (field === 'ATTENTION');
}
