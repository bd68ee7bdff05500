// Owns API keys in the schema: the hints that people recognise a key by.

import type { KeyHint } from '../access/key.ts';
import { builder } from './builder.ts';

export const ApiKeyHintType = builder.objectRef<KeyHint>('ApiKeyHint').implement({
  description: 'Enough of an API key to recognise it by, and too little to use it.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name that the key was given.' }),
    keyPrefix: t.exposeString('keyPrefix', {
      description: 'The first characters of the key, for example `ps_4fGh`.',
    }),
    keyLast4: t.exposeString('keyLast4', { description: 'The last four characters of the key.' }),
  }),
});
