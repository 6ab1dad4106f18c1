/** What programs made of tests (npm run soak, npm run flood) have in common: options, and how they end. */
import { parseArgs } from "node:util";

export interface Program<Name extends string> {
  readonly options: Readonly<Partial<Record<Name, string>>>;
  /** Says how it is used, and ends with status 2. */
  wrong(): never;
}

/** Reads options that all have a value; SIGINT and SIGTERM end the program by way of its exit handlers. */
export function program<Name extends string>(usage: string, names: readonly Name[]): Program<Name> {
  const wrong = (): never => {
    process.stderr.write(usage);
    process.exit(2);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  try {
    const text = Object.fromEntries(names.map((name) => [name, { type: "string" } as const]));
    return { options: parseArgs({ options: text }).values as Program<Name>["options"], wrong };
  } catch {
    return wrong();
  }
}
