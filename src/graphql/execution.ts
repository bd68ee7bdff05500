// Owns the execution of a document by graphql-js, and what a caller is told about variables.

import {
  type ExecutionArgs,
  type ExecutionResult,
  executeRootSelectionSet,
  GraphQLError,
  Kind,
  print,
  validateExecutionArgs,
} from 'graphql';

/** As graphql-js, but a variable with a wrong value is named without its value, which may be anything. */
export function execute(args: ExecutionArgs): ExecutionResult | Promise<ExecutionResult> {
  const validated = validateExecutionArgs(args);
  if ('schema' in validated) return executeRootSelectionSet(validated);
  return { errors: validated.map(toRequestError) };
}

function toRequestError(error: GraphQLError): GraphQLError {
  const node = error.nodes?.[0];
  if (node?.kind !== Kind.VARIABLE_DEFINITION) {
    return new GraphQLError('operationName does not name one of the operations of the document.');
  }
  const { variable, type } = node;
  const message = `Variable $${variable.name.value} needs a value of type ${print(type)}.`;
  return new GraphQLError(message, { nodes: node });
}
