// Owns what Meta has refused and would refuse again: it is not asked for a while. One tenant's dead token costs neither
// the budget nor the trust of Meta, and says nothing about the upstream, so it never opens a circuit.

import { createHash } from 'node:crypto';
import type { Credentials, UpstreamFailure } from '../../numbers/provider.ts';
import type { GraphOperation, GraphResult } from './operation.ts';

export interface Quarantine {
  /** Why it would be refused; null when it may be asked. */
  find(operation: GraphOperation, credentials: Credentials): UpstreamFailure | null;
  /**
   * Learns from the answer to a request that was sent at `sentAt`, in milliseconds of `Date.now()`. Answers the codes of
   * Meta's for which something is not asked from now on.
   */
  record(
    operations: readonly GraphOperation[],
    credentials: Credentials,
    results: readonly GraphResult[],
    sentAt: number,
  ): ReadonlySet<number | null>;
}

interface Refusal {
  readonly failure: UpstreamFailure;
  readonly times: number;
  /** `Date.now()`. */
  readonly refusedAt: number;
}

/** Somebody may have set things right without storing a new token; they should not wait for long. */
const quarantineMs = 30_000;
/** Fewer may be a moment in which permissions were being changed. */
const refusalsNeeded = 3;
/** Beyond it the oldest are forgotten, and asked once more. */
const maxRefusals = 10_000;

/**
 * A dead token (code 190) is refused as a whole; a missing permission (10, 200 to 299) is one for these very fields of
 * this very node, as a token that may not read one number may well read another. The token itself is not kept.
 */
export function createQuarantine(): Quarantine {
  const refusals = new Map<string, Refusal>();
  const findRefused = (key: string): UpstreamFailure | null => {
    const known = refusals.get(key);
    if (known === undefined || known.times < refusalsNeeded) return null;
    return Date.now() < known.refusedAt + quarantineMs ? known.failure : null;
  };
  /** Whether it is not asked from now on. */
  const refuse = (key: string, failure: UpstreamFailure, sentAt: number): boolean => {
    const known = refusals.get(key);
    // Sent beside the one that was refused before: the same refusal, not another one.
    if (known !== undefined && sentAt < known.refusedAt) return false;
    const times = (known?.times ?? 0) + 1;
    refusals.delete(key);
    refusals.set(key, { failure, times, refusedAt: Date.now() });
    const oldest = refusals.keys().next().value;
    if (refusals.size > maxRefusals && oldest !== undefined) refusals.delete(oldest);
    return times >= refusalsNeeded;
  };
  return {
    find(operation, credentials) {
      const token = toTokenKey(credentials);
      return findRefused(token) ?? findRefused(toOperationKey(token, operation));
    },
    record(operations, credentials, results, sentAt) {
      const token = toTokenKey(credentials);
      const codes = new Set<number | null>();
      const dead = results.find((result) => !result.ok && result.failure.metaCode === 190);
      if (results.some((result) => result.ok)) refusals.delete(token);
      else if (dead !== undefined && !dead.ok && refuse(token, dead.failure, sentAt))
        codes.add(190);
      for (const [index, result] of results.entries()) {
        const key = toOperationKey(token, operations[index]!);
        if (result.ok) refusals.delete(key);
        else if (isPermission(result.failure.metaCode) && refuse(key, result.failure, sentAt)) {
          codes.add(result.failure.metaCode);
        }
      }
      return codes;
    },
  };
}

function isPermission(code: number | null): boolean {
  return code === 10 || (code !== null && code >= 200 && code <= 299);
}

/** Other credentials, other key: new ones work at once. */
function toTokenKey({ accessToken, appSecret }: Credentials): string {
  return createHash('sha256')
    .update(JSON.stringify([accessToken, appSecret]))
    .digest('base64');
}

function toOperationKey(token: string, { block, id, fields }: GraphOperation): string {
  return `${token} ${block} ${id} ${fields.join()}`;
}
