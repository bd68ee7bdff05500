// Compares the gateway with node:http, which has the response's bytes in memory, on a repeated request while nothing changes.

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
const memoryName = 'node:http, same bytes from memory';

export const unchanged: Section = {
  toGoals: () => shapes.map((shape) => atLeast(limit, toName(shape))),
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
  return {
    measurements: found.map(({ measurement }) => measurement),
    tables: [
      {
        title: 'Unchanged data, one request repeated',
        columns: ['shape', 'contestant', ...sampleColumns],
        rows: found.flatMap(({ rows }) => rows),
      },
    ],
    notes: [],
  };
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
