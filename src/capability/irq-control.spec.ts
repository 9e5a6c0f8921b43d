import { expect, test, vi } from "vitest";
import { InterruptController } from "../bus/interrupts.js";
import { IrqControl, IrqControlCapability } from "./irq-control.js";

function line() {
  const controller = new InterruptController();
  const wire = controller.wire("INTA", "edge");
  const control = new IrqControl(wire);
  const fire = (): void => {
    wire.raise();
    controller.dispatch();
  };
  return { wire, control, fire, irq: new IrqControlCapability(control) };
}

test("a handler is attached, masked, unmasked and detached through the capability", () => {
  const { irq, fire, wire } = line();
  const handler = vi.fn(() => true);
  const detach = irq.attach(handler);
  fire();
  irq.mask();
  fire();
  expect([handler.mock.calls.length, wire.masked]).toEqual([1, true]);
  irq.unmask();
  fire();
  expect(handler).toHaveBeenCalledTimes(2);
  detach();
  detach();
  fire();
  expect(handler).toHaveBeenCalledTimes(2);
});

test("the end of the control detaches all handlers, and the capability is Void", () => {
  const { irq, fire, control } = line();
  const handlers = [vi.fn(() => true), vi.fn(() => true)];
  for (const handler of handlers) irq.attach(handler);
  control.rescind();
  control.release();
  fire();
  for (const handler of handlers) expect(handler).not.toHaveBeenCalled();
  for (const use of [() => irq.attach(() => true), () => irq.mask(), () => irq.unmask()]) {
    expect(use).toThrow(expect.objectContaining({ code: "void" }));
  }
});
