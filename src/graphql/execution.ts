// Owns the execution of a document within its price, its deadline and the patience of the caller, and what a caller is
// told about variables.

import {
  type ExecutionArgs,
  type ExecutionResult,
  executeRootSelectionSet,
  GraphQLError,
  Kind,
  print,
  validateExecutionArgs,
} from 'graphql';
import type { Admission } from '../access/rate-limit.ts';
import { GatewayError } from '../errors.ts';
import type { HttpRequest } from '../http/message.ts';
import type { RequestContext } from '../http/request-context.ts';
import { type Price, toPrice } from './cost.ts';
import { createPlanCache } from './plan-cache.ts';

/** The part of the context that says who asks and what it has cost so far. */
export interface ExecutionContext {
  readonly request: Pick<HttpRequest, 'headers' | 'signal'>;
  readonly admission: Admission;
  readonly asked: RequestContext;
}

/** Milliseconds; a live reading, which is what takes longest, has a shorter one of its own. */
const defaultDeadlineMs = 12_000;
/** Nearly all are answered sooner, so that nobody has to look whether the caller is still there. */
const unwatchedMs = 100;

/** A request that has this header set to `1` or `true` is told in `extensions.cost` what it has cost. */
const costHeader = 'x-include-cost';

/**
 * As graphql-js, but it charges the tenant first, ends with UNAVAILABLE at the deadline and when the caller leaves, and
 * a variable with a wrong value is named without its value, which may be anything. Never rejects with what is ours.
 */
export function createExecute(
  maxCost: number,
  deadlineMs = defaultDeadlineMs,
): (args: ExecutionArgs) => Promise<ExecutionResult> {
  const findCompiled = createPlanCache();
  return async (args) => {
    const context = args.contextValue as ExecutionContext;
    const { admission, asked } = context;
    const stop = createStop(context.request, deadlineMs);
    try {
      const validated = validateExecutionArgs({ ...args, abortSignal: stop.signal });
      if (!('schema' in validated)) return { errors: validated.map(toRequestError) };
      const price = toPrice(validated);
      asked.operation = price.operation;
      assertAffordable(price, maxCost);
      await admission.charge(price.requested - 1);
      const execute = findCompiled(validated) ?? executeRootSelectionSet;
      const result = await execute(validated);
      const actual = price.toActual(result, asked.meter.upstreamCalls);
      admission.settle(price.requested - actual);
      return isCostWanted(context.request) ? withCost(result, price, actual, context) : result;
    } catch (error) {
      const told = stop.isLate() ? toLate(error, deadlineMs) : error;
      if (!(told instanceof GatewayError)) throw told;
      return { errors: [new GraphQLError(told.message, { originalError: told })] };
    } finally {
      stop.forget();
    }
  };
}

function assertAffordable({ requested }: Price, limit: number): void {
  if (requested <= limit) return;
  const message = `The operation may cost ${requested} points, and the limit is ${limit}; ask for fewer numbers at once.`;
  const details = { subject: 'points', count: requested, limit };
  throw new GatewayError('QUERY_TOO_COMPLEX', message, { details });
}

/** Whether the answer says what it has cost, and so belongs to this request alone. */
export function isCostWanted({ headers }: Pick<HttpRequest, 'headers'>): boolean {
  return ['1', 'true'].includes(headers.get(costHeader) ?? '');
}

function withCost(
  result: ExecutionResult,
  { requested }: Price,
  actual: number,
  {
    asked: {
      meter: { upstreamCalls },
    },
    admission: { standing },
  }: ExecutionContext,
): ExecutionResult {
  const { limit = null, remaining = null, resetAt = null } = standing ?? {};
  const cost = { requested, actual, upstreamCalls, limit, remaining, resetAt };
  return { ...result, extensions: { ...result.extensions, cost } };
}

interface Stop {
  readonly signal: AbortSignal;
  isLate(): boolean;
  forget(): void;
}

// Signals of node that time out or join others are kept until they fire, which is long after the answer.
function createStop(request: ExecutionContext['request'], deadlineMs: number): Stop {
  const controller = new AbortController();
  let [late, left]: [boolean, AbortSignal | null] = [false, null];
  const end = () => {
    late = true;
    controller.abort(new Error('The deadline has passed.'));
  };
  const leave = () => controller.abort(left?.reason);
  const watch = () => {
    // It is made when it is first looked at.
    left = request.signal;
    if (left.aborted) return leave();
    left.addEventListener('abort', leave, { once: true });
    timer = setTimeout(end, deadlineMs - firstMs);
  };
  const firstMs = Math.min(unwatchedMs, deadlineMs);
  let timer = setTimeout(watch, firstMs);
  return {
    signal: controller.signal,
    isLate: () => late,
    forget() {
      clearTimeout(timer);
      left?.removeEventListener('abort', leave);
    },
  };
}

function toLate(cause: unknown, deadlineMs: number): GatewayError {
  const message = `The operation took longer than ${deadlineMs / 1_000} seconds.`;
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1, cause });
}

function toRequestError(error: GraphQLError, at: number): GraphQLError {
  const node = error.nodes?.[0];
  // Beyond fifty of them graphql-js stops, and says so.
  if (node === undefined && at > 0) return new GraphQLError('More variables need other values.');
  if (node?.kind !== Kind.VARIABLE_DEFINITION) {
    return new GraphQLError('operationName does not name one of the operations of the document.');
  }
  const { variable, type } = node;
  const message = `Variable $${variable.name.value} needs a value of type ${print(type)}.`;
  return new GraphQLError(message, { nodes: node });
}
