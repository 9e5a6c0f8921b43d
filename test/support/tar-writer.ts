const BLOCK = 512;

export interface TarMember {
  readonly name: string;
  /** One letter; a file if left out. */
  readonly type?: string;
  readonly link?: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  /** Where it is to differ from what the contents have. */
  readonly size?: number;
}

/** A ustar archive of just these members, sensible or not, with its end unless that is left out. */
export function tarOf(members: readonly TarMember[], end = true): Uint8Array {
  const blocks = members.flatMap(({ name, type = "0", link = "", content = "", mode = 0o644, size }) => {
    const bytes = Buffer.from(content);
    const header = Buffer.alloc(BLOCK);
    header.write(name, 0, 100);
    header.write(octal(mode, 7), 100);
    header.write(octal(size ?? bytes.length, 11), 124);
    header.write(" ".repeat(8), 148);
    header.write(type, 156);
    header.write(link, 157, 100);
    header.write("ustar\0" + "00", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${octal(sum, 6)}\0 `, 148);
    return [header, bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)];
  });
  if (end) blocks.push(Buffer.alloc(2 * BLOCK));
  return new Uint8Array(Buffer.concat(blocks));
}

/** An ar archive, such as a Debian package. */
export function arOf(members: readonly (readonly [name: string, content: string | Uint8Array])[]): Uint8Array {
  const parts = [Buffer.from("!<arch>\n")];
  for (const [name, content] of members) {
    const bytes = Buffer.from(content);
    const header = `${name.padEnd(16)}${"0".padEnd(12)}${"0".padEnd(6)}${"0".padEnd(6)}${"100644".padEnd(8)}`;
    parts.push(
      Buffer.from(`${header}${String(bytes.length).padEnd(10)}\`\n`),
      bytes,
      Buffer.alloc(bytes.length % 2, "\n"),
    );
  }
  return new Uint8Array(Buffer.concat(parts));
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}
