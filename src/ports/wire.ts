// Devices stand below ports and state what they ask of a far side; everybody above may take it from here.
export * from "../devices/wire.js";
