// Has all numbers that match the filters read, after it has shown what that costs at most.

import { h, type ComponentChild } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { toFilter } from '../address.ts';
import { toApiError } from '../api.ts';
import { maxRefreshed, type Refreshed, refreshNumbers } from '../mutations.ts';
import { canOperate, fleet, forgetKey, key, listAddress, view } from '../state.ts';
import { formatCount, toWords } from '../words.ts';

const pointsPerCall = 10;

type Step = 'ready' | 'asking' | 'sending' | Refreshed | Error;

/** For a key that may have any number read. */
export function RefreshMatches(): ComponentChild {
  // What was answered belongs to one filter.
  return h(Refresh, { key: listAddress.value });
}

function Refresh(): ComponentChild {
  const [step, setStep] = useState<Step>('ready');
  const element = useRef<HTMLDivElement>(null);
  // On a phone the chips are one line that scrolls.
  useEffect(() => {
    if (step !== 'ready') element.current?.scrollIntoView({ block: 'nearest', inline: 'start' });
  }, [step]);
  const count = fleet.value?.data.page.totalCount ?? 0;
  if (!canOperate(null) || count === 0) return null;
  const send = async () => {
    setStep('sending');
    try {
      setStep(await refreshNumbers(key.peek() ?? '', toFilter(view.peek())));
    } catch (thrown) {
      const failure = toApiError(thrown);
      if (failure.code === 'UNAUTHENTICATED') forgetKey(failure);
      else setStep(failure);
    }
  };
  const isBusy = step === 'asking' || step === 'sending';
  return h(
    'div',
    { ref: element, class: 'refreshing' },
    isBusy
      ? h(Question, { count, isSending: step === 'sending', send, cancel: () => setStep('ready') })
      : h(
          'button',
          { type: 'button', class: 'link', onClick: () => setStep('asking') },
          count === 1 ? 'Have it read' : `Have these ${formatCount(count)} read`,
        ),
    h('span', { class: 'second', role: 'status' }, toOutcome(step)),
  );
}

interface QuestionProps {
  readonly count: number;
  readonly isSending: boolean;
  readonly send: () => Promise<void>;
  readonly cancel: () => void;
}

function Question({ count, isSending, send, cancel }: QuestionProps): ComponentChild {
  if (count > maxRefreshed)
    return [
      h('span', { key: 'text' }, `At most ${formatCount(maxRefreshed)} at once: set a filter.`),
      h('button', { key: 'cancel', type: 'button', class: 'link', onClick: cancel }, 'Close'),
    ];
  return [
    h(
      'span',
      { key: 'text' },
      `At most ${formatCount(count)} calls and ${formatCount(count * pointsPerCall)} points; fewer where an account is read as a list.`,
    ),
    h(
      'button',
      { key: 'send', type: 'button', class: 'do', disabled: isSending, onClick: () => void send() },
      isSending ? 'Asking…' : count === 1 ? 'Read it' : `Read ${formatCount(count)}`,
    ),
    h('button', { key: 'cancel', type: 'button', class: 'link', onClick: cancel }, 'Cancel'),
  ];
}

const skipWords: Readonly<Record<string, string>> = {
  NUMBER_NOT_FOUND: 'removed meanwhile',
  FORBIDDEN: 'the key is bound to another number',
  NOT_READABLE: 'no session engine is configured',
};

function toOutcome(step: Step): string {
  if (typeof step === 'string') return '';
  if (step instanceof Error) return step.message;
  const { acceptedCount, plannedCalls, skipped } = step;
  const calls = plannedCalls === 1 ? '1 call' : `${formatCount(plannedCalls)} calls`;
  const accepted = `${formatCount(acceptedCount)} will be read, with ${calls}.`;
  const reasons = [...Map.groupBy(skipped, ({ reason }) => reason)].map(
    ([reason, numbers]) =>
      `${formatCount(numbers.length)} not: ${skipWords[reason] ?? toWords(reason).toLowerCase()}.`,
  );
  return [accepted, ...reasons].join(' ');
}
