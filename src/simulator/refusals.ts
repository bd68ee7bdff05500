// Graph's refusals: error codes, messages and HTTP statuses.

interface GraphErrorFields {
  readonly message: string;
  readonly type: string;
  readonly code: number;
  readonly error_subcode?: number;
  readonly is_transient?: boolean;
}

/** Graph refuses one call. */
export class GraphRefusal extends Error {
  override readonly name = 'GraphRefusal';
  readonly status: number;
  readonly error: GraphErrorFields;

  constructor(status: number, error: GraphErrorFields) {
    super(error.message);
    this.status = status;
    this.error = error;
  }
}

interface RefusalDetails {
  readonly subcode?: number | undefined;
  readonly status?: number | undefined;
  readonly transient?: boolean | undefined;
  readonly type?: string;
}

const knownMessages: Readonly<Record<number, string>> = {
  1: 'An unknown error occurred',
  2: 'An unexpected error has occurred. Please retry your request later.',
  4: '(#4) Application request limit reached',
  10: '(#10) Permission denied',
  190: 'Invalid OAuth access token - Cannot parse access token',
  200: '(#200) Permissions error',
  368: '(#368) Temporarily blocked for policies violations',
  131016: '(#131016) Service unavailable',
  131031: '(#131031) Business Account locked',
  131057: '(#131057) Account in maintenance mode',
};

const rateLimitSubjects: Readonly<Record<number, string>> = {
  80007: 'WhatsApp Business Account',
  80008: 'WhatsApp Business account',
};

/** The message that Graph sends with a code. */
function messageOf(code: number): string {
  const subject = rateLimitSubjects[code];
  if (subject === undefined) return knownMessages[code] ?? `(#${code}) Simulated error`;
  return `(#${code}) There have been too many calls to this ${subject}. Wait a bit and try again. For more info, please refer to https://developers.facebook.com/docs/graph-api/overview/rate-limiting.`;
}

export function refuse(
  code: number,
  message: string = messageOf(code),
  details: RefusalDetails = {},
): GraphRefusal {
  const { subcode, transient } = details;
  return new GraphRefusal(details.status ?? toStatus(code), {
    message,
    type: details.type ?? 'OAuthException',
    code,
    ...(subcode === undefined ? {} : { error_subcode: subcode }),
    ...(transient === undefined ? {} : { is_transient: transient }),
  });
}

function toStatus(code: number): number {
  if (code === 190) return 401;
  if (code === 1 || code === 2) return 500;
  return code === 803 ? 404 : 400;
}

/** The same for an id that is missing, belongs to others or is of another type, so that callers cannot probe ids. */
export function refuseObject(method: string, id: string): GraphRefusal {
  return refuse(
    100,
    `Unsupported ${method.toLowerCase()} request. Object with ID '${id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api`,
    { subcode: 33, type: 'GraphMethodException' },
  );
}

export function refuseField(field: string, nodeType: string): GraphRefusal {
  return refuse(
    100,
    `(#100) Tried accessing nonexisting field (${field}) on node type (${nodeType})`,
  );
}

export function refuseExpired(now: Date): GraphRefusal {
  const expiry = new Date(now.getTime() - 24 * 60 * 60 * 1000);
  return refuse(
    190,
    `Error validating access token: Session has expired on ${toGraphTime(expiry)}. The current time is ${toGraphTime(now)}.`,
    { subcode: 463 },
  );
}

const clock = new Intl.DateTimeFormat('en-US', {
  timeZone: 'America/Los_Angeles',
  weekday: 'long',
  day: '2-digit',
  month: 'short',
  year: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'short',
});

function toGraphTime(date: Date): string {
  const parts = new Map(clock.formatToParts(date).map(({ type, value }) => [type, value]));
  const day = [parts.get('day'), parts.get('month'), parts.get('year')].join('-');
  const time = [parts.get('hour'), parts.get('minute'), parts.get('second')].join(':');
  return `${parts.get('weekday')}, ${day} ${time} ${parts.get('timeZoneName')}`;
}
