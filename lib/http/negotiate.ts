/** Content negotiation: the `Accept` header against what can be sent. */

/**
 * The index of the offer that the `Accept` header prefers: highest quality, ties in the order of
 * the offers (RFC 9110, section 12.5.1). Without the header every offer is acceptable.
 *
 * @returns -1 if none is acceptable.
 */
export function negotiate(accept: string | null, offers: readonly (readonly string[])[]): number {
  const qualities = qualitiesOf(accept ?? "");
  let best = -1;
  let bestQuality = 0;
  offers.forEach((mediaTypes, index) => {
    for (const mediaType of mediaTypes) {
      // The most specific range that matches decides.
      const family = mediaType.replace(/\/.*/, "/*");
      const quality = qualities.get(mediaType) ?? qualities.get(family) ?? qualities.get("*/*") ??
        0;
      if (quality <= bestQuality) continue;
      best = index;
      bestQuality = quality;
    }
  });
  return best;
}

/** The quality of each media range of an `Accept` header. */
function qualitiesOf(accept: string): Map<string, number> {
  const qualities = new Map<string, number>();
  for (const range of accept.split(",")) {
    // Empty elements of a list are ignored (RFC 9110, section 5.6.1).
    if (!range.trim()) continue;
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
    const quality = Number(weight?.split("=")[1] ?? 1);
    qualities.set(type, quality >= 0 && quality <= 1 ? quality : 0);
  }
  return qualities.size > 0 ? qualities : new Map([["*/*", 1]]);
}
