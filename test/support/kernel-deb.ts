import { gzipSync } from "node:zlib";
import { bzImageOf } from "./bzimage.js";
import { imageOf, moduleOf, type WrittenModule } from "./kernel-elf-writer.js";
import { arOf, type TarMember, tarOf } from "./tar-writer.js";

export interface WrittenPackage {
  /** `6.1.0-1-amd64` */
  readonly release: string;
  readonly version?: string;
  readonly architecture?: string;
  readonly modules?: Readonly<Record<string, WrittenModule>>;
  /** What the package has besides. */
  readonly extra?: readonly TarMember[];
}

/** A module as small as they get. */
export const PLAIN: WrittenModule = { info: ["license=GPL", "depends="] };

export function vmlinuxOfPackage(release: string): Uint8Array {
  return imageOf(release, [{ name: "printk", crc: 1 }]);
}

/** A Debian kernel package with an image that has nothing but tables, its configuration and modules. */
export function kernelDeb({ release, version = "1-1", architecture = "amd64", ...rest }: WrittenPackage): Uint8Array {
  const modules = Object.entries(rest.modules ?? { e1000: PLAIN });
  const vmlinux = vmlinuxOfPackage(release);
  const image = bzImageOf({ payload: new Uint8Array(gzipSync(vmlinux)), version: `${release} (nobody) #1 SMP` });
  const folder = `./lib/modules/${release}`;
  return arOf([
    ["debian-binary", "2.0\n"],
    [
      "control.tar",
      tarOf([
        {
          name: "./control",
          content: `Package: linux-image-${release}\nVersion: ${version}\nArchitecture: ${architecture}\nInstalled-Size: 64\n`,
        },
      ]),
    ],
    [
      "data.tar.gz",
      gzipSync(
        tarOf([
          { name: `./boot/vmlinuz-${release}`, content: image },
          { name: `./boot/config-${release}`, content: "CONFIG_SMP=y\n" },
          ...modules.map(([name, module]) => ({ name: `${folder}/kernel/${name}.ko`, content: moduleOf(module) })),
          { name: `${folder}/modules.builtin.modinfo`, content: "8250.license=GPL\0" },
          { name: "./usr/share/doc/readme", content: "not kept" },
          ...(rest.extra ?? []),
        ]),
      ),
    ],
  ]);
}
