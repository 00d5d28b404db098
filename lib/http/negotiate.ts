/** Content negotiation: the `Accept` header against what can be sent. */

/**
 * The index of the offer that the `Accept` header prefers: highest quality, ties in the order of
 * the offers (RFC 9110, section 12.5.1). Without the header every offer is acceptable.
 *
 * @returns -1 if none is acceptable.
 */
export function negotiate(accept: string | null, offers: readonly (readonly string[])[]): number {
  // Empty elements of a list are ignored (RFC 9110, section 5.6.1).
  const asked = (accept ?? "").split(",").filter((range) => range.trim() !== "");
  const ranges = (asked.length > 0 ? asked : ["*/*"]).map(parseRange);
  let best = -1;
  let bestQuality = 0;
  offers.forEach((mediaTypes, index) => {
    const quality = Math.max(...mediaTypes.map((type) => qualityOf(type, ranges)));
    if (quality > bestQuality) {
      best = index;
      bestQuality = quality;
    }
  });
  return best;
}

interface MediaRange {
  type: string;
  quality: number;
}

function parseRange(text: string): MediaRange {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
  const quality = weight === undefined ? 1 : Number(weight.slice(weight.indexOf("=") + 1));
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/** The quality of a media type: the most specific range that matches decides. */
function qualityOf(mediaType: string, ranges: readonly MediaRange[]): number {
  const family = `${mediaType.slice(0, mediaType.indexOf("/"))}/*`;
  for (const wanted of [mediaType, family, "*/*"]) {
    const range = ranges.find(({ type }) => type === wanted);
    if (range !== undefined) return range.quality;
  }
  return 0;
}
