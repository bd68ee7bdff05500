// Remembers reads that Meta has refused several times, so that they are not sent again for a while.

import { LRUCache } from 'lru-cache';
import type { Credentials, UpstreamFailure } from '../../numbers/provider.ts';
import { toCredentialKey } from './credential-key.ts';

/** Some fields of a Graph node, or of an edge of it. */
export interface QuarantinedRead {
  readonly block: string;
  readonly id: string;
  readonly fields: readonly string[];
  readonly page?: { readonly edge: string };
}

export interface Quarantine {
  /** The failure that Meta would answer with; null when the read may be sent. */
  find(read: QuarantinedRead, credentials: Credentials): UpstreamFailure | null;
  /**
   * Records the result of a request that was sent at `sentAt`, in milliseconds of `Date.now()`: for each read its failure,
   * or null when it succeeded. Returns Meta's codes of what is in quarantine because of it.
   */
  record(
    reads: readonly QuarantinedRead[],
    credentials: Credentials,
    failures: readonly (UpstreamFailure | null)[],
    sentAt: number,
  ): ReadonlySet<number | null>;
}

interface Refusal {
  readonly failure: UpstreamFailure;
  readonly times: number;
  /** `Date.now()`. */
  readonly refusedAt: number;
}

/** Short, because permissions may be granted without storing a new token. */
const quarantineMs = 30_000;
/** Fewer may come from permissions that are just being changed. */
const minRefusals = 3;
const maxRefusals = 10_000;

/**
 * A dead token (code 190) is refused as a whole. A missing permission (10, 200 to 299) concerns only these fields of this
 * node, because the token may be able to read others. The token itself is not kept.
 */
export function createQuarantine(): Quarantine {
  const refusals = new LRUCache<string, Refusal>({ max: maxRefusals });
  const findRefused = (key: string): UpstreamFailure | null => {
    const refusal = refusals.get(key);
    if (refusal === undefined || refusal.times < minRefusals) return null;
    return Date.now() < refusal.refusedAt + quarantineMs ? refusal.failure : null;
  };
  /** Whether the key is in quarantine afterwards. */
  const refuse = (key: string, failure: UpstreamFailure, sentAt: number): boolean => {
    const known = refusals.get(key);
    // Requests that were sent at the same time are refused together; that counts once.
    if (known !== undefined && sentAt < known.refusedAt) return false;
    const times = (known?.times ?? 0) + 1;
    refusals.set(key, { failure, times, refusedAt: Date.now() });
    return times >= minRefusals;
  };
  return {
    find(read, credentials) {
      const token = toCredentialKey(credentials);
      return findRefused(token) ?? findRefused(toReadKey(token, read));
    },
    record(reads, credentials, failures, sentAt) {
      const token = toCredentialKey(credentials);
      const codes = new Set<number | null>();
      const dead = failures.find((failure) => failure?.metaCode === 190) ?? null;
      if (failures.includes(null)) refusals.delete(token);
      else if (dead !== null && refuse(token, dead, sentAt)) codes.add(190);
      for (const [index, failure] of failures.entries()) {
        const key = toReadKey(token, reads[index]!);
        if (failure === null) refusals.delete(key);
        else if (isPermissionCode(failure.metaCode) && refuse(key, failure, sentAt)) {
          codes.add(failure.metaCode);
        }
      }
      return codes;
    },
  };
}

function isPermissionCode(code: number | null): boolean {
  return code === 10 || (code !== null && code >= 200 && code <= 299);
}

function toReadKey(token: string, { block, id, fields, page }: QuarantinedRead): string {
  return `${token} ${page?.edge ?? block} ${id} ${fields.join()}`;
}
