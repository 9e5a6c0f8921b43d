// What came of a sweep, as Markdown.

const SIX = [
  "drivers/net/ethernet/",
  "drivers/ata/",
  "drivers/nvme/",
  "drivers/scsi/",
  "drivers/virtio/",
  "drivers/usb/host/",
];

export function report(results, kernel) {
  const modules = new Map();
  for (const result of results) {
    const trials = modules.get(result.module) ?? [];
    trials.push(result);
    modules.set(result.module, trials);
  }
  const all = [...modules.values()];
  const lines = [
    `### ${kernel}`,
    "",
    "| folder | modules | clean with zeroes | with ones | with both | with a device | bound | clean of these with both |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
  ];
  const groups = [...SIX, "other"];
  const rows = groups.map((folder) => [folder, all.filter(([{ path = "" }]) => folderOf(path) === folder)]);
  const six = rows.slice(0, SIX.length).flatMap(([, some]) => some);
  for (const [folder, some] of [...rows, ["the six folders", six], ["all", all]]) {
    if (some.length > 0) lines.push(row(folder, some));
  }
  const reasons = new Map();
  for (const { module, fill, outcome, stage, reason } of results) {
    if (outcome === "clean") continue;
    const at = `${outcome} | ${stage} | ${reason.replaceAll("|", "\\|")}`;
    reasons.set(at, [...(reasons.get(at) ?? []), `${module} (${fill})`]);
  }
  lines.push("", "| outcome | stage | reason | trials | modules |", "| --- | --- | --- | ---: | --- |");
  for (const [at, who] of [...reasons].sort((a, b) => b[1].length - a[1].length)) {
    lines.push(`| ${at} | ${who.length} | ${names(who)} |`);
  }
  return `${lines.join("\n")}\n`;
}

function folderOf(path) {
  return SIX.find((folder) => path.startsWith(folder)) ?? "other";
}

/** A module that was tried without a device counts for both fills. */
function row(folder, some) {
  const devices = some.filter(([{ fill }]) => fill !== "none");
  const isClean = (trials) => trials.every(({ outcome }) => outcome === "clean");
  const cleanWith = (fill) =>
    some.filter((trials) => trials.some((one) => [fill, "none"].includes(one.fill) && one.outcome === "clean")).length;
  const bound = devices.filter((trials) => trials.some((one) => one.bound != null)).length;
  const part = (count, all) => (all === 0 ? "" : `${count} (${((100 * count) / all).toFixed(1)} %)`);
  const cells = [
    folder,
    some.length,
    part(cleanWith("zeroes"), some.length),
    part(cleanWith("ones"), some.length),
    part(some.filter(isClean).length, some.length),
    devices.length,
    bound,
    part(devices.filter(isClean).length, devices.length),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** Modules, once each if both devices gave the same. */
function names(who) {
  const fills = new Map();
  for (const one of who) {
    const [module, fill] = one.split(" ");
    fills.set(module, [...(fills.get(module) ?? []), fill]);
  }
  return [...fills]
    .map(([module, which]) => (which.length === 2 || which[0] === "(none)" ? module : `${module} ${which[0]}`))
    .join(", ");
}
