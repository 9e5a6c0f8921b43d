import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What begins all scripts: options go by. */
const SKIP_OPTIONS = `#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
cd "$(dirname "$0")/.." || exit 1
`;

const SCRIPTS: Readonly<Record<string, string>> = {
  "bin/apt-get": `
echo "$*" >> log
case "$1" in
update) cat update-errors >&2; sleep "$(cat update-seconds)" ;;
download)
  for wanted; do :; done
  if [ "$2" = --print-uris ]; then
    name="\${wanted%%=*}"
    echo "'fake:$name' $name.deb $(wc -c < "debs/$name.deb") SHA256:0123456789abcdef0123"
  fi ;;
esac
`,
  "bin/apt-cache": `
case "$1" in
pkgnames) cat names ;;
show)
  shift 2
  for name; do [ -f "debs/$name.deb" ] && printf 'Package: %s\\nVersion: 1-1\\n\\n' "$name"; done
  exit 0 ;;
esac
`,
  "bin/apt-config": `echo "METHODS='$PWD/bin/methods'"`,
  "bin/apt-helper": `
echo "$*" >> log
name="\${2#fake:}"
if [ -f "errors/$name" ]; then cat "errors/$name" >&2; exit 100; fi
cp "debs/$name.deb" "$3"
`,
};

/** A package client that says and gives what a test wants, in a folder to be put into the PATH. */
export class FakeApt {
  readonly directory = mkdtempSync(join(tmpdir(), "korral-apt-"));

  constructor(packages: Readonly<Record<string, Uint8Array>> = {}) {
    for (const folder of ["bin", "debs", "errors"]) mkdirSync(join(this.directory, folder));
    for (const [path, script] of Object.entries(SCRIPTS)) {
      writeFileSync(join(this.directory, path), SKIP_OPTIONS + script);
      chmodSync(join(this.directory, path), 0o755);
    }
    this.#write("names", Object.keys(packages).join("\n"));
    this.#write("log", "");
    this.#write("update-seconds", "0");
    this.updateSays("");
    for (const [name, deb] of Object.entries(packages)) this.#write(`debs/${name}.deb`, deb);
  }

  /** For the environment of what is to find it. */
  get path(): string {
    return `${join(this.directory, "bin")}:/usr/bin:/bin`;
  }

  get logFile(): string {
    return join(this.directory, "log");
  }

  updateSays(text: string, seconds = 0): void {
    this.#write("update-errors", text);
    this.#write("update-seconds", String(seconds));
  }

  /** The download of this package fails with these words. */
  fails(name: string, text: string): void {
    this.#write(`errors/${name}`, text);
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #write(name: string, content: string | Uint8Array): void {
    writeFileSync(join(this.directory, name), content);
  }
}
