// Rooms from the top of the house to the bottom: a file may import from its own room and from those below it.
const rooms = [
  "cli",
  "node",
  "machine",
  "findings",
  "linux",
  "clients",
  "drivers",
  "store",
  "ports",
  "devices",
  "transfer",
  "filter",
  "bus",
  "capability",
  "translator",
  "memory",
  "formats",
  "util",
];
// `machine` is a file, `index` the package's front door.
const at = (room) => (room === "machine" ? "^src/(machine|index)\\.ts$" : `^src/${room}/`);

const downward = rooms.slice(1).map((room, i) => ({
  name: `${room}-imports-only-downward`,
  comment: `src/${room} may not import from the rooms above it: ${rooms.slice(0, i + 1).join(", ")}`,
  severity: "error",
  from: { path: at(room), pathNot: "\\.spec\\.ts$" },
  to: {
    path: rooms
      .slice(0, i + 1)
      .map(at)
      .join("|"),
  },
}));

module.exports = {
  forbidden: [
    ...downward,
    {
      name: "only-node-and-cli-touch-node",
      comment: "everything but node/ and cli/ runs in a browser too: inject files, sockets and terminals",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(node|cli)/|\\.spec\\.ts$" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "no-cycles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "no-test-code-in-the-product",
      severity: "error",
      from: { path: "^src/", pathNot: "\\.spec\\.ts$" },
      to: { path: "^(test|bench)/|\\.spec\\.ts$" },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
  },
};
