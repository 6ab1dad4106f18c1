/** Names of the three flag bits of a service; some schedulers have names of their own for them. */
const OWN_NAMES: Readonly<Record<string, readonly string[]>> = {
  sh: ["sh-fallback", "sh-port"],
  mh: ["mh-fallback", "mh-port"],
};
const BITS = [1, 2, 4] as const;

/** A scheduler that has names of its own shows no other flags. */
function namesOf(scheduler: string): readonly string[] {
  return OWN_NAMES[scheduler] ?? BITS.map((_, at) => `flag-${at + 1}`);
}

/** The bits of a list of names separated by commas, or why there are none. */
export function parseSchedulerFlags(scheduler: string, text: string): number | { readonly refusal: string } {
  let flags = 0;
  // A list of nothing but commas has no name that could be one; an empty text is no list.
  const names = /^,+$/.test(text) ? [text] : text.split(",").filter((name) => name !== "");
  for (const name of names) {
    const generic = BITS.findIndex((_, at) => name === `flag-${at + 1}`);
    const at = generic >= 0 ? generic : (OWN_NAMES[scheduler]?.indexOf(name) ?? -1);
    if (at >= 0) flags |= BITS[at]!;
    else if (Object.values(OWN_NAMES).some((own) => own.includes(name))) {
      return { refusal: `incompatible scheduler flag \`${name}'` };
    } else return { refusal: `invalid scheduler flag \`${name}'` };
  }
  return flags;
}

/** "sh-fallback,sh-port"; empty when no bit is set. */
export function formatSchedulerFlags(scheduler: string, flags: number): string {
  return namesOf(scheduler)
    .filter((_, at) => (flags & BITS[at]!) !== 0)
    .join(",");
}
