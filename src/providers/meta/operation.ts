// Owns the words for one thing that is asked of Graph, and for what came of it.

import type { JsonObject } from '../../json.ts';
import type { MetaBlock } from '../../numbers/meta.ts';
import type { UpstreamFailure } from '../../numbers/provider.ts';

export interface GraphOperation {
  /** Chooses node or edge, and the words of a failure. */
  readonly block: MetaBlock;
  /** Of the phone number, or of the WABA. */
  readonly id: string;
  /** Whose budget pays; for a WABA its own id. */
  readonly wabaId: string | null;
  /** Graph's names, at least one. */
  readonly fields: readonly string[];
}

export type GraphObject = JsonObject;

export type GraphResult =
  | { readonly ok: true; readonly json: GraphObject }
  | {
      readonly ok: false;
      /** False when nothing was sent for it. */
      readonly attempted: boolean;
      readonly failure: UpstreamFailure;
      /** The field that the node does not have, where that is what failed the whole operation. */
      readonly refusedField: string | null;
      /** A permission is missing for something that was asked for, perhaps not for all of it. */
      readonly lacksPermission: boolean;
    };
