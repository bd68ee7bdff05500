// Compares the gateway with node:http, which has the response's bytes in memory, on a repeated request while nothing changes;
// and its compressed and its 304 responses with its plain ones.

import { gatewayName, startGateway } from '../contestants.ts';
import { inTurn } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { measureInRounds, sampleColumns, toRow, toThroughputs } from '../rounds.ts';
import { writeScratch } from '../scratch.ts';
import { type BenchRequest, send, type Shape, shapes, toRequest } from '../shapes.ts';
import { startProcess, type StartedProcess } from '../started-process.ts';
import { toRatios } from '../statistics.ts';
import { atLeast, type Findings, type Section, toMeasurement, type Workbench } from './section.ts';

const limit = 0.6;
const connections = 32;
/** How a client may ask for the REST list, and the least share of the plain responses a second. */
const variants = { gzip: 0.7, 'a matching ETag (304)': 0.9 } as const;
const memoryName = 'node:http, same bytes from memory';

export const unchanged: Section = {
  toGoals: () => [
    ...shapes.map((shape) => atLeast(limit, toName(shape))),
    ...Object.entries(variants).map(([name, bar]) => atLeast(bar, toVariantName(name))),
  ],
  measure: measureUnchanged,
};

async function measureUnchanged({ openFleet, quick, log }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const gateway = made.use(await startGateway(await openFleet()));
  const memory = made.use(await startMemory(gateway));
  const contestants = [gateway, memory];
  const found = await inTurn(shapes, async (shape) => {
    log(`unchanged data: ${shape}`);
    const requests = [toRequest(shape, 1)];
    const run = async ({ url }: StartedProcess, seconds: number) =>
      await putUnderLoad({ url, requests, connections, seconds });
    if (!quick) await inTurn(contestants, (contestant) => run(contestant, 1));
    const samples = await measureInRounds(contestants, quick ? 1 : 5, (contestant) =>
      run(contestant, quick ? 1 : 3),
    );
    const ours = toThroughputs(samples.get(gatewayName));
    const ratios = toRatios(ours, toThroughputs(samples.get(memoryName)));
    return {
      measurement: toMeasurement(toName(shape), ratios),
      rows: [...samples].map(([name, ofContestant]) => toRow([shape, name], ofContestant)),
    };
  });
  log('unchanged data: compressed, and 304');
  const ofVariants = await measureVariants(gateway, quick);
  return {
    measurements: [...found.map(({ measurement }) => measurement), ...ofVariants.measurements],
    tables: [
      {
        title: 'Unchanged data, one request repeated',
        columns: ['shape', 'contestant', ...sampleColumns],
        rows: [...found.flatMap(({ rows }) => rows), ...ofVariants.rows],
      },
    ],
    notes: [],
  };
}

async function measureVariants({ url }: StartedProcess, quick: boolean) {
  const plain = toRequest('REST list', 1);
  const { headers } = await send(url, plain);
  const withHeader = (name: string, value: string): BenchRequest => ({
    ...plain,
    headers: { ...plain.headers, [name]: value },
  });
  const requests = [
    { name: 'plain', request: plain },
    { name: 'gzip', request: withHeader('accept-encoding', 'gzip') },
    {
      name: 'a matching ETag (304)',
      request: withHeader('if-none-match', headers.get('etag') ?? ''),
    },
  ];
  const seconds = quick ? 1 : 3;
  const samples = await measureInRounds(requests, quick ? 1 : 5, ({ request }) =>
    putUnderLoad({ url, requests: [request], connections, seconds }),
  );
  const ofPlain = toThroughputs(samples.get('plain'));
  return {
    measurements: Object.keys(variants).map((name) =>
      toMeasurement(toVariantName(name), toRatios(toThroughputs(samples.get(name)), ofPlain)),
    ),
    rows: [...samples].map(([name, sample]) =>
      toRow(['REST list', `${gatewayName}, ${name}`], sample),
    ),
  };
}

function toVariantName(name: string): string {
  return `unchanged data, REST list with ${name}: against the plain one`;
}

function toName(shape: Shape): string {
  return `unchanged data, ${shape}: against node:http`;
}

/** Throws if it does not respond with the gateway's bytes. */
async function startMemory(gateway: StartedProcess): Promise<StartedProcess> {
  const requests = shapes.map((shape) => [shape, toRequest(shape, 1)] as const);
  const responses = await inTurn(requests, async ([, request]) => {
    const { status, headers, text } = await send(gateway.url, request);
    if (status !== 200) throw new Error(`The gateway answered ${status}: ${text}`);
    return [toMemoryKey(request), { headers: withoutConnectionHeaders(headers), text }] as const;
  });
  const path = await writeScratch('responses.json', JSON.stringify(Object.fromEntries(responses)));
  const memory = await startProcess({
    name: memoryName,
    path: 'peers/memory.ts',
    args: [path],
    environment: {},
  });
  await inTurn(
    requests,
    async ([shape, request]) => await assertSameBytes(memory, shape, request, responses),
  );
  return memory;
}

async function assertSameBytes(
  memory: StartedProcess,
  shape: Shape,
  request: BenchRequest,
  responses: readonly (readonly [string, { readonly text: string }])[],
): Promise<void> {
  const { text } = await send(memory.url, request);
  const expected = responses.find(([key]) => key === toMemoryKey(request))?.[1].text;
  if (text === expected) return;
  await memory[Symbol.asyncDispose]();
  throw new Error(`The response of node:http to ${shape} differs from the gateway's: ${text}`);
}

/** Identifies a request. */
function toMemoryKey({ method, path, headers, body }: BenchRequest): string {
  return `${method} ${path} ${headers['x-api-key']} ${body}`;
}

// node:http sets these headers itself.
function withoutConnectionHeaders(headers: Headers): Readonly<Record<string, string>> {
  const own = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding', 'content-length']);
  return Object.fromEntries([...headers].filter(([name]) => !own.has(name)));
}
