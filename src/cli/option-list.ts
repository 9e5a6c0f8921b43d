import { UsageError } from "../util/errors.js";

/** `NAME,key=value,key=value` as QEMU writes options: a comma in a value is doubled. */
export interface OptionList {
  readonly name: string;
  readonly values: ReadonlyMap<string, string>;
}

/**
 * @param option its name on the command line, for messages
 * @param keys those that exist
 * @throws UsageError
 */
export function parseOptionList(option: string, text: string, keys: readonly string[]): OptionList {
  const [name, ...rest] = splitCommas(text);
  const values = new Map<string, string>();
  for (const part of rest) {
    const equals = part.indexOf("=");
    const key = equals < 0 ? part : part.slice(0, equals);
    if (!keys.includes(key)) {
      throw new UsageError(
        `${option} ${text}: there is no '${key}' (there are ${keys.join(", ")}; a comma in a value is written ,,)`,
      );
    }
    if (equals < 0) throw new UsageError(`${option} ${text}: '${key}' needs a value: ${key}=…`);
    if (values.has(key)) throw new UsageError(`${option} ${text}: '${key}' is given twice`);
    values.set(key, part.slice(equals + 1));
  }
  if (name === "") throw new UsageError(`${option} ${text}: it must begin with a name`);
  return { name, values };
}

function splitCommas(text: string): string[] {
  const parts: string[] = [""];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== ",") parts[parts.length - 1] += text[i];
    else if (text[i + 1] === ",") {
      parts[parts.length - 1] += ",";
      i++;
    } else parts.push("");
  }
  return parts;
}

/**
 * For options of which there is one: the second would silently replace the first.
 * @param option with its command, for messages
 */
export function once(option: string): (value: string, earlier: string | undefined) => string {
  return (value, earlier) => {
    if (earlier !== undefined) throw new UsageError(`${option} is given twice; there is one of it`);
    return value;
  };
}
