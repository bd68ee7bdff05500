// Owns the GraphQL door: who may ask what in which form, and the way of an operation from its body to its answer.
// What an answer looks like is response.ts's.

import { type DocumentNode, getOperationAST, GraphQLError, type Source, validate } from 'graphql';
import type { GraphQLParams, Plugin } from 'graphql-yoga';
import type { Admission } from '../access/rate-limit.ts';
import type { GraphQLLimits } from '../config.ts';
import { GatewayError } from '../errors.ts';
import type { Call, Endpoint, KeyedRoute } from '../http/endpoint.ts';
import {
  type HttpRequest,
  type HttpResponse,
  toFetchResponse,
  fromFetchResponse,
} from '../http/message.ts';
import type { ComputedResponse } from '../http/response-cache.ts';
import { type JsonObject, parseJson, toObject } from '../json.ts';
import type { Numbers } from '../numbers/numbers.ts';
import type { RequestContext } from '../http/request-context.ts';
import type { Telemetry } from '../telemetry.ts';
import type { GraphQLContext } from './builder.ts';
import { createExecute, isCostWanted } from './execution.ts';
import { createGraphiql } from './graphiql.ts';
import { createDocumentCache, createParse } from './limits.ts';
import {
  type AnswerContext,
  negotiate,
  type Result,
  toMediaType,
  toRefusal,
  toResponse,
} from './response.ts';
import { schema } from './schema.ts';

export interface GraphQLEndpointOptions {
  readonly limits: GraphQLLimits;
  readonly numbers: Numbers;
  readonly telemetry: Telemetry;
  /** Null: no page. `apiKey` is put into its header editor; null in production. */
  readonly graphiql: { readonly apiKey: string | null } | null;
  /** Whether errors say "Did you mean …?", which is for development. */
  readonly suggestions: boolean;
}

export function createGraphQLEndpoint(options: GraphQLEndpointOptions): Endpoint {
  const compute = createCompute(options);
  const graphiql = options.graphiql === null ? null : createGraphiql(options.graphiql.apiKey);
  const methods = graphiql === null ? ['POST'] : ['GET', 'POST'];
  const route: KeyedRoute = {
    needsKey: true,
    operation: null,
    readsBody: true,
    prepare: (call) => ({ cacheKey: toCacheKey(call), compute: () => compute(call) }),
  };
  return {
    match(request) {
      if (graphiql !== null && isForPage(request)) {
        return { needsKey: false, operation: null, respond: async (it) => graphiql(it) };
      }
      assertExecutable(request, methods);
      return route;
    },
    toErrorResponse: toRefusal,
  };
}

function createCompute({ numbers, telemetry, ...options }: GraphQLEndpointOptions) {
  const steps = createSteps(options);
  let yoga: Promise<Yoga> | undefined;
  const forgetYoga = (error: unknown): never => {
    // The next request tries again.
    yoga = undefined;
    throw error;
  };
  return async ({ request, context, access, admission, body }: Call): Promise<ComputedResponse> => {
    const answer = { request, requestId: context.requestId, telemetry };
    const params = parseBody(body);
    const asked = {
      access,
      numbers,
      answer,
      admission,
      asked: context,
      params,
      list: null,
      lists: 0,
    };
    if (!isPlain(request)) {
      yoga ??= createEngine(steps).catch(forgetYoga);
      return { response: await askYoga(await yoga, request, asked), isCacheable: false };
    }
    const result = await run(steps, { ...asked, request }).catch((thrown: unknown) => ({
      errors: [thrown],
    }));
    return { response: toResponse(result, answer), isCacheable: result.errors === undefined };
  };
}

function isForPage({ method, headers }: HttpRequest): boolean {
  const offered = ['application/json', 'application/graphql-response+json', 'text/html'] as const;
  return method === 'GET' && negotiate(headers.get('accept'), offered) === 'text/html';
}

function assertExecutable({ method, headers }: HttpRequest, allow: readonly string[]): void {
  if (method !== 'POST') {
    throw new GatewayError('METHOD_NOT_ALLOWED', 'Send the operation with POST.', { allow });
  }
  const [contentType = '', ...parameters] = (headers.get('content-type') ?? '').split(';');
  if (contentType.trim().toLowerCase() !== 'application/json') {
    throw toInvalid('Send the operation as JSON, with the header content-type: application/json.');
  }
  if (parameters.some(isOtherCharset)) {
    throw toInvalid('Send the operation in UTF-8, with charset=utf-8 in content-type or without.');
  }
  // Nothing is unpacked here: a body is read as it came, whatever it claims to be.
  if (!/^(?:identity)?$/i.test(headers.get('content-encoding') ?? '')) {
    throw toInvalid('Send the operation uncompressed, without the header content-encoding.');
  }
}

function isOtherCharset(parameter: string): boolean {
  const [name = '', value = ''] = parameter.split('=');
  return name.trim().toLowerCase() === 'charset' && !/^(?:utf-?8|"utf-?8")$/i.test(value.trim());
}

/** What nearly every client sends. Anything else that is accepted is left to Yoga. */
function isPlain({ headers }: HttpRequest): boolean {
  const isUsual = /^application\/json(; ?charset=utf-8)?$/i.test(headers.get('content-type') ?? '');
  return isUsual && headers.get('content-encoding') === null;
}

/** Null for what is not to be kept in memory. */
function toCacheKey({ request, body }: Call): string | null {
  if (!isPlain(request) || isCostWanted(request)) return null;
  return `${toMediaType(request.headers.get('accept'))} ${body}`;
}

type ServerContext = Omit<GraphQLContext, 'request'> & {
  readonly answer: AnswerContext;
  readonly admission: Admission;
  readonly asked: RequestContext;
  readonly params: GraphQLParams;
};

type Yoga = Awaited<ReturnType<typeof createEngine>>;

/** Yoga's own way of answering, around which it makes a Request and a Response of fetch. */
async function askYoga(
  yoga: Yoga,
  { method, headers, signal }: HttpRequest,
  context: ServerContext,
): Promise<HttpResponse> {
  // Yoga takes some endings of a URL for its own, so it is not shown the caller's.
  const request = new Request('http://gateway/graphql', { method, headers: [...headers], signal });
  return await fromFetchResponse(await yoga.handleRequest(request, context));
}

type Steps = ReturnType<typeof createSteps>;

/** The steps that Yoga takes for an operation, and nothing around them. */
async function run(
  { parse, validateDocument, execute }: Steps,
  contextValue: ServerContext & Pick<GraphQLContext, 'request'>,
): Promise<Result> {
  const { query = '', variables: variableValues, operationName } = contextValue.params;
  const document = parse(query);
  if (!getOperationAST(document, operationName)) throw new GraphQLError(noOperation);
  const errors = validateDocument(document);
  if (errors.length > 0) return { errors };
  return await execute({ schema, document, contextValue, variableValues, operationName });
}

// What Yoga says, before anything is validated.
const noOperation = 'Could not determine what operation to execute.';

/** The steps of an operation. Both ways take these, and so know what was parsed and validated before. */
function createSteps({
  limits,
  suggestions,
}: Pick<GraphQLEndpointOptions, 'limits' | 'suggestions'>) {
  const documents = createDocumentCache();
  const parseWithinLimits = createParse(limits);
  // Those without an error: errors would take more memory than all that is counted of their document.
  const valid = new WeakSet<DocumentNode>();
  return {
    parse(source: string | Source): DocumentNode {
      const text = typeof source === 'string' ? source : source.body;
      const known = documents.get(text);
      if (known !== undefined) return known;
      const document = parseWithinLimits(text);
      documents.set(text, document);
      return document;
    },
    validateDocument(document: DocumentNode): readonly GraphQLError[] {
      if (valid.has(document)) return [];
      const rules = { hideSuggestions: !suggestions, maxErrors: 10 };
      const errors = validate(schema, document, undefined, rules);
      if (errors.length === 0) valid.add(document);
      return errors;
    },
    execute: createExecute(limits.cost),
  };
}

// Yoga carries an operation through the steps; what they do is ours or graphql-js's, and so is what is remembered.
async function createEngine(steps: Steps) {
  // Loaded here because few ever need it, and it takes 8 MB of memory.
  const { createYoga } = await import('graphql-yoga');
  return createYoga<ServerContext>({
    schema,
    plugins: [useParams(), useSteps(steps), useAnswer()],
    // The answer is made by useAnswer, which shows no error that is not ours.
    maskedErrors: false,
    logging: false,
    // What belongs to the gateway, to http.ts or to nobody.
    cors: false,
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    maxRequestBodySize: false,
    parserAndValidationCache: false,
    fetchAPI: { Request, Response, Headers, URL },
  });
}

function useParams(): Plugin<object, ServerContext> {
  return {
    // The body was read before Yoga was asked.
    onRequestParse: ({ serverContext, setRequestParser }) =>
      setRequestParser(() => serverContext.params),
  };
}

function useSteps({ parse, validateDocument, execute }: Steps): Plugin {
  return {
    onParse: ({ setParseFn }) => setParseFn(parse),
    onValidate({ setValidationFn }) {
      setValidationFn((_schema: unknown, document: DocumentNode) => validateDocument(document));
    },
    onExecute: ({ setExecuteFn }) => setExecuteFn(execute),
  };
}

function useAnswer(): Plugin<object, ServerContext> {
  return {
    onResultProcess({ result, serverContext, setResultProcessor }) {
      // One operation a request and none that streams, so one result.
      const respond = () => toFetchResponse(toResponse(result as Result, serverContext.answer));
      setResultProcessor(respond, 'application/json');
    },
  };
}

/** Throws INVALID_REQUEST, and never repeats what was sent. Members that we do not know are passed over. */
function parseBody(text: string): GraphQLParams {
  const body = toObject(parseJson(text));
  if (body === null) throw toInvalid('The body must be a JSON object with the member "query".');
  const { query, operationName, variables, extensions } = body;
  if (typeof query !== 'string' || query === '') throw toInvalid('"query" must be a document.');
  if (!isAbsent(operationName) && typeof operationName !== 'string') {
    throw toInvalid('"operationName" must be a text.');
  }
  const given = parseMember('variables', variables);
  parseMember('extensions', extensions);
  return { query, ...(operationName && { operationName }), ...(given && { variables: given }) };
}

/** Null for one that is left out. */
function parseMember(name: string, member: unknown): JsonObject | null {
  const object = toObject(member);
  if (object === null && !isAbsent(member)) throw toInvalid(`"${name}" must be an object.`);
  return object;
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function toInvalid(message: string): GatewayError {
  return new GatewayError('INVALID_REQUEST', message);
}
