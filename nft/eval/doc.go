// Package eval follows the first packet of a connection through tables, as the
// kernel does, but on paper: hook by hook, chain by chain, rule by rule.
//
//	Ruleset  tables and their elements, as they are wanted or as the kernel has them
//	Packet   what comes in, and World, what rules ask about besides
//	Outcome  what becomes of it, and each rule on its way
//
// Where a rule takes a random number there is an outcome for each result, with its
// share of all connections.
package eval
