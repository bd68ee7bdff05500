// Compares the digits of phone numbers that WhatsApp and people write in different forms.

/**
 * The digit that marks mobile numbers in some countries. People and WhatsApp write it or leave it out.
 * Argentina and Mexico: https://faq.whatsapp.com/1294841057948784
 * Brazil, where it precedes numbers that begin with 6 to 9:
 * https://green-api.com/en/docs/faq/features-of-sending-and-receiving-messages-from-different-countries/
 */
const mobileMarks: readonly RegExp[] = [
  /^(55\d{2})9([6-9]\d{7})$/,
  /^(52)1(\d{10})$/,
  /^(54)9(\d{10})$/,
];

/** Whether two phone numbers in international form are the same one. Everything but their digits is ignored. */
export function isSamePhone(one: string, other: string): boolean {
  return withoutMobileMark(one) === withoutMobileMark(other);
}

function withoutMobileMark(phone: string): string {
  const digits = phone.replaceAll(/\D/g, '');
  const mark = mobileMarks.find((pattern) => pattern.test(digits));
  return mark === undefined ? digits : digits.replace(mark, '$1$2');
}
