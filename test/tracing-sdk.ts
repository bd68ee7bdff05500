// Loaded into a gateway with `NODE_OPTIONS=--import`: OpenTelemetry's SDK. Writes each span that has ended as a line of JSON
// into the file SPANS_FILE.

import { appendFileSync } from 'node:fs';
import { context, propagation, type SpanContext, SpanKind, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { type ReadableSpan, TracerProvider } from '@opentelemetry/sdk-trace';

export interface ExportedSpan {
  readonly name: string;
  /** `SERVER`, `CLIENT` or `INTERNAL`. */
  readonly kind: string | undefined;
  readonly context: SpanContext;
  readonly parent: SpanContext | null;
  readonly links: readonly SpanContext[];
  readonly attributes: ReadableSpan['attributes'];
  readonly events: ReadableSpan['events'];
  readonly status: ReadableSpan['status'];
  readonly durationMs: number;
}

function toExported(span: ReadableSpan): ExportedSpan {
  const [seconds, nanoseconds] = span.duration;
  return {
    name: span.name,
    kind: SpanKind[span.kind],
    context: toJson(span.spanContext()),
    parent: span.parentSpanContext === undefined ? null : toJson(span.parentSpanContext),
    links: span.links.map((link) => toJson(link.context)),
    attributes: span.attributes,
    events: span.events,
    status: span.status,
    durationMs: seconds * 1_000 + nanoseconds / 1_000_000,
  };
}

// The trace state is an object without enumerable members.
function toJson({ traceState, ...ids }: SpanContext): SpanContext {
  return { ...ids, ...(traceState && { traceState: traceState.serialize() as never }) };
}

const file = process.env['SPANS_FILE'] ?? '';
const provider = new TracerProvider({
  spanProcessors: [
    {
      onStart: () => undefined,
      onEnd: (span) => appendFileSync(file, `${JSON.stringify(toExported(span))}\n`),
      forceFlush: async () => undefined,
      shutdown: async () => undefined,
    },
  ],
});
trace.setGlobalTracerProvider(provider);
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
