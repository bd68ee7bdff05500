// The form of times that callers send.

const format = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** Whether it is a time in ISO 8601 with a time zone. */
export function isTime(text: string): boolean {
  return format.test(text) && !Number.isNaN(Date.parse(text));
}
