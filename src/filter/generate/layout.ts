/** Where a header begins: a constant, plus the value of a scratch word if it follows a header of variable length. */
export interface Place {
  readonly constant: number;
  readonly register: number | undefined;
}

export const at = (constant: number, register?: number): Place => ({ constant, register });

export const after = (place: Place, bytes: number): Place => ({ ...place, constant: place.constant + bytes });

/**
 * Where the headers lie that later parts of the expression speak of. `vlan`, `mpls`, `pppoes` and `geneve` move them
 * inward for all that stands to their right.
 */
export interface Layout {
  linkType: "ethernet" | "ppp";
  /** The link-layer header, its type field, and what it carries. */
  linkHeader: Place;
  typeField: Place;
  payload: Place;
  /** From the payload to the network header: of an Ethernet II frame, and of a frame with an LLC header. */
  network: number;
  networkAfterLlc: number;
  mplsDepth: number;
  insideGeneve: boolean;
}

export const ethernetLayout = (): Layout => ({
  linkType: "ethernet",
  linkHeader: at(0),
  typeField: at(12),
  payload: at(14),
  network: 0,
  networkAfterLlc: 3,
  mplsDepth: 0,
  insideGeneve: false,
});
