// One call to Graph as it is written on the wire: version, path, parameters, and the operations it stands for.
// It settles nothing: whether the call may be made, and what it answers, is in graph.ts.

import type { Fleet } from './fleet.ts';
import type { Operation } from './wire.ts';

/** One call, plain or an item of a batch. */
export interface GraphCall {
  readonly method: string;
  readonly origin: string;
  /** The version that answers, which may be newer than the one asked for; undefined when there is none. */
  readonly version: number | undefined;
  readonly segments: readonly string[];
  readonly parameters: URLSearchParams;
  /** From the header; `access_token` among the parameters goes before it. */
  readonly bearer: string | undefined;
  readonly operations: readonly Operation[];
}

export interface Versions {
  readonly minimumVersion: number;
  readonly maxVersion: number;
}

/** `versionUnlessTold` is the one of the batch for its items; a path without any gets the oldest live version. */
export function toGraphCall(
  fleet: Fleet,
  versions: Versions,
  path: string,
  call: Pick<GraphCall, 'method' | 'origin' | 'parameters' | 'bearer'>,
  versionUnlessTold: number = versions.minimumVersion,
): GraphCall {
  const [, asked, minor, rest = ''] = /^\/?(?:v(\d+)\.(\d+)(?=\/|$))?(.*)$/s.exec(path) ?? [];
  const segments = rest.split('/').filter((segment) => segment !== '');
  const version = asked === undefined ? versionUnlessTold : toVersion(versions, asked, minor);
  const operations = version === undefined ? [] : listOperations(fleet, segments, call.parameters);
  return { ...call, version, segments, operations };
}

function toVersion(
  { minimumVersion, maxVersion }: Versions,
  major: string,
  minor: string | undefined,
): number | undefined {
  const version = Math.max(Number(major), minimumVersion);
  return minor === '0' && version <= maxVersion ? version : undefined;
}

function listOperations(
  fleet: Fleet,
  [id, edge, ...more]: readonly string[],
  parameters: URLSearchParams,
): readonly Operation[] {
  if (id === undefined) return listIds(parameters).map((it) => toNodeOperation(fleet, it));
  if (more.length > 0) return [];
  if (edge === 'whatsapp_business_profile') return [{ name: `profile ${id}`, id }];
  if (edge === 'phone_numbers') return [{ name: `phone_numbers ${id}`, id }];
  if (edge !== undefined) return [];
  return id === 'debug_token' ? [{ name: id, id }] : [toNodeOperation(fleet, id)];
}

function toNodeOperation(fleet: Fleet, id: string): Operation {
  if (fleet.findPhone(id) !== undefined) return { name: `phone ${id}`, id };
  return { name: `${fleet.findWaba(id) === undefined ? 'node' : 'waba'} ${id}`, id };
}

function listIds(parameters: URLSearchParams): readonly string[] {
  const ids = parameters.get('ids')?.split(',') ?? [];
  return [...new Set(ids.map((id) => id.trim()))].filter((id) => id !== '');
}
