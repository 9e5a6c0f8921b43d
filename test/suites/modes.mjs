/** Ways to run the same guest code, which all have to come to the same. */
export const MODES = {
  /** One instruction after the other, nothing translated: what the others are compared with. */
  evaluated: { options: {}, prepare: (sandbox) => sandbox.trace(() => {}) },
  checked: { options: {} },
  unchecked: { options: { checks: false } },
  /** No check is left out because an earlier one makes it needless. */
  "all-checks": { options: { elimination: false } },
  /** Back to the run loop after every few instructions. */
  preempted: {
    options: {},
    prepare: ({ runtime }) => {
      runtime.slice = 10;
      runtime.longestSlice = 10;
    },
  },
  /** No function takes registers in parameters. */
  "all-open": { options: { conventions: false } },
  /** No function is known: what is hot is translated, from wherever it became so. */
  warmed: { options: {}, known: false },
};

/** A sandbox to run tests in, one after the other. */
export function makeSandbox(Sandbox, name) {
  const { options, prepare } = MODES[name];
  const sandbox = Sandbox.create({ ...options, space: "low" });
  prepare?.(sandbox);
  return sandbox;
}

export const knowsFunctions = (name) => MODES[name].known !== false;
