// Owns changing the data under the contestants, and the proof that their answers follow.

import { type BenchDatabase, withOwner } from './databases.ts';
import { toNumberId } from './fleet.ts';
import { toRange } from './in-turn.ts';
import { ask, toQuestion } from './shapes.ts';
import { startProcess, type StartedProcess } from './started-process.ts';
import type { WriterWork } from './writer.ts';

export interface Writer extends AsyncDisposable {
  /** Changes of every tenant a second; 0 pauses. Answers how many there were until now. */
  setPace(perSecond: number): Promise<number>;
}

/** `parts`: in so many equal steps, one after the other. */
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

const patienceMs = 1_000;

/**
 * Changes a number of the tenant and asks until the answer shows it. Answers the milliseconds between the commit and
 * the first question that was answered with it; throws when that takes over a second.
 */
export async function toLagMs(
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
    const receivedAt = performance.now();
    // oxlint-disable-next-line no-await-in-loop -- asks until it is there
    const { text } = await ask(contestant.url, toQuestion('list', place));
    if (text.includes(name)) return receivedAt - changedAt;
    if (receivedAt - changedAt > patienceMs) {
      throw new Error(`${contestant.name} showed an old value ${patienceMs} ms after its change.`);
    }
  }
}
