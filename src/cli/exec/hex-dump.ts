const BYTES_A_LINE = 16;

/** Bytes as hexdump -C shows them: lines that are like the one before are left out, and a `*` says so. */
export function hexDump(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  let previous = "";
  for (let at = 0; at < bytes.length; at += BYTES_A_LINE) {
    const line = bytes.subarray(at, at + BYTES_A_LINE);
    const text = lineText(line);
    if (text === previous && at + BYTES_A_LINE < bytes.length) {
      if (lines.at(-1) !== "*") lines.push("*");
    } else lines.push(`${offset(at)}  ${text}`);
    previous = text;
  }
  lines.push(offset(bytes.length));
  return lines;
}

const offset = (at: number): string => at.toString(16).padStart(8, "0");

function lineText(line: Uint8Array): string {
  const hex = Array.from(line, (byte) => byte.toString(16).padStart(2, "0"));
  const characters = Array.from(line, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
  return `${`${hex.slice(0, 8).join(" ")}  ${hex.slice(8).join(" ")}`.padEnd(49)} |${characters.join("")}|`;
}
