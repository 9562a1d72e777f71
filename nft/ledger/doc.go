// Package ledger works out what to write: it keeps account of what the kernel
// holds of ours, and turns "this owner had those elements and now has these"
// into transactions in an order that no packet can trip over.
//
// A plan costs as much as the owners in it, whatever else the kernel holds.
// Elements of single owners are not kept: the caller knows what an owner had.
// The account has only what several owners share (elements counted by use, and
// the chains that verdicts lead to) and what is stale: in the kernel, and
// wanted by no one.
//
// # Order
//
// A packet looks up a verdict and then, in the chain that this leads to, a
// slot of a map. A transaction is atomic, but the two lookups are not: a
// commit can fall between them. So an element that is reached through a
// verdict (Set.Behind) is written in the transaction that changes the verdict,
// ahead of it, but is never deleted in it. It becomes stale and is swept by a
// later transaction, after the caller has waited until no packet can still be
// between the lookups.
//
// A new chain, or one with new rules, comes in a transaction of its own before
// the one with the first verdict that leads to it. The kernel notes which
// generation of the rules a packet runs through when it enters a hook's chain,
// but looks elements up in the generation of that moment: a packet that is under
// way when both are committed together finds the new verdict, and behind it the
// chain as it was before, with no rules.
//
// # Adoption
//
// At start all that the kernel holds is stale. Planning the owners then claims
// what is right, replaces what is not, and adds what is missing; the sweep
// deletes the rest. An unchanged cluster is claimed whole and nothing is sent.
package ledger
