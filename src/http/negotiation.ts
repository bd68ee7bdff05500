// Reads headers such as Accept and Accept-Encoding, in which a client lists what it prefers, with quality values.
// https://www.rfc-editor.org/rfc/rfc9110#section-12.5

/** An offer of the server's that the client accepts. */
export interface Accepted<Offer extends string> {
  readonly offer: Offer;
  readonly quality: number;
  /** See `GetPrecision`. */
  readonly precision: number;
  /** Of the range in the header. */
  readonly position: number;
}

/** How precisely a range in the header names the offer: 0 for a wildcard; null when it does not. `range` is in lower case. */
export type GetPrecision<Offer extends string> = (range: string, offer: Offer) => number | null;

/** The offers that the header accepts, in the order of `offers`. The most precise range decides on each. */
export function findAccepted<Offer extends string>(
  header: string,
  offers: readonly Offer[],
  getPrecision: GetPrecision<Offer>,
): readonly Accepted<Offer>[] {
  const ranges = header.toLowerCase().split(',').map(toRange);
  return offers.flatMap((offer) => {
    const matching = ranges.flatMap(({ range, quality }, position) => {
      const precision = getPrecision(range, offer);
      return precision === null ? [] : [{ offer, quality, precision, position }];
    });
    const best = matching.toSorted((a, b) => b.precision - a.precision)[0];
    return best === undefined || best.quality === 0 ? [] : [best];
  });
}

function toRange(text: string): { readonly range: string; readonly quality: number } {
  const [range = '', ...parameters] = text.split(';').map((part) => part.trim());
  const given = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  const quality = given === undefined ? 1 : Number(given);
  return { range, quality: Number.isNaN(quality) ? 1 : quality };
}

/**
 * The offered media type that an Accept header prefers; the first of those it prefers equally. Undefined when it accepts none.
 * https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
 */
export function negotiate<Offer extends string>(
  accept: string | null,
  offered: readonly Offer[],
): Offer | undefined {
  const accepted = findAccepted(accept ?? '*/*', offered, getMediaPrecision);
  return accepted.toSorted(
    (a, b) => b.quality - a.quality || b.precision - a.precision || a.position - b.position,
  )[0]?.offer;
}

/** 0 for any media type, 1 for all subtypes of a type, 2 for one media type. */
function getMediaPrecision(range: string, offer: string): number | null {
  if (range === offer) return 2;
  if (range === `${offer.split('/')[0]}/*`) return 1;
  return range === '*/*' ? 0 : null;
}
