// A random transaction of software that changes the states of numbers.

export type Isolation = 'read committed' | 'repeatable read' | 'serializable';

export const tenants = ['a', 'b'] as const;
export type Tenant = (typeof tenants)[number];

export interface Plan {
  readonly isolation: Isolation;
  readonly role: 'superuser' | 'clerk' | 'owner';
  /** Without begin and end. */
  readonly steps: readonly string[];
  /** The updates that are not rolled back: the number and its state. */
  readonly updates: readonly (readonly [string, string])[];
  readonly end: 'commit' | 'rollback' | 'autocommit';
}

export type Random = ReturnType<typeof createRandom>;

export interface PlanOptions {
  /** Of the writer. Only it changes the numbers of this name, one of each tenant; all change those named `shared`. */
  readonly index: number;
  /** A prefix that no other transaction has. */
  readonly name: string;
  readonly isolations: readonly Isolation[];
}

export function makePlan(random: Random, { index, name, isolations }: PlanOptions): Plan {
  const role = random.pick(['superuser', 'clerk', 'owner'] as const);
  const order = random.pick([['a'], ['b'], ['a', 'b'], ['b', 'a']] as const);
  const steps: string[] = [];
  let updates: (readonly [string, string])[] = [];
  let saved: typeof updates | null = null;
  let count = 0;
  const update = (tenant: Tenant, number: string | number) => {
    const [id, state] = [`${tenant}/${number}`, `${name}.${(count += 1)}`];
    // Its policy shows the owner the rows of this tenant alone.
    if (role === 'owner') steps.push(`set local app.tenant_id = '${tenant}'`);
    steps.push(
      `update whatsapp_number set state = '${state}' where tenant_id = '${tenant}' and id = '${id}'`,
    );
    updates.push([id, state]);
  };
  if (role !== 'owner' && random.chance(0.2)) {
    update(order[0], random.chance(0.5) ? index : 'shared');
    return { isolation: 'read committed', role, steps, updates, end: 'autocommit' };
  }
  for (const tenant of order) {
    for (let left = random.below(3); left >= 0; left -= 1) {
      if (random.chance(0.2)) {
        steps.push('savepoint here');
        saved = [...updates];
      }
      update(tenant, index);
      if (random.chance(0.3)) steps.push(`select pg_sleep(${random.below(4) / 1_000})`);
      if (saved !== null && random.chance(0.3)) {
        steps.push('rollback to savepoint here');
        updates = [...saved];
      }
      if (random.chance(0.05)) {
        steps.push(`set constraints all ${random.pick(['immediate', 'deferred'])}`);
      }
    }
  }
  // The last one, and of one tenant, so that the rows of numbers cannot deadlock.
  if (random.chance(0.4)) update(random.pick(tenants), 'shared');
  if (random.chance(0.2)) {
    steps.push(`set local ${random.pick(['lock_timeout', 'statement_timeout'])} = '2ms'`);
  }
  const end = random.chance(0.15) ? 'rollback' : 'commit';
  return { isolation: random.pick(isolations), role, steps, updates, end };
}

/** The same numbers for the same seed. https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
export function createRandom(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return {
    below,
    chance: (share: number) => next() < share,
    pick: <Value>(values: readonly Value[]) => values[below(values.length)]!,
  };
}
