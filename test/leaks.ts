// Looks for secrets in what was seen from outside: in clear text, and in the forms that text takes on its way. That it
// finds what it should is canary.test.ts's to show.

/** Something that was seen from outside, and what was seen. */
export interface Sighting {
  readonly place: string;
  readonly text: string;
}

/** Answers `place: form of canary n`, once each. */
export function findLeaks(
  sightings: readonly Sighting[],
  canaries: readonly string[],
): readonly string[] {
  const needles = canaries.flatMap((canary, index) =>
    toForms(canary).map(({ form, needle }) => ({ needle, label: `${form} of canary ${index}` })),
  );
  const leaks = sightings.flatMap(({ place, text }) => {
    const haystack = toReadings(text).join('\n');
    const small = haystack.toLowerCase();
    return needles
      .filter(({ needle, label }) =>
        label.startsWith('hex') ? small.includes(needle) : haystack.includes(needle),
      )
      .map(({ label }) => `${place}: ${label}`);
  });
  return [...new Set(leaks)];
}

/** As `findLeaks`, for the lines of a log. Few of them have anything escaped, and only those are read more than once. */
export function findLeaksInLog(
  lines: readonly string[],
  canaries: readonly string[],
): readonly string[] {
  const { escaped = [], plain = [] } = Object.groupBy(lines, (line) =>
    escapes.test(line) ? 'escaped' : 'plain',
  );
  const sightings = [plain, escaped].map((some) => ({ place: 'log', text: some.join('\n') }));
  return findLeaks(sightings, canaries);
}

// In base64 a text looks different by what stands before it; the characters that share bits with a neighbour are left out.
function toForms(canary: string): readonly { form: string; needle: string }[] {
  const bytes = Buffer.from(canary);
  const encoded = [0, 1, 2].flatMap((before) => {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((padded.length * 8) / 6);
    return (['base64', 'base64url'] as const).map((alphabet) => ({
      form: alphabet,
      needle: padded.toString(alphabet).slice(from, to),
    }));
  });
  return [
    { form: 'clear text', needle: canary },
    { form: 'hex', needle: bytes.toString('hex') },
    ...encoded,
  ];
}

const escapes = /[%\\]/;

/** A text as it stands, and with its escapes taken off, one layer after the other. */
function toReadings(text: string): readonly string[] {
  if (!escapes.test(text)) return [text];
  const readings = [text];
  for (const unescape of [decodePercent, decodeJson]) {
    let layer = text;
    for (let depth = 0; depth < 4; depth += 1) {
      const next = unescape(layer);
      if (next === layer) break;
      readings.push(next);
      layer = next;
    }
  }
  // One within the other.
  readings.push(decodeJson(decodePercent(text)), decodePercent(decodeJson(text)));
  return readings;
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
