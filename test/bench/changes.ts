// Changes the data while contestants are measured, and proves that their responses follow.

import { type BenchDatabase, withOwner } from './databases.ts';
import { toNumberId } from './fleet.ts';
import { toRange } from './in-turn.ts';
import { send, toRequest } from './shapes.ts';
import { startProcess, type StartedProcess } from './started-process.ts';
import type { WriterWork } from './writer.ts';

export interface Writer extends AsyncDisposable {
  /** Changes per second of every tenant; 0 pauses. Resolves to the number of changes so far. */
  setPace(perSecond: number): Promise<number>;
}

/** Changes one number of each tenant; `parts` spreads the tenants over that many equal steps. */
export async function startWriter(
  { ownerUrl }: BenchDatabase,
  places: readonly number[],
  parts = 1,
): Promise<Writer> {
  const numberIds = places.map((place) => toNumberId(place, 1));
  const size = Math.ceil(numberIds.length / parts);
  const work: WriterWork = {
    ownerUrl,
    parts: toRange(parts).map((part) => numberIds.slice(part * size, (part + 1) * size)),
  };
  const started = await startProcess({
    name: 'writer',
    path: 'writer.ts',
    environment: { WRITER_WORK: JSON.stringify(work) },
  });
  return {
    async setPace(perSecond) {
      const response = await fetch(`${started.url}/?perSecond=${perSecond}`);
      return Number(await response.text());
    },
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  };
}

const maxLagMs = 1_000;

/**
 * Changes a number of the tenant and polls until the response shows it. Resolves to the milliseconds between the commit
 * and the first request that was answered with the change; throws if that takes over a second.
 */
export async function measureLagMs(
  database: BenchDatabase,
  contestant: StartedProcess,
  place: number,
): Promise<number> {
  const name = `Changed ${crypto.randomUUID()}`;
  await withOwner(database, async (owner) => {
    await owner.query('update whatsapp_number set name = $2 where id = $1', [
      toNumberId(place, 1),
      name,
    ]);
  });
  const changedAt = performance.now();
  for (;;) {
    const sentAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- polls
    const { text } = await send(contestant.url, toRequest('list', place));
    if (text.includes(name)) return sentAt - changedAt;
    if (sentAt - changedAt > maxLagMs) {
      throw new Error(
        `${contestant.name} still returned the old value ${maxLagMs} ms after a change.`,
      );
    }
  }
}
