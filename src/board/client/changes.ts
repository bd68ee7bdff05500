// Which changes of the feed alter what the board shows, so that the others cause no query. Pure.

import type { View } from './address.ts';
import type { Change } from './queries.ts';

/** Whether a change is in the timeline of the verdict. */
export function isOfTimeline({ kind, field }: Change): boolean {
  return kind === 'GAP' || kind === 'ADDED' || field === 'VERDICT';
}

/** What facets count, and filters select by. */
const countedFields: ReadonlySet<string> = new Set(['VERDICT', 'QUALITY_RATING', 'META_STATUS']);
const placeFields: ReadonlySet<string> = new Set([
  'WABA_ID',
  'ACCOUNT_NAME',
  'ACCOUNT_OWNER_ID',
  'ACCOUNT_OWNER_NAME',
]);
const nameFields: ReadonlySet<string> = new Set(['NAME', 'NUMBER', 'VERIFIED_NAME']);
/** No row shows these, and no filter selects by them. */
const hiddenFields =
  /^(PROFILE_|ACCOUNT_|PIN_ENABLED$|CODE_VERIFICATION|THROUGHPUT|OFFICIAL|ON_BUSINESS)/;

/** Whether a change can alter the rows, the counts or the sentence of a view. */
export function touches(change: Change, shownView: View, shown: ReadonlySet<string>): boolean {
  const { kind, field, numberId } = change;
  // What the reads change comes as changes of its own.
  if (kind === 'ENDPOINT' || kind === 'REFRESH') return false;
  if (
    kind === 'LABELS' ||
    kind === 'INCIDENT' ||
    kind === 'ADDED' ||
    kind === 'REMOVED' ||
    kind.startsWith('READ_')
  )
    return true;
  if (field !== null && (countedFields.has(field) || placeFields.has(field))) return true;
  if (field !== null && hiddenFields.test(field)) return false;
  if (numberId === null || shown.has(numberId)) return true;
  // A number that is not shown may be found, or come to another place, by its new name.
  return (shownView.search !== '' || shownView.order === 'name') && nameFields.has(field ?? '');
}
