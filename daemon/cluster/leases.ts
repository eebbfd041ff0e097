/**
 * Who answers for an address on the link: one node, by a lease that runs out when the node says nothing any more. Durations
 * are measured by each node's own steady clock between what it sees change; nobody's wall clock plays a part.
 */

/** A holder whose last word is older than this answers no more ... */
export const LEASE_HOLD_MS = 1200
/** ... and is given up by others when they have seen no new word of it for this time. */
export const LEASE_EXPIRY_MS = 1900

/** What a look found. */
export interface LeaseView {
  /** Nodes that have said something lately, this one among them. */
  alive: string[]
  /** Which node holds an address, also one that is not alive. */
  holders: Map<string, string>
}

export interface Leases {
  /** What this node holds, or believes to hold: see mayAnswer(). */
  readonly held: ReadonlySet<string>
  /** Whether at this moment nobody else can have taken what is held. */
  mayAnswer(): boolean
  /** Says that this node is alive, and looks at the others. Rejects where that cannot be said. */
  beat(): Promise<LeaseView>
  /** Takes of these what nobody holds who is alive. */
  take(addresses: readonly string[]): Promise<void>
  give(address: string): Promise<void>
  /** Holds nothing any more, and is not seen any more. */
  resign(): Promise<void>
}
