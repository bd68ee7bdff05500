// The content of messages to endpoints: JSON of at most 20 kB, and the text of it that Slack shows.

import { findRule } from './rules.ts';

/** The body of a message in the formats STANDARD and CHANGES. */
export interface Message<Data = MessageData> {
  readonly type: string;
  /** ISO 8601: when it happened. */
  readonly timestamp: string;
  readonly data: Data;
}

export type MessageData = IncidentData | ChangesData | TestData;

export interface TestData {
  readonly endpointId: string;
  readonly text: string;
}

/** Changes as REST shows them, oldest first. */
export interface ChangesData {
  readonly changes: readonly object[];
  /** Of the last one. */
  readonly cursor: string;
}

export interface MessageNumber {
  readonly id: string;
  /** Null for a number that was removed. */
  readonly name: string | null;
  readonly number: string | null;
}

export interface IncidentData {
  readonly incident: {
    readonly id: string;
    readonly state: 'OPEN' | 'CLOSED';
    readonly scope: string;
    readonly subject: string;
    /** Its name, or its id if it has none; messages of an earlier release have none. */
    readonly subjectName?: string;
    /** What it is about, in words, for example `3 numbers of the account Shops`; messages of an earlier release have none. */
    readonly title?: string;
    readonly openedAt: string;
    readonly closedAt: string | null;
    readonly numberCount: number;
  };
  readonly rule: string;
  /** Names of rules that the same cause sets off, and that open no incident of their own; none in messages of an earlier release. */
  readonly covers?: readonly string[];
  readonly severity: string;
  readonly text: string;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  /** Of the change of kind INCIDENT; null when it is too old to be known. */
  readonly sequence: number | null;
  readonly cursor: string | null;
  /** The only one, or null. */
  readonly number: MessageNumber | null;
  /** The first ones, if there are several. */
  readonly numbers: readonly MessageNumber[];
  /** Why it cannot send, of the only number or the first one. */
  readonly reasons: readonly { readonly text: string; readonly solution: string | null }[];
  readonly link: string | null;
}

/** Of the message about the end of an incident. */
export const endType = 'incident.closed';

/** UTF-8. */
export const maxContentBytes = 20_000;

export function toContent<Data extends MessageData>(message: Message<Data>): string {
  return JSON.stringify(message);
}

/** The body of an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
export function toSlackBody(content: string): string {
  const { type, data } = JSON.parse(content) as Message<IncidentData | TestData>;
  const text = 'incident' in data ? toIncidentText(data, type === endType) : escapeSlack(data.text);
  return JSON.stringify({ text, unfurl_links: false, unfurl_media: false });
}

function toIncidentText(data: IncidentData, isOver: boolean): string {
  const { severity, text, reasons, link, previousValue, newValue } = data;
  const lines = [
    `*${escapeSlack(`${isOver ? 'Over' : severity}: ${toSubjectText(data)}`)}*`,
    escapeSlack(text),
  ];
  if (!isOver && isWord(newValue)) {
    lines.push(escapeSlack(isWord(previousValue) ? `${previousValue} → ${newValue}` : newValue));
  }
  for (const { text: reason, solution } of isOver ? [] : reasons) {
    lines.push(escapeSlack(`• ${reason}${solution === null ? '' : ` ${solution}`}`));
  }
  if (link !== null) lines.push(`<${escapeSlack(link.replaceAll('|', '%7C'))}|Open the board>`);
  return lines.join('\n');
}

/** Not JSON, which the text says in a sentence. */
function isWord(value: string | null): value is string {
  return value !== null && !/^[{[]/.test(value);
}

function toSubjectText({ incident, number }: IncidentData): string {
  return incident.title ?? number?.name ?? incident.subjectName ?? incident.subject;
}

/** What is read of an incident to say what it is about and what has happened. */
export interface ToldSubject {
  readonly rule: string;
  readonly scope: string;
  readonly subject: string;
  readonly subjectName: string | null;
  readonly isOfWhole: boolean;
  /** Of several accounts, how many there are. */
  readonly accountCount: number | null;
  readonly numberCount: number;
  /** The value with which it began. */
  readonly newValue: string | null;
  readonly covers: readonly string[];
}

/** `number`: the only one; null for an incident of another scope. */
export function toTitle(incident: ToldSubject, number: MessageNumber | null): string {
  if (number !== null) {
    return number.name === null ? number.id : `${number.name} (${number.number})`;
  }
  const { scope, subject, subjectName, isOfWhole, accountCount, numberCount } = incident;
  if (scope === 'ENGINE') return `${numberCount} numbers of the session engine`;
  const name = subjectName ?? subject;
  if (isOfWhole) return `${scope.charAt(0)}${scope.slice(1).toLowerCase()} ${name}`;
  const members = accountCount === null ? `${numberCount} numbers` : `${accountCount} accounts`;
  return `${members} of the ${scope.toLowerCase()} ${name}`;
}

/** Slack gives a meaning to these three characters: https://docs.slack.dev/messaging/formatting-message-text */
function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** What has happened, why, and what follows from it, in sentences. A later release may know other rules. */
export function toRuleText(incident: ToldSubject): string {
  const { rule: name, newValue, covers } = incident;
  const reason = findRule(name).reasons?.[newValue ?? ''];
  const consequences = covers.map((rule) => findRule(rule).asConsequence);
  return [toMeaning(incident), reason, ...consequences]
    .filter((text) => text !== undefined)
    .join(' ');
}

function toMeaning({ rule, scope, isOfWhole, accountCount, numberCount }: ToldSubject): string {
  const { meaning = rule, ofNumber, ofSeveral, ofAccount, ofAccounts } = findRule(rule);
  if (accountCount !== null && ofAccounts !== undefined) return ofAccounts;
  if (isOfWhole) return scope === 'ACCOUNT' ? (ofAccount ?? meaning) : meaning;
  return numberCount > 1 && ofSeveral !== undefined
    ? `${numberCount} ${ofSeveral}`
    : (ofNumber ?? meaning);
}

/** That it is over, in a sentence. */
export function toEndText(incident: ToldSubject): string {
  return findRule(incident.rule).end ?? `This is over: ${toMeaning(incident)}`;
}
