// Executes an operation within its price and its deadline, and until the caller disconnects.

import {
  type ExecutionArgs,
  type ExecutionResult,
  executeRootSelectionSet,
  GraphQLError,
  Kind,
  print,
  type ValidatedExecutionArgs,
  validateExecutionArgs,
} from 'graphql';
import { prices } from '../access/prices.ts';
import { type Admission, limitToWindow } from '../access/rate-limit.ts';
import { GatewayError } from '../errors.ts';
import type { ChangePage } from '../history/change.ts';
import type { HttpRequest } from '../http/message.ts';
import type { RequestContext } from '../http/request-context.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { GraphQLContext } from './builder.ts';
import { type Price, toPrice, toStreamedChangePrice } from './cost.ts';
import { createPlanCache } from './plan-cache.ts';

/** The context of an operation. */
export interface ExecutionContext extends GraphQLContext {
  readonly admission: Admission;
  readonly requestContext: RequestContext;
}

/** A live read has a shorter deadline of its own. */
const defaultDeadlineMs = 12_000;
/** Nearly all operations end before, so only slower ones pay for watching the connection of the caller. */
const disconnectCheckDelayMs = 100;

/** The header that asks for the cost of the operation in `extensions.cost`; `1` or `true`. */
const costHeader = 'x-include-cost';

/**
 * Returns an `execute` that charges the tenant first. It ends with UNAVAILABLE at the deadline, and rejects when the caller
 * disconnects. Errors about variables name the variable and never repeat its value.
 */
export function createExecute(
  maxCost: number,
  deadlineMs = defaultDeadlineMs,
): (args: ExecutionArgs) => Promise<ExecutionResult> {
  const findPlan = createPlanCache();
  return async (args) => {
    const context = args.contextValue as ExecutionContext;
    const { admission, requestContext, numbers, access } = context;
    const deadline = createDeadline(context.request, deadlineMs);
    try {
      const validated = validateExecutionArgs({ ...args, abortSignal: deadline.signal });
      if (!('schema' in validated)) return { errors: validated.map(toRequestError) };
      const price = toPrice(validated, numbers.estimateListSize(access.tenantId));
      requestContext.operation = price.operation;
      assertAffordable(price, maxCost);
      const requested = limitToWindow(price.requested, price.staticPoints, admission);
      await admission.charge(requested - prices.request);
      const execute = findPlan(validated) ?? executeRootSelectionSet;
      const result = await execute(validated);
      const actual = price.toActual(result, requestContext.meter.upstreamCalls);
      admission.settle(requested - actual);
      if (!isCostRequested(context.request)) return result;
      const more = context.morePoints;
      return addCost(result, { requested: requested + more, actual: actual + more }, context);
    } catch (error) {
      const cause = deadline.isPassed() ? createTimeout(error, deadlineMs) : error;
      if (!(cause instanceof GatewayError)) throw cause;
      return { errors: [new GraphQLError(cause.message, { originalError: cause })] };
    } finally {
      deadline.cancel();
    }
  };
}

/** Charges for an event of a subscription before it is executed; waits while the tenant has too few points. */
export type ChargeEvent = (event: unknown) => MaybePromise<void>;

/**
 * Returns a function that charges for the start of a subscription, and returns what charges for its events. Each chunk that is
 * sent is charged by the pipeline in addition.
 */
export function createCharge(
  maxCost: number,
): (validated: ValidatedExecutionArgs) => Promise<ChargeEvent> {
  return async (validated) => {
    const { admission, requestContext, stream } = validated.contextValue as ExecutionContext;
    const price = toPrice(validated, null);
    requestContext.operation = price.operation;
    assertAffordable(price, maxCost);
    const requested = limitToWindow(price.requested, price.staticPoints, admission);
    await admission.charge(requested - prices.request);
    const perChange = toStreamedChangePrice(validated);
    if (perChange === 0) return () => undefined;
    return (event) => {
      const { changes } = event as ChangePage;
      return changes.length === 0 ? undefined : stream?.charge(changes.length * perChange);
    };
  };
}

/** The limit concerns the operation, so it does not depend on how many numbers the tenant has. */
function assertAffordable(
  { staticPoints, perNumber, pointsWithoutIds }: Price,
  limit: number,
): void {
  if (staticPoints <= limit) return;
  const fitting = Math.floor((limit - pointsWithoutIds) / perNumber);
  const advice =
    perNumber === 0 || fitting < 1
      ? 'select less at once'
      : `request at most ${fitting} numbers at once`;
  const message = `The operation may cost ${staticPoints} points, and the limit is ${limit}; ${advice}.`;
  const details = { subject: 'points', count: staticPoints, limit };
  throw new GatewayError('QUERY_TOO_COMPLEX', message, { details });
}

/** Whether the response contains the cost, and so belongs to this request alone. */
export function isCostRequested({ headers }: Pick<HttpRequest, 'headers'>): boolean {
  return ['1', 'true'].includes(headers.get(costHeader) ?? '');
}

function addCost(
  result: ExecutionResult,
  points: { readonly requested: number; readonly actual: number },
  { requestContext: { meter }, admission: { rateLimit } }: ExecutionContext,
): ExecutionResult {
  const { upstreamCalls } = meter;
  const { limit = null, remaining = null, resetAt = null } = rateLimit ?? {};
  const cost = { ...points, upstreamCalls, limit, remaining, resetAt };
  return { ...result, extensions: { ...result.extensions, cost } };
}

interface Deadline {
  /** Aborted at the deadline, or when the caller has disconnected. */
  readonly signal: AbortSignal;
  isPassed(): boolean;
  cancel(): void;
}

// AbortSignal.timeout and AbortSignal.any stay in memory until they fire, long after the response.
function createDeadline(request: ExecutionContext['request'], deadlineMs: number): Deadline {
  const controller = new AbortController();
  let isPassed = false;
  let caller: AbortSignal | null = null;
  const abort = () => controller.abort(caller?.reason);
  const end = () => {
    isPassed = true;
    controller.abort(new Error('The deadline has passed.'));
  };
  const watchCaller = () => {
    // The request creates its signal when it is first read.
    caller = request.signal;
    if (caller.aborted) return abort();
    caller.addEventListener('abort', abort, { once: true });
    timer = setTimeout(end, deadlineMs - firstMs);
  };
  const firstMs = Math.min(disconnectCheckDelayMs, deadlineMs);
  let timer = setTimeout(watchCaller, firstMs);
  return {
    signal: controller.signal,
    isPassed: () => isPassed,
    cancel() {
      clearTimeout(timer);
      caller?.removeEventListener('abort', abort);
    },
  };
}

function createTimeout(cause: unknown, deadlineMs: number): GatewayError {
  const message = `The operation took longer than ${deadlineMs / 1_000} seconds.`;
  return new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1, cause });
}

/** The error of a request whose operation name or variables are wrong. It never repeats a value. */
export function toRequestError(error: GraphQLError, at: number): GraphQLError {
  const node = error.nodes?.[0];
  // After fifty errors graphql-js stops, and adds one without a node.
  if (node === undefined && at > 0) return new GraphQLError('More variables have wrong values.');
  if (node?.kind !== Kind.VARIABLE_DEFINITION) {
    return new GraphQLError('operationName must name one of the operations of the document.');
  }
  const { variable, type } = node;
  const message = `Variable $${variable.name.value} needs a value of type ${print(type)}.`;
  return new GraphQLError(message, { nodes: node });
}
