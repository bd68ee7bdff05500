// Turns on Node's compile cache. It is JavaScript, and `npm start` loads it first, so that even main.ts comes from the cache
// and Node need not load its type stripper; see test/bench/README.md for the memory this saves.

import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// In node_modules, since whoever can write there can change the program anyway. If it is not writable, nothing is cached.
enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url)));
