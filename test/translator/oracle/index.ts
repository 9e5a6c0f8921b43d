import { Campaign } from "./campaign.js";
import type { Subject } from "./case.js";
import { EvaluatorSubject } from "./evaluator.js";
import { NativeProcessor, whyNotNative } from "./native.js";
import { SandboxSubject } from "./sandbox.js";

export type { Failure } from "./campaign.js";
export { whyNotNative };

const SUBJECTS: Readonly<Record<string, () => Subject>> = {
  evaluator: () => new EvaluatorSubject(),
  sandbox: () => new SandboxSubject("sandbox", {}),
  "sandbox-unchecked": () => new SandboxSubject("sandbox-unchecked", { checks: false }),
  "sandbox-plain": () => new SandboxSubject("sandbox-plain", { elimination: false }),
  "sandbox-halting": () => new SandboxSubject("sandbox-halting", {}, 16),
};

export const SUBJECT_NAMES: readonly string[] = Object.keys(SUBJECTS);

export interface OpenOptions {
  /** Where runner.c lies. */
  readonly runner: string;
  /** One of `SUBJECT_NAMES`. */
  readonly subject: string;
  /** Forms to use for their own sake; all if left out. */
  readonly wanted?: RegExp;
}

export interface OpenCampaign extends Disposable {
  readonly campaign: Campaign;
}

/** Compiles the runner and gets all forms ready. */
export function openCampaign({ runner, subject: name, wanted }: OpenOptions): OpenCampaign {
  const make = SUBJECTS[name];
  if (make === undefined) throw new Error(`there is no subject ${name}, but: ${SUBJECT_NAMES.join(", ")}`);
  const native = new NativeProcessor(runner);
  const subject = make();
  const campaign = new Campaign({ native, subject, ...(wanted === undefined ? {} : { wanted }) });
  return {
    campaign,
    [Symbol.dispose]: () => {
      subject.close();
      native.close();
    },
  };
}
