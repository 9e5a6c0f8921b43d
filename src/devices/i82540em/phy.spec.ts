import { describe, expect, it } from "vitest";
import { E1000Rig } from "../../../test/support/e1000.js";
import { PhyControl, PhyRegister, PhyStatus } from "./phy.js";
import { Cause, Ctrl, Mdic, Register, Status } from "./registers.js";

const LU = Status.LU;

describe("82540EM PHY", () => {
  it("is the M88E1011 that drivers look for, at address 1 only", () => {
    const rig = new E1000Rig();
    expect((rig.readPhy(PhyRegister.PHYID1) << 16) | (rig.readPhy(PhyRegister.PHYID2) & 0xfff0)).toBe(0x01410c20);
    rig.set(Register.MDIC, (Mdic.OP_READ << 26) | (2 << 21) | (PhyRegister.PHYID1 << 16));
    expect(rig.get(Register.MDIC) & (Mdic.READY | Mdic.ERROR)).toBe(Mdic.READY | Mdic.ERROR);
    rig.set(Register.MDIC, (Mdic.OP_WRITE << 26) | (0 << 21));
    expect(rig.get(Register.MDIC) & Mdic.ERROR).toBe(Mdic.ERROR);
  });

  it("raises MDAC when asked to", () => {
    const rig = new E1000Rig();
    rig.set(Register.MDIC, (Mdic.OP_READ << 26) | (1 << 21) | Mdic.INTERRUPT);
    expect(rig.get(Register.ICR)).toBe(Cause.MDAC);
  });

  it("has a link at power-on, which the MAC sees once SLU is set", () => {
    const rig = new E1000Rig();
    expect(rig.readPhy(PhyRegister.PSTATUS)).toBe(0x7949 | PhyStatus.LINK | PhyStatus.AUTONEG_COMPLETE);
    expect(rig.readPhy(PhyRegister.PSSTAT) & 0xec00).toBe(0xac00);
    expect(rig.get(Register.STATUS) & LU).toBe(0);
    rig.linkUp();
    // Full duplex, 1000 Mb/s.
    expect(rig.get(Register.STATUS) & 0xc3).toBe(0x83);
    expect(rig.get(Register.ICR)).toBe(Cause.LSC);
  });

  it("negotiates again after a restart, a software reset and CTRL.PHY_RST", () => {
    const rig = new E1000Rig();
    const again = [
      () => rig.writePhy(PhyRegister.PCTRL, PhyControl.AUTONEG | PhyControl.RESTART | PhyControl.SPEED_1000),
      () => rig.writePhy(PhyRegister.PCTRL, 0x1140 | PhyControl.RESET),
      () => rig.set(Register.CTRL, Ctrl.SLU | Ctrl.FD | Ctrl.PHY_RST),
    ];
    rig.linkUp();
    for (const restart of again) {
      rig.get(Register.ICR);
      restart();
      expect(rig.get(Register.STATUS) & LU).toBe(0);
      expect(rig.get(Register.ICR) & Cause.LSC).toBe(Cause.LSC);
      expect(rig.readPhy(PhyRegister.PSTATUS) & (PhyStatus.LINK | PhyStatus.AUTONEG_COMPLETE)).toBe(0);
      expect(rig.readPhy(PhyRegister.LPA)).toBe(0);
      rig.pass(1_000_000_000);
      expect(rig.get(Register.STATUS) & LU).toBe(LU);
      expect(rig.get(Register.ICR) & Cause.LSC).toBe(Cause.LSC);
      expect(rig.readPhy(PhyRegister.LPA)).toBe(0x41e1);
      expect(rig.readPhy(PhyRegister.PCTRL) & (PhyControl.RESET | PhyControl.RESTART)).toBe(0);
    }
  });

  it("is reset together with the MAC when CTRL has both bits", () => {
    const rig = new E1000Rig();
    rig.writePhy(PhyRegister.GCON, 0);
    rig.set(Register.CTRL, (Ctrl.RST | Ctrl.PHY_RST) >>> 0);
    expect(rig.readPhy(PhyRegister.GCON)).toBe(0x0f00);
    expect(rig.get(Register.CTRL)).toBe(0x201);
    rig.linkUp();
    expect(rig.get(Register.STATUS) & LU).toBe(0);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.STATUS) & LU).toBe(LU);
  });

  it("shows a lost link until PSTATUS is read", () => {
    const rig = new E1000Rig();
    rig.wire.setCarrier(false);
    rig.wire.setCarrier(true);
    rig.pass(1_000_000_000);
    expect(rig.readPhy(PhyRegister.PSTATUS) & PhyStatus.LINK).toBe(0);
    expect(rig.readPhy(PhyRegister.PSTATUS) & PhyStatus.LINK).toBe(PhyStatus.LINK);
  });

  it("runs at what is advertised, or forced", () => {
    const rig = new E1000Rig();
    rig.linkUp();
    rig.writePhy(PhyRegister.GCON, 0);
    rig.writePhy(PhyRegister.ANA, 0x0de1);
    rig.writePhy(PhyRegister.PCTRL, PhyControl.AUTONEG | PhyControl.RESTART);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.STATUS) & 0xc3).toBe(0x43);
    rig.writePhy(PhyRegister.PCTRL, 0);
    expect(rig.get(Register.STATUS) & 0xc3).toBe(0x02);
    rig.writePhy(PhyRegister.PCTRL, PhyControl.SPEED_100 | PhyControl.DUPLEX);
    expect(rig.get(Register.STATUS) & 0xc3).toBe(0x43);
    rig.set(Register.CTRL, Ctrl.SLU | Ctrl.FRCSPD | Ctrl.FRCDPLX | (2 << Ctrl.SPEED_SHIFT));
    expect(rig.get(Register.STATUS) & 0xc3).toBe(0x82);
  });

  it("has no link while powered down", () => {
    const rig = new E1000Rig();
    rig.linkUp();
    rig.writePhy(PhyRegister.PCTRL, 0x1140 | PhyControl.POWER_DOWN);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.STATUS) & LU).toBe(0);
    rig.writePhy(PhyRegister.PCTRL, 0x1140);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.STATUS) & LU).toBe(LU);
  });

  it("follows the carrier, each change an LSC", () => {
    const rig = new E1000Rig();
    rig.linkUp();
    rig.get(Register.ICR);
    rig.wire.setCarrier(false);
    expect(rig.get(Register.STATUS) & LU).toBe(0);
    expect(rig.get(Register.ICR)).toBe(Cause.LSC);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.ICR)).toBe(0);
    rig.wire.setCarrier(true);
    expect(rig.get(Register.STATUS) & LU).toBe(0);
    rig.pass(1_000_000_000);
    expect(rig.get(Register.STATUS) & LU).toBe(LU);
    expect(rig.get(Register.ICR)).toBe(Cause.LSC);
  });

  it("reports its own causes through PHYINT", () => {
    const rig = new E1000Rig();
    rig.linkUp();
    rig.readPhy(PhyRegister.PINTS);
    rig.writePhy(PhyRegister.PINTE, 1 << 10);
    rig.get(Register.ICR);
    rig.wire.setCarrier(false);
    expect(rig.get(Register.ICR)).toBe(Cause.LSC | Cause.PHYINT);
    expect(rig.readPhy(PhyRegister.PINTS) & (1 << 10)).toBe(1 << 10);
    expect(rig.readPhy(PhyRegister.PINTS)).toBe(0);
  });
});
