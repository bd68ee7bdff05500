// The mutations of the board. Each needs a key with the scope `operate`.

import { run } from './api.ts';
import type { FleetFilter } from './queries.ts';

const muteMutation = `mutation BoardMute($input: MuteNumberInput!) {
  muteNumber(input: $input) { number { id } }
}`;

/** Silences the alerts of a number; null ends that. */
export async function muteNumber(key: string, id: string, until: Date | null): Promise<void> {
  const input = { id, until: until?.toISOString() ?? null };
  await run(key, { query: muteMutation, variables: { input } });
}

const labelMutation = `mutation BoardLabel($input: LabelNumberInput!) {
  labelNumber(input: $input) { number { id } }
}`;

/** Replaces the labels of a number. */
export async function labelNumber(
  key: string,
  id: string,
  labels: readonly string[],
): Promise<void> {
  await run(key, { query: labelMutation, variables: { input: { id, labels } } });
}

const acknowledgeMutation = `mutation BoardAcknowledge($input: AcknowledgeIncidentInput!) {
  acknowledgeIncident(input: $input) { incident { id } }
}`;

/** Tells others that somebody looks after an incident. Without a note an earlier one stays. */
export async function acknowledgeIncident(key: string, id: string, note: string): Promise<void> {
  const input = { id, note: note === '' ? null : note };
  await run(key, { query: acknowledgeMutation, variables: { input } });
}

export interface Refreshed {
  readonly acceptedCount: number;
  readonly plannedCalls: number;
  readonly skipped: readonly { readonly id: string; readonly reason: string }[];
}

/** How many numbers one mutation can have read. */
export const maxRefreshed = 1_000;

const refreshMutation = `mutation BoardRefreshNumbers($input: RefreshNumbersInput!) {
  refreshNumbers(input: $input) { acceptedCount plannedCalls skipped { id reason } }
}`;

/** Has the numbers that match read in the background. */
export async function refreshNumbers(key: string, filter: FleetFilter): Promise<Refreshed> {
  const { data } = await run<{ readonly refreshNumbers: Refreshed }>(key, {
    query: refreshMutation,
    variables: { input: { filter } },
  });
  return data.refreshNumbers;
}
