/** Types that are compared by the compiler. */

/** `true` if both are one type, and not only assignable to each other. */
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2)
  ? true
  : false;

/** Compiles only if what is asked is so. */
export function holds<Question extends true>(..._proof: [Question?]): void {}
