// Finds secrets in the output of the gateway, in clear text and in common encodings. canary.test.ts tests the scanner.

/** Text that leaves the gateway, and where it was found. */
export interface Output {
  readonly source: string;
  readonly text: string;
}

/** Returns `source: encoding of canary n` for each leak, once each. */
export function findLeaks(
  outputs: readonly Output[],
  canaries: readonly string[],
): readonly string[] {
  const needles = canaries.flatMap((canary, index) =>
    encode(canary).map(({ encoding, needle }) => ({
      needle,
      label: `${encoding} of canary ${index}`,
    })),
  );
  const leaks = outputs.flatMap(({ source, text }) => {
    const haystack = unescape(text).join('\n');
    const lowerCase = haystack.toLowerCase();
    return needles
      .filter(({ needle, label }) =>
        label.startsWith('hex') ? lowerCase.includes(needle) : haystack.includes(needle),
      )
      .map(({ label }) => `${source}: ${label}`);
  });
  return [...new Set(leaks)];
}

/** As `findLeaks`, for the lines of a log. Faster, because it decodes only the few lines that contain escapes. */
export function findLeaksInLog(
  lines: readonly string[],
  canaries: readonly string[],
): readonly string[] {
  const { escaped = [], plain = [] } = Object.groupBy(lines, (line) =>
    escapes.test(line) ? 'escaped' : 'plain',
  );
  const outputs = [plain, escaped].map((some) => ({ source: 'log', text: some.join('\n') }));
  return findLeaks(outputs, canaries);
}

// The base64 of a text depends on the number of bytes before it. Characters that share bits with other bytes are left out.
function encode(canary: string): readonly { encoding: string; needle: string }[] {
  const bytes = Buffer.from(canary);
  const encoded = [0, 1, 2].flatMap((before) => {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((padded.length * 8) / 6);
    return (['base64', 'base64url'] as const).map((alphabet) => ({
      encoding: alphabet,
      needle: padded.toString(alphabet).slice(from, to),
    }));
  });
  return [
    { encoding: 'clear text', needle: canary },
    { encoding: 'hex', needle: bytes.toString('hex') },
    ...encoded,
  ];
}

const escapes = /[%\\]/;

/** The text itself, and the text with up to four layers of escapes decoded. */
function unescape(text: string): readonly string[] {
  if (!escapes.test(text)) return [text];
  const decoded = [text];
  for (const decode of [decodePercent, decodeJson]) {
    let layer = text;
    for (let depth = 0; depth < 4; depth += 1) {
      const next = decode(layer);
      if (next === layer) break;
      decoded.push(next);
      layer = next;
    }
  }
  // One encoding inside the other.
  decoded.push(decodeJson(decodePercent(text)), decodePercent(decodeJson(text)));
  return decoded;
}

function decodePercent(text: string): string {
  return text
    .replaceAll('+', '%2B')
    .replace(/(%[0-9a-f]{2})+/gi, (run) =>
      Buffer.from(run.replaceAll('%', ''), 'hex').toString('utf8'),
    );
}

function decodeJson(text: string): string {
  const letters: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f' };
  return text.replace(/\\(?:u([0-9a-f]{4})|(.))/gi, (_, code?: string, letter = '') =>
    code === undefined
      ? (letters[letter] ?? letter)
      : String.fromCodePoint(Number.parseInt(code, 16)),
  );
}
