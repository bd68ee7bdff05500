// Makes a test fail when a client logs a warning, as caches do about a missing key or lost data.

import { afterEach, beforeEach, type MockInstance, vi } from 'vitest';

/** Call it once in a test file or a `describe`. */
export function forbidWarnings(): void {
  let spies: readonly MockInstance[] = [];
  beforeEach(() => {
    spies = (['warn', 'error'] as const).map((level) =>
      vi.spyOn(console, level).mockImplementation(() => undefined),
    );
  });
  afterEach(() => {
    const logged = spies.flatMap(({ mock }) => mock.calls);
    for (const spy of spies) spy.mockRestore();
    if (logged.length > 0) throw new Error(`A client warned: ${JSON.stringify(logged, null, 2)}`);
  });
}
