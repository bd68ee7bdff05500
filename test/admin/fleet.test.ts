// Tests of the commands that filter, order and count numbers.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from './command-line.ts';

let line: CommandLine;
let tenant: string;
const onTerminal = { tty: ['stdout'] } as const;

beforeAll(async () => {
  line = await openCommandLine();
  tenant = await line.addTenant();
  const numbers = [
    ['Alpha', 'OPEN'],
    ['Beta', 'CLOSE'],
    ['Gamma', 'CONNECTING'],
  ] as const;
  for (const [at, [name, state]] of numbers.entries()) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of creation
    await line.run([
      ...`number add --tenant ${tenant} --name ${name} --number 551199999900${at}`.split(' '),
      ...`--provider PILOT_STATUS --state ${state} --instance i${at}`.split(' '),
    ]);
  }
});

afterAll(() => line[Symbol.asyncDispose]());

async function listNames(options: string): Promise<readonly string[]> {
  const words = `number list --tenant ${tenant} ${options}`.trim().split(' ');
  const { json, stderr } = await line.run<{ name: string }[]>(words);
  if (json === undefined) throw new Error(stderr);
  return json.map(({ name }) => name);
}

describe('number list', () => {
  test.each([
    ['', ['Alpha', 'Beta', 'Gamma']],
    ['--state CLOSE,CONNECTING', ['Beta', 'Gamma']],
    ['--search ALPH', ['Alpha']],
    ['--search 9001', ['Beta']],
    ['--order-by NAME --direction DESC', ['Gamma', 'Beta', 'Alpha']],
    ['--order-by CREATED_AT', ['Gamma', 'Beta', 'Alpha']],
    ['--order-by ATTENTION', ['Beta', 'Gamma', 'Alpha']],
    ['--limit 2', ['Alpha', 'Beta']],
    ['--no-stale', []],
    ['--stale --provider META', []],
    ['--changed-since 2036-01-01', []],
    ['--id unknown', []],
    ['--not state=OPEN', ['Beta', 'Gamma']],
    ['--not state=OPEN,CLOSE', ['Gamma']],
    ['--not state=CLOSE --not search=alp', ['Alpha', 'Beta', 'Gamma']],
    ['--not state=CLOSE --not search=bet', ['Alpha', 'Gamma']],
    ['--not stale', []],
    ['--not stale=false --order-by NAME', ['Alpha', 'Beta', 'Gamma']],
    ['--not changed-since=2036-01-01', ['Alpha', 'Beta', 'Gamma']],
    ['--changed-since 0000-01-01', ['Alpha', 'Beta', 'Gamma']],
  ])('%s lists %j', async (options, names) => {
    const listed = await listNames(options);
    // Numbers that are equal in an order are in that of their ids.
    const isTied = options.includes('ATTENTION');
    expect(isTied ? listed.toSorted() : listed).toEqual(isTied ? names.toSorted() : names);
  });

  test('has every filter of the API, also to leave out numbers', async () => {
    const { stdout } = await line.run('number list --help');
    const members =
      `search id provider state verdict reply-verdict quality-rating meta-status messaging-limit-tier
      waba-id portfolio-id stale failing restricted changed-since`.split(/\s+/);
    for (const member of members) expect(stdout).toMatch(new RegExp(`^  --${member}\\b`, 'm'));
    const { json } = await line.run<{ id: string; name: string }[]>(
      `number list --tenant ${tenant}`,
    );
    const { id } = json.find(({ name }) => name === 'Beta')!;
    expect(await listNames(`--id ${id},unknown`)).toEqual(['Beta']);
    expect(await listNames(`--not id=${id}`)).toEqual(['Alpha', 'Gamma']);
  });

  test.each([
    ['colour=RED', 'There is no filter colour. Use one of search, id, provider,'],
    ['verdict=MAYBE', 'Use words of this list, separated by commas: YES, NO, UNKNOWN.'],
    ['verdict', 'Use verdict with a value: verdict=…'],
    ['stale=maybe', 'Use stale, stale=true or stale=false.'],
  ])('refuses --not %s', async (filter, message) => {
    const { code, stderr } = await line.run(`number list --tenant ${tenant} --not ${filter}`);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  test('lists as many pages as there are', async () => {
    const other = await line.addTenant();
    await line.query(
      `insert into whatsapp_number (tenant_id, id, number, name, provider, state, instance_name)
       select '${other}', '${other}_' || i, (55119000 + i)::text, 'Shop ' || i, 'PILOT_STATUS', 'OPEN', 'j' || i
       from generate_series(1, 450) i`,
    );
    const { json } = await line.run<{ id: string }[]>(`number list --tenant ${other} --state OPEN`);
    expect(new Set(json.map(({ id }) => id)).size).toBe(450);
  });

  test('says that no number matches', async () => {
    const { stdout } = await line.run(`number list --tenant ${tenant} --provider META`, onTerminal);
    expect(stdout).toBe('No number of the tenant matches.\n');
  });

  test.each(['--verdict MAYBE', '--limit 0', '--changed-since yesterday', '--order-by COLOUR'])(
    'refuses %s',
    async (options) => {
      const { code, stderr } = await line.run(`number list --tenant ${tenant} ${options}`);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^INVALID_REQUEST: /);
    },
  );
});

describe('fleet summary', () => {
  test('counts the numbers that match', async () => {
    const { json } = await line.run(`fleet summary --tenant ${tenant} --state OPEN,CLOSE`);
    expect(json).toMatchObject({
      asOf: expect.any(String),
      total: 2,
      facets: {
        provider: [{ value: 'PILOT_STATUS', count: 2 }],
        // The facet ignores its own filter.
        state: [
          { value: 'CLOSE', count: 1 },
          { value: 'CONNECTING', count: 1 },
          { value: 'OPEN', count: 1 },
        ],
        stale: 2,
        failing: 0,
        waba: [],
      },
    });
  });

  test('is a table on a terminal', async () => {
    const { stdout } = await line.run(`fleet summary --tenant ${tenant}`, onTerminal);
    expect(stdout).toMatch(/^FACET +VALUE +NUMBERS\n/);
    expect(stdout).toMatch(/\nstate +OPEN +1\n/);
    expect(stdout).toMatch(/\nstale +true +3\n/);
    expect(stdout).toMatch(/\n\n3 numbers match\.\n$/);
    const one = await line.run(`fleet summary --tenant ${tenant} --state OPEN`, onTerminal);
    expect(one.stdout).toMatch(/\n\n1 number matches\.\n$/);
  });
});
