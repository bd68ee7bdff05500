// Serves /graphql: checks the form of a request, runs its operation, and sends GraphiQL to browsers.

import {
  type DocumentNode,
  type ExecutionResult,
  getOperationAST,
  GraphQLError,
  type GraphQLSchema,
  OperationTypeNode,
  validate,
} from 'graphql';
import { type AccessControl, assertScope } from '../access/access.ts';
import { limitMore } from '../access/rate-limit.ts';
import type { GraphQLLimits } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { Incidents } from '../alerts/incidents.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Operations } from '../fleet/operations.ts';
import type { Sync } from '../sync/sync.ts';
import type { History } from '../history/history.ts';
import type { Call, Endpoint, KeyedRoute, PreparedCall } from '../http/endpoint.ts';
import { EventStream, type OpenStream } from '../http/event-stream.ts';
import { assertJson, type HttpRequest } from '../http/message.ts';
import { negotiate } from '../http/negotiation.ts';
import type { ComputedResponse } from '../http/response-cache.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { WebhookRoutes } from '../numbers/webhook-route.ts';
import { boundText, type Telemetry } from '../telemetry.ts';
import { traceOperation } from '../tracing.ts';
import { acceptsEvents, toEvents } from './events.ts';
import {
  createCharge,
  createExecute,
  type ExecutionContext,
  isCostRequested,
} from './execution.ts';
import { createGraphiql, type GraphiqlKeys } from './graphiql.ts';
import { createDocumentCache, createParse } from './limits.ts';
import {
  createInvalid,
  type GraphQLParams,
  mayHaveMutation,
  mayHavePersistedQuery,
  mayHaveSubscription,
  parseBody,
  parseSearch,
  type SentParams,
  toBody,
} from './params.ts';
import { createPersistedQueries, createResolveDocument } from './persisted-queries.ts';
import {
  type Result,
  toErrorResponse,
  toEventResponse,
  toMediaType,
  toResponse,
  toResultJson,
} from './response.ts';
import { createSubscribe } from './subscription.ts';

export interface GraphQLEndpointOptions {
  readonly schema: GraphQLSchema;
  readonly limits: GraphQLLimits;
  readonly numbers: Numbers;
  readonly fleet: Fleet;
  readonly history: History;
  readonly operations: Operations;
  readonly sync: Pick<Sync, 'report'>;
  readonly incidents: Incidents;
  readonly webhookRoutes: WebhookRoutes;
  readonly tenants: Pick<AccessControl, 'getTenant'>;
  readonly telemetry: Telemetry;
  /** Null: no page. The keys are filled into its header editor; null in production. */
  readonly graphiql: { readonly keys: GraphiqlKeys | null } | null;
  /** Whether clients may send the hash of a document instead of the document. */
  readonly persistedQueries: boolean;
  /** Whether errors contain "Did you mean …?", for development. */
  readonly suggestions: boolean;
}

const path = '/graphql';

export function createGraphQLEndpoint(options: GraphQLEndpointOptions): Endpoint {
  const documents = createDocuments(options);
  const compute = createCompute(options, documents);
  const persisted = options.persistedQueries ? createPersistedQueries() : null;
  const resolve = createResolveDocument(persisted, documents.isValid);
  // The body of a POST that has the document is parsed only if the response is not cached.
  const prepareUnparsed = (call: Call): PreparedCall => ({
    cacheKey: toCacheKey(call.request, call.body),
    compute: async () => compute(call, resolve(call.access.tenantId, parseBody(call.body))),
  });
  const prepareParsed = (call: Call, sent: SentParams): PreparedCall => {
    const params = resolve(call.access.tenantId, sent);
    return {
      cacheKey: toCacheKey(call.request, toBody(params)),
      compute: () => compute(call, params),
    };
  };
  const graphiql = options.graphiql === null ? null : createGraphiql(options.graphiql.keys);
  const postRoute: KeyedRoute = {
    needsKey: true,
    scope: 'read',
    path,
    operation: null,
    readsBody: true,
    prepare: (call) =>
      mayHavePersistedQuery(call.body)
        ? prepareParsed(call, parseBody(call.body))
        : prepareUnparsed(call),
  };
  const getRoute: KeyedRoute = {
    ...postRoute,
    readsBody: false,
    prepare: (call) => prepareParsed(call, parseSearch(call.request.search)),
  };
  return {
    match(request) {
      if (graphiql !== null && prefersPage(request)) {
        return { needsKey: false, path, operation: null, respond: graphiql };
      }
      if (isSafe(request)) return getRoute;
      assertExecutable(request);
      return postRoute;
    },
    toErrorResponse,
  };
}

function isSafe({ method }: Pick<HttpRequest, 'method'>): boolean {
  return method === 'GET' || method === 'HEAD';
}

function prefersPage(request: HttpRequest): boolean {
  const offered = ['application/json', 'application/graphql-response+json', 'text/html'] as const;
  return isSafe(request) && negotiate(request.headers.get('accept'), offered) === 'text/html';
}

function assertExecutable(request: HttpRequest): void {
  if (request.method !== 'POST') {
    const allow = ['GET', 'HEAD', 'POST'];
    const message = 'Send the operation with POST, or a query with GET.';
    throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow });
  }
  assertJson(request, 'operation');
}

/** Null for a request whose response is never cached. */
function toCacheKey(request: HttpRequest, body: string): string | null {
  if (isCostRequested(request) || mayHaveMutation(body)) return null;
  const accept = request.headers.get('accept');
  if (acceptsEvents(accept) && mayHaveSubscription(body)) return null;
  return `${toMediaType(accept)} ${body}`;
}

/** Returns a function that runs an operation. A response with errors is not cacheable: they name the request. */
function createCompute(options: GraphQLEndpointOptions, documents: Documents) {
  const {
    numbers,
    fleet,
    history,
    operations,
    sync,
    incidents,
    webhookRoutes,
    tenants,
    telemetry,
  } = options;
  const run = createRun(options, documents);
  return async (call: Call, params: GraphQLParams): Promise<ComputedResponse> => {
    const { request, context: requestContext, access, admission, openStream } = call;
    const context: ExecutionContext = {
      access,
      numbers,
      fleet,
      history,
      operations,
      sync,
      incidents,
      webhookRoutes,
      tenants,
      request,
      admission,
      requestContext,
      stream: null,
      chargeMore: async (charged, points) => {
        const limited = limitMore(points, admission);
        await admission.charge(limited);
        charged.morePoints += limited;
      },
      ...freshContext,
    };
    const started = await run(params, context, openStream).catch((thrown: unknown) => ({
      errors: [thrown],
    }));
    const { requestId, meter } = requestContext;
    const responseContext = { request, requestId, telemetry, isLive: meter.isLive };
    if ('results' in started) {
      const { results, stream } = started;
      const events = toEvents(results, stream, (result) => toResultJson(result, responseContext));
      return { response: toEventResponse(new EventStream(stream, events)), isCacheable: false };
    }
    const response = toResponse(started, responseContext);
    return { response, isCacheable: started.errors === undefined && !meter.isLive };
  };
}

/** What the resolvers of one operation, or of one event of a subscription, share. */
const freshContext = { sharedList: null, listFields: 0, morePoints: 0 };

/** A subscription that has started. */
interface Subscription {
  readonly results: AsyncIterableIterator<ExecutionResult>;
  readonly stream: OpenStream;
  readonly errors?: undefined;
}

type Run = (
  params: GraphQLParams,
  context: ExecutionContext,
  openStream: Call['openStream'],
) => Promise<Result | Subscription>;

function createRun(options: GraphQLEndpointOptions, documents: Documents): Run {
  const { schema } = options;
  const { parse, validate: validateDocument } = documents;
  const execute = createExecute(options.limits.cost);
  const start = createStart(options, documents);
  return async (params, contextValue, openStream) => {
    const { query, variables: variableValues, operationName } = params;
    const document = parse(query);
    const operation = getOperationAST(document, operationName);
    if (!operation) throw new GraphQLError('Could not determine what operation to execute.');
    if (operation.name) contextValue.requestContext.operationName = boundText(operation.name.value);
    const { operation: type } = operation;
    assertSuitable(type, contextValue);
    return await traceOperation(type, operation.name?.value, async () => {
      const errors = validateDocument(document);
      if (errors.length > 0) return { errors };
      if (type === OperationTypeNode.SUBSCRIPTION)
        return await start(params, contextValue, openStream);
      return await execute({ schema, document, contextValue, variableValues, operationName });
    });
  };
}

/** Throws if an operation of this type cannot be sent with such a request. */
function assertSuitable(
  type: OperationTypeNode,
  { request, access }: Pick<ExecutionContext, 'request' | 'access'>,
): void {
  if (type === OperationTypeNode.MUTATION && isSafe(request)) {
    const message = 'Mutations cannot be sent with GET; send this operation with POST.';
    throw new GatewayError('METHOD_NOT_ALLOWED', message, { allow: ['POST'] });
  }
  if (type === OperationTypeNode.MUTATION) assertScope(access, 'operate');
  if (type === OperationTypeNode.SUBSCRIPTION && !acceptsEvents(request.headers.get('accept'))) {
    throw createInvalid(
      'A subscription is answered with a stream of events; send it with the header accept: text/event-stream.',
    );
  }
}

/** Returns a function that starts a valid subscription. */
function createStart({ schema, limits }: GraphQLEndpointOptions, documents: Documents): Run {
  const subscribe = createSubscribe({
    schema,
    ...documents,
    charge: createCharge(limits.cost),
    createEventContext: (context) => ({ ...context, ...freshContext }),
  });
  return async (params, context, openStream) => {
    const { method, headers } = context.request;
    const stream = openStream();
    const request = { method, headers, signal: stream.signal };
    const results = await subscribe(params, { ...context, request, stream });
    return Symbol.asyncIterator in results ? { results, stream } : results;
  };
}

interface Documents {
  /** Throws QUERY_TOO_COMPLEX beyond the limits, and GraphQLError for a syntax error. */
  readonly parse: (source: string) => DocumentNode;
  readonly validate: (document: DocumentNode) => readonly GraphQLError[];
  /** Whether it can be parsed within the limits and is valid. */
  readonly isValid: (source: string) => boolean;
}

function createDocuments(options: GraphQLEndpointOptions): Documents {
  const parse = createCachedParse(options.limits);
  const validateDocument = createCachedValidate(options);
  return {
    parse,
    validate: validateDocument,
    isValid(source) {
      try {
        return validateDocument(parse(source)).length === 0;
      } catch {
        return false;
      }
    },
  };
}

function createCachedParse(limits: GraphQLLimits): (source: string) => DocumentNode {
  const documents = createDocumentCache();
  const parse = createParse(limits);
  return (source) => {
    const known = documents.get(source);
    if (known !== undefined) return known;
    const document = parse(source);
    documents.set(source, document);
    return document;
  };
}

/** Remembers all valid documents, and the last invalid one: errors take more memory than the document cache counts. */
function createCachedValidate({ schema, suggestions }: GraphQLEndpointOptions) {
  const valid = new WeakSet<DocumentNode>();
  // A document that is sent with its hash is validated before it is stored, and again before it is executed.
  let invalid: {
    readonly document: DocumentNode;
    readonly errors: readonly GraphQLError[];
  } | null = null;
  return (document: DocumentNode): readonly GraphQLError[] => {
    if (valid.has(document)) return [];
    if (invalid?.document === document) return invalid.errors;
    const rules = { hideSuggestions: !suggestions, maxErrors: 10 };
    const errors = validate(schema, document, undefined, rules);
    if (errors.length === 0) valid.add(document);
    else invalid = { document, errors };
    return errors;
  };
}
