// An incident in the detail: what has happened, since when, who looks after it, and the form to say so.

import { Fragment, h, type ComponentChild } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { formatAddress } from '../address.ts';
import { type ApiError, toApiError } from '../api.ts';
import { reloadIncidents } from '../incident-loading.ts';
import type { Incident, IncidentMark, Severity } from '../incident-queries.ts';
import { acknowledgeIncident } from '../mutations.ts';
import { reloadNumber } from '../number-loading.ts';
import { canOperate, forgetKey, key, navigate, view } from '../state.ts';
import { formatFull, toWords } from '../words.ts';
import { SeverityShape } from './shapes.ts';
import { Age } from './times.ts';

/** The severity as a word beside its shape. */
export function SeverityWord({ severity }: { readonly severity: Severity }): ComponentChild {
  return h(Fragment, null, h(SeverityShape, { severity }), h('span', null, toWords(severity)));
}

/** A link from a number to its worst open incident. */
export function IncidentLink({ incident }: { readonly incident: IncidentMark }): ComponentChild {
  const { id, acknowledgedAt } = incident;
  const change = { incidents: 'OPEN', incidentId: id, numberId: null } as const;
  return h(
    'a',
    {
      class: 'to-incident',
      href: formatAddress({ ...view.value, ...change }),
      onClick: (event: MouseEvent) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        event.stopPropagation();
        navigate(change);
      },
    },
    acknowledgedAt === null ? 'incident' : 'acknowledged',
  );
}

/** The worst incident of the open number. */
export function OpenIncident({ incident }: { readonly incident: Incident | null }): ComponentChild {
  if (incident === null) return null;
  return h(
    'section',
    null,
    h('h3', null, 'Incident'),
    h('p', { class: 'incident-text' }, h(SeverityWord, { severity: incident.severity })),
    h('p', null, incident.text),
    h(IncidentTimes, { incident }),
    h(AcknowledgeForm, { key: incident.id, incident }),
  );
}

/** Who acknowledged an incident; null if nobody has. */
export function toAcknowledger({ acknowledgedAt, acknowledgedBy }: Incident): string | null {
  if (acknowledgedAt === null) return null;
  if (acknowledgedBy?.type === 'COMMAND_LINE') return 'the operator of the gateway';
  return acknowledgedBy?.key?.name ?? 'a key that was removed';
}

export function IncidentTimes({ incident }: { readonly incident: Incident }): ComponentChild {
  const { openedAt, closedAt, acknowledgedAt, note } = incident;
  const who = toAcknowledger(incident);
  return h(
    'dl',
    { class: 'pairs' },
    h('dt', null, 'Began'),
    h('dd', { title: formatFull(openedAt) }, h(Age, { at: openedAt })),
    closedAt === null
      ? null
      : h(
          Fragment,
          null,
          h('dt', null, 'Ended'),
          h('dd', { title: formatFull(closedAt) }, h(Age, { at: closedAt })),
        ),
    h('dt', null, 'Acknowledged'),
    h('dd', null, who === null ? 'not yet' : [`by ${who}, `, h(Age, { at: acknowledgedAt })]),
    note === null ? null : h(Fragment, null, h('dt', null, 'Note'), h('dd', null, note)),
  );
}

/** That of AcknowledgeIncidentInput. */
const maxNoteLength = 500;

/** For a key that may acknowledge the incident. */
export function AcknowledgeForm({ incident }: { readonly incident: Incident }): ComponentChild {
  const input = useRef<HTMLInputElement>(null);
  const [state, setState] = useState<'ready' | 'sending' | ApiError>('ready');
  const { id, acknowledgedAt, closedAt, scope, subject } = incident;
  if (closedAt !== null || !canOperate(scope === 'NUMBER' ? subject : null)) return null;
  const send = async () => {
    setState('sending');
    try {
      await acknowledgeIncident(key.peek() ?? '', id, input.current?.value.trim() ?? '');
      setState('ready');
      if (input.current !== null) input.current.value = '';
      reloadIncidents();
      reloadNumber();
    } catch (thrown) {
      const failure = toApiError(thrown);
      // One that may read only stays.
      if (failure.code === 'UNAUTHENTICATED') forgetKey(failure);
      else setState(failure);
    }
  };
  const isNew = acknowledgedAt === null;
  return h(
    'form',
    {
      class: 'labels',
      onSubmit: (event: Event) => {
        event.preventDefault();
        void send();
      },
    },
    h('label', { for: `note-${id}` }, isNew ? 'Note, if you like' : 'Another note'),
    h('input', {
      ref: input,
      id: `note-${id}`,
      placeholder: 'What others should know',
      autocomplete: 'off',
      maxLength: maxNoteLength,
      required: !isNew,
    }),
    h(
      'button',
      { type: 'submit', class: 'do', disabled: state === 'sending' },
      isNew ? 'Acknowledge' : 'Save',
    ),
    state instanceof Error ? h('p', { class: 'problem', role: 'alert' }, state.message) : null,
  );
}
