// Measures what the history of changes costs those who write, and what it costs to stream it.

import { attempt, atMost, combine, type Section } from './section.ts';
import {
  measureCommits,
  measureReadings,
  toReadingsName,
  readingCounts,
} from './stream-history.ts';
import { measureFanOut, memoryName } from './stream-fan-out.ts';

export const stream: Section = {
  toGoals: () => [
    ...readingCounts.map((count) => atMost(1.05, toReadingsName(count))),
    atMost(150, memoryName),
  ],
  async measure(workbench) {
    return combine([
      await attempt('stream, readings', workbench, () => measureReadings(workbench)),
      await attempt('stream, commits', workbench, () => measureCommits(workbench)),
      await attempt('stream, fan-out', workbench, () => measureFanOut(workbench)),
    ]);
  },
};
