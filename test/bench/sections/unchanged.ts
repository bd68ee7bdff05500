// The same question again and again while nothing changes: the gateway against node:http that has the answer's bytes in
// memory.

import { gatewayName, startGateway } from '../contestants.ts';
import { inTurn } from '../in-turn.ts';
import { putUnderLoad } from '../load.ts';
import { measureInRounds, sampleColumns, toRow, toThroughputs } from '../rounds.ts';
import { writeScratch } from '../scratch.ts';
import { ask, type Question, type Shape, shapes, toQuestion } from '../shapes.ts';
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

async function measureUnchanged({ openFleet, quick, tell }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const gateway = made.use(await startGateway(await openFleet()));
  const memory = made.use(await startMemory(gateway));
  const contestants = [gateway, memory];
  const found = await inTurn(shapes, async (shape) => {
    tell(`unchanged data: ${shape}`);
    const questions = [toQuestion(shape, 1)];
    const run = async ({ url }: StartedProcess, seconds: number) =>
      await putUnderLoad({ url, questions, connections, seconds });
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
        title: 'Unchanged data, one question repeated',
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

/** Throws when it does not answer with the gateway's bytes. */
async function startMemory(gateway: StartedProcess): Promise<StartedProcess> {
  const questions = shapes.map((shape) => [shape, toQuestion(shape, 1)] as const);
  const answers = await inTurn(questions, async ([, question]) => {
    const { status, headers, text } = await ask(gateway.url, question);
    if (status !== 200) throw new Error(`The gateway answered ${status}: ${text}`);
    return [toMemoryKey(question), { headers: toKept(headers), text }] as const;
  });
  const path = await writeScratch('answers.json', JSON.stringify(Object.fromEntries(answers)));
  const memory = await startProcess({
    name: memoryName,
    path: 'peers/memory.ts',
    args: [path],
    environment: {},
  });
  await inTurn(
    questions,
    async ([shape, question]) => await assertSameBytes(memory, shape, question, answers),
  );
  return memory;
}

async function assertSameBytes(
  memory: StartedProcess,
  shape: Shape,
  question: Question,
  answers: readonly (readonly [string, { readonly text: string }])[],
): Promise<void> {
  const { text } = await ask(memory.url, question);
  const expected = answers.find(([key]) => key === toMemoryKey(question))?.[1].text;
  if (text === expected) return;
  await memory[Symbol.asyncDispose]();
  throw new Error(`The answer from memory to ${shape} is not the gateway's: ${text}`);
}

/** What tells questions apart. */
function toMemoryKey({ method, path, headers, body }: Question): string {
  return `${method} ${path} ${headers['x-api-key']} ${body}`;
}

// What belongs to a connection is its own; the rest is the same bytes too.
function toKept(headers: Headers): Readonly<Record<string, string>> {
  const own = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding', 'content-length']);
  return Object.fromEntries([...headers].filter(([name]) => !own.has(name)));
}
